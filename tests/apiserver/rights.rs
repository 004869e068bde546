//! The rights: what the chart grants is what the code lists and what the operator uses, no more and no less.

use std::collections::BTreeSet;

use gracekeeper::controller::RIGHTS;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::namespace::{condition, container, pod, web_policy};
use crate::support::operator::Identity;
use crate::support::{Entry, Operator, TestNamespace, eventually};

/// One grant: a verb on a resource, perhaps on one object only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    group: String,
    resource: String,
    verb: String,
    /// Granted by the Role, in the operator's own namespace only.
    own_namespace: bool,
    names: Vec<String>,
}

impl Grant {
    fn covers(&self, entry: &Entry, own_namespace: &str) -> bool {
        let resource = match entry.subresource.as_str() {
            "" => entry.resource.clone(),
            subresource => format!("{}/{subresource}", entry.resource),
        };
        (&self.group, &self.resource, &self.verb) == (&entry.group, &resource, &entry.verb)
            && (!self.own_namespace || entry.namespace == own_namespace)
            && (self.names.is_empty() || self.names.contains(&entry.name))
    }
}

/// The grants of a (Cluster)Role, each rule taken apart.
fn grants(role: &Value, own_namespace: bool) -> Vec<Grant> {
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        let all = rule[key].as_array().cloned().unwrap_or_default();
        all.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut grants = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    let (group, resource) = (group.clone(), resource.clone());
                    grants.push(Grant { group, resource, verb, own_namespace, names: texts(rule, "resourceNames") });
                }
            }
        }
    }
    grants
}

fn granted(ns: &TestNamespace, identity: &Identity) -> Vec<Grant> {
    let role = |kind: &str| -> Value {
        let text = ns.cluster.kubectl(&["get", kind, &identity.release, "-n", &ns.name, "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    };
    [grants(&role("clusterrole"), false), grants(&role("role"), true)].concat()
}

#[tokio::test]
async fn the_chart_grants_what_the_code_lists_and_no_more() {
    let ns = TestNamespace::new("grants").await;
    let identity = Identity::install(&ns);
    let granted = granted(&ns, &identity);
    let plain = |grant: &Grant| (grant.own_namespace, grant.group.clone(), grant.resource.clone(), grant.verb.clone());
    let from_chart: BTreeSet<_> = granted.iter().map(plain).collect();
    assert_eq!(from_chart.len(), granted.len(), "a right is granted twice");
    let listed = RIGHTS.iter().map(|r| (r.own_namespace, r.group.into(), r.resource.into(), r.verb.into()));
    assert_eq!(from_chart, listed.collect(), "rules of the chart, and gracekeeper::controller::RIGHTS");

    for grant in &granted {
        let [group, resource, verb] = [&grant.group, &grant.resource, &grant.verb].map(String::as_str);
        assert!(![group, resource, verb].contains(&"*"), "{grant:?}");
        for secret in ["secrets", "configmaps", "pods/exec", "pods/attach", "serviceaccounts/token"] {
            assert_ne!(resource, secret);
        }
        assert!(!["escalate", "bind", "impersonate", "deletecollection"].contains(&verb), "{grant:?}");
        let is_workload = group == "apps" || resource == "pods";
        assert!(!is_workload || !["create", "delete"].contains(&verb), "{grant:?}");
    }
    let on_one_lease = |grant: &&Grant| grant.resource == "leases" && grant.verb != "create";
    assert!(granted.iter().filter(on_one_lease).all(|grant| grant.names == ["gracekeeper"]));
}

/// Lets the operator do everything that it can do.
async fn everything(ns: &TestNamespace, identity: &Identity) {
    let quick = ["--lease-duration-seconds", "6", "--renew-deadline-seconds", "4", "--retry-period-seconds", "1"];
    let mut first = Operator::spawn(ns, identity, &quick);
    first.ready().await;
    let second = Operator::spawn(ns, identity, &quick);
    second.ready().await;

    // Create: plan, write, report, event, finalizer.
    ns.deployment("web", 1, container()).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;

    // A replica ends, the other one takes over and sees an edit and a rival.
    first.signal("TERM");
    assert_eq!(first.ended().await, Some(0));
    let mut spec = web_policy();
    spec["containers"][0]["probes"]["liveness"]["failureThreshold"] = json!(9);
    ns.policy("web", spec).await;
    ns.until("web", "the edit arrives", |d| pod(d)["containers"][0]["livenessProbe"]["failureThreshold"] == 9).await;
    ns.settled("web").await;
    ns.compliant("web", "InSync").await;
    let rival = PatchParams { field_manager: Some("a-rival".into()), ..PatchParams::default() };
    let none = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "livenessProbe": null}]}}}});
    ns.deployments().patch("web", &rival, &Patch::Strategic(none)).await.unwrap();
    eventually("the reversal is counted", || async {
        let health = serde_json::to_value(ns.healths().get("web").await.unwrap()).unwrap();
        (health["status"]["contention"]["manager"] == "another writer").then_some(())
    })
    .await;
    ns.compliant("web", "InSync").await;

    // Bad versions: the capacity of one is handed back, the template of the other is written back.
    for (name, how, end) in [("restored", "Restore", "Restored"), ("reverted", "Revert", "Reverted")] {
        ns.deployment(name, 3, container()).await;
        let rollout = json!({"onFailure": how, "bakeAfterSeconds": 0});
        let selector = json!({"matchLabels": {"app": name}});
        ns.policy(name, json!({"selector": selector, "priority": 1, "mode": "Enforce", "rollout": rollout})).await;
        gate(ns, name, "Stable").await;
        let bad = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "crash"}}});
        ns.merge(name, json!({"spec": {"template": bad}})).await;
        eventually(&format!("{name} has ended as {end}"), || async {
            let health = serde_json::to_value(ns.healths().get_opt(name).await.unwrap()?).unwrap();
            let history = health["status"]["gate"]["history"].as_array()?;
            (history.last()?["outcome"] == end).then_some(())
        })
        .await;
    }

    // A Deployment that is recreated, one that is no longer selected, and a policy that goes.
    ns.deployment("other", 1, container()).await;
    ns.compliant("other", "InSync").await;
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    ns.forgotten("web").await;
    ns.forgotten("other").await;
    assert_eq!(pod(&ns.settled("web").await)["containers"][0].get("livenessProbe"), None);
    drop(second);
}

/// Waits until the gate is in this state.
async fn gate(ns: &TestNamespace, name: &str, state: &str) {
    eventually(&format!("the gate of {name} is {state}"), || async {
        let health = serde_json::to_value(ns.healths().get_opt(name).await.unwrap()?).unwrap();
        (health["status"]["gate"]["state"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_right_is_used_and_nothing_is_asked_for_beyond_them() {
    let ns = TestNamespace::permissive("used").await;
    let identity = Identity::install(&ns);
    let granted = granted(&ns, &identity);
    everything(&ns, &identity).await;

    let Some(entries) = crate::support::Audit::of(ns.cluster, &identity.user).entries() else { return };
    assert!(entries.len() > 50, "{} requests: the scene is too quiet", entries.len());
    // What every user may: ask who it is, what it may, and what the server serves.
    let for_everybody = |entry: &Entry| {
        entry.resource.is_empty()
            || ["selfsubjectaccessreviews", "selfsubjectreviews"].contains(&entry.resource.as_str())
    };
    let mut unused: Vec<&Grant> = granted.iter().collect();
    for entry in entries.iter().filter(|entry| !for_everybody(entry)) {
        assert!(granted.iter().any(|grant| grant.covers(entry, &ns.name)), "no rule of the chart allows {entry:?}");
        assert_ne!(entry.code, 403, "{entry:?}");
        unused.retain(|grant| !grant.covers(entry, &ns.name));
    }
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
}

#[tokio::test]
async fn without_the_right_to_patch_deployments_the_refusal_is_reported_and_nothing_is_written() {
    let ns = TestNamespace::new("revoked").await;
    let before = ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    let binding = json!([{"op": "test", "path": "/rules/4/resources/0", "value": "deployments"},
                         {"op": "replace", "path": "/rules/4/verbs", "value": ["get", "list", "watch"]}]);
    let release = format!("{}-gracekeeper", ns.name);
    ns.cluster.kubectl(&["patch", "clusterrole", &release, "--type=json", "-p", &binding.to_string()]);
    eventually("the right is gone", || async {
        let user = format!("--as={}", operator.user);
        let answer = ns.cluster.try_kubectl(&["auth", "can-i", "patch", "deployments", "-n", &ns.name, &user], "");
        answer.is_err().then_some(())
    })
    .await;
    ns.policy("web", web_policy()).await;
    let health = ns.compliant("web", "Denied").await;
    let message = condition(&health, "Compliant")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("cannot patch resource \"deployments\""), "{message}");
    assert_eq!(ns.get("web").await["metadata"]["generation"], before["metadata"]["generation"]);
    operator.expect_denials();
}
