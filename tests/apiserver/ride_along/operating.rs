//! Riding along, and the operator beside it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use gracekeeper::api::FIELD_MANAGER;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Ridden, app, kubectl, marker};
use crate::support::namespace::{condition, container, deployment, pod, web_policy};
use crate::support::operator::Identity;
use crate::support::{Cluster, Operator, TestNamespace, eventually};

pub(super) fn web(name: &str) -> Value {
    deployment(name, 1, vec![container()])
}

/// As Argo CD and Flux apply it.
pub(super) fn git(ns: &TestNamespace, manifest: &Value) -> Result<(), String> {
    let words = ["apply", "--server-side", "--force-conflicts", "--field-manager", "argocd-controller", "-f", "-"];
    kubectl(ns, &words, &manifest.to_string())
}

pub(super) fn manifest(fields: &Value) -> Value {
    let mut manifest = web("web");
    manifest["spec"]["template"]["spec"]["containers"][0] = app(fields);
    manifest
}

/// The operator has told the policy that it may ride along with its present spec.
pub(super) async fn may_ride(ridden: &Ridden, name: &str) {
    eventually("the policy may ride along", || async {
        let policy = serde_json::to_value(ridden.ns.policies().get(name).await.unwrap()).unwrap();
        let generation = policy.pointer("/status/rideAlong/generation");
        (generation == policy.pointer("/metadata/generation")).then_some(())
    })
    .await;
}

/// An operator, and this policy as it rides along.
pub(super) async fn operated(ridden: &Ridden, policy: Value) -> Operator {
    let operator = Operator::start(&ridden.ns).await;
    ridden.ns.policy("web", policy).await;
    may_ride(ridden, "web").await;
    ridden.seen(&web("probe"), "the policy is seen", |object| marker(object).is_some()).await;
    operator
}

#[tokio::test]
async fn a_fleet_of_200_created_at_once_gets_one_revision_each_and_the_operator_writes_nothing() {
    let Some(ridden) = Ridden::new("fleet").await else { return };
    let ns = &ridden.ns;
    let mut policy = web_policy();
    policy["rollout"] = json!({"minReadySeconds": 1});
    let operator = operated(&ridden, policy).await;
    ns.policy_says("web", "RidesAlong", "Installed").await;

    let names: Vec<String> = (0..200).map(|n| format!("web-{n}")).collect();
    // Fifty of them are on their way at any time.
    let creates = names.iter().map(|name| {
        let (deployments, object) = (ns.deployments(), serde_json::from_value(web(name)).unwrap());
        async move { deployments.create(&PostParams::default(), &object).await.map(|_| ()) }
    });
    let answers: Vec<_> = stream::iter(creates).buffer_unordered(50).collect().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for name in &names {
        ns.compliant(name, "InSync").await;
    }
    let revisions_of = async |names: &[String]| {
        let sets = ns.replica_sets().list(&ListParams::default()).await.unwrap().items;
        let mut each: BTreeMap<String, usize> = names.iter().map(|name| (name.clone(), 0)).collect();
        for owner in sets.iter().flat_map(|set| set.metadata.owner_references.iter().flatten()) {
            *each.get_mut(&owner.name).unwrap() += 1;
        }
        each
    };
    let revisions = eventually("each has a revision", || async {
        let revisions = revisions_of(&names).await;
        revisions.values().all(|sets| *sets > 0).then_some(revisions)
    })
    .await;
    assert!(revisions.values().all(|sets| *sets == 1), "one for each create: {revisions:?}");
    // An image, by a strategic patch as `kubectl set image` sends it.
    let changed = &names[..20];
    for name in changed {
        ns.cluster.kubectl(&["set", "image", &format!("deploy/{name}"), "app=example.com/app:2", "-n", &ns.name]);
    }
    for name in changed {
        ns.settled(name).await;
        ns.compliant(name, "InSync").await;
    }
    let revisions = revisions_of(&names).await;
    let wrong: Vec<_> =
        revisions.iter().filter(|(name, sets)| **sets != 1 + usize::from(changed.contains(name))).collect();
    assert!(wrong.is_empty(), "one for each create and each change: {wrong:?}");
    if let Some(writes) = operator.audit().writes("deployments") {
        assert!(writes.is_empty(), "{writes:?}");
    }
    let generation = ns.get(&names[199]).await["metadata"]["generation"].clone();
    assert_eq!(generation, 1);
}

#[tokio::test]
async fn who_drops_an_own_handler_by_server_side_apply_gets_the_policys_back() {
    let Some(ridden) = Ridden::new("dropped").await else { return };
    let ns = &ridden.ns;
    // Older than the policy: the operator wrote the fields, and is noted as an owner of each of their parts.
    git(ns, &manifest(&json!({}))).unwrap();
    let mut policy = web_policy();
    policy["shutdown"] = json!({"drainSeconds": 5, "finishSeconds": 10});
    let operator = operated(&ridden, policy.clone()).await;
    ns.compliant("web", "InSync").await;
    // It mends nothing behind the API server's back from here on.
    drop(operator);
    let of_policy = pod(&ns.get("web").await)["containers"][0].clone();
    assert_eq!(of_policy["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    let owns = [
        json!({"livenessProbe": {"tcpSocket": {"port": 8080}}}),
        json!({"livenessProbe": {"httpGet": {"path": "/own", "port": 8080}}}),
        json!({"livenessProbe": {"httpGet": {"path": "/own", "port": "http"}, "failureThreshold": 9}}),
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 9}}}}),
        json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}),
        json!({"readinessProbe": {"exec": {"command": ["true"]}}, "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}}),
    ];
    for own in &owns {
        git(ns, &manifest(own)).unwrap_or_else(|error| panic!("{own}: {error}"));
        assert_ne!(pod(&ns.get("web").await)["containers"][0], of_policy, "{own}");
        git(ns, &manifest(&json!({}))).unwrap_or_else(|error| panic!("{own}, dropped: {error}"));
        assert_eq!(pod(&ns.get("web").await)["containers"][0], of_policy, "{own}");
    }
    // What the policy does not ask for any more is no remnant either.
    let own =
        json!({"livenessProbe": {"tcpSocket": {"port": 8080}}, "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}});
    git(ns, &manifest(&own)).unwrap();
    policy.as_object_mut().unwrap().remove("shutdown");
    policy["containers"][0]["probes"].as_object_mut().unwrap().remove("liveness");
    ridden.policy("web", policy).await;
    let readiness_only = |object: &Value| marker(object).is_some_and(|marker| !marker.contains("livenessProbe"));
    ridden.seen(&web("probe"), "the edited policy is seen", readiness_only).await;
    git(ns, &manifest(&json!({}))).unwrap();
    let container = pod(&ns.get("web").await)["containers"][0].clone();
    assert_eq!((container.get("livenessProbe"), container.get("lifecycle")), (None, None), "{container}");
}

#[tokio::test]
async fn of_overlapping_policies_the_owner_rides_along() {
    let Some(ridden) = Ridden::new("overlap").await else { return };
    let ns = &ridden.ns;
    let _operator = Operator::start(ns).await;
    let policy = |drain: i64, priority: i64, selector: Value| {
        json!({"selector": selector, "mode": "Enforce", "priority": priority,
        "shutdown": {"drainSeconds": drain, "finishSeconds": 5}})
    };
    ns.policy("everything", policy(3, 0, json!({}))).await;
    ns.policy("web", policy(5, 10, json!({"matchLabels": {"tier": "web"}}))).await;
    for name in ["everything", "web"] {
        may_ride(&ridden, name).await;
    }
    let drain = |object: &Value| pod(object)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64();
    let mut db = web("db");
    db["metadata"]["labels"]["tier"] = json!("db");
    ridden.seen(&web("web"), "the stronger one acts", |object| drain(object) == Some(5)).await;
    ridden.seen(&db, "the weaker one acts on the rest", |object| drain(object) == Some(3)).await;
    // A suspended owner owns: the weaker one keeps away.
    let suspended = json!({"spec": {"mode": "Suspended"}});
    ns.policies().patch("web", &PatchParams::default(), &Patch::Merge(suspended)).await.unwrap();
    ridden.seen(&web("web"), "nothing rides along", |object| marker(object).is_none()).await;
    // Gone: the weaker one takes over.
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    ridden.seen(&web("web"), "the weaker one acts", |object| drain(object) == Some(3)).await;
    // An update, with both there again.
    ns.policy("web", policy(5, 10, json!({"matchLabels": {"tier": "web"}}))).await;
    for name in ["everything", "web"] {
        may_ride(&ridden, name).await;
    }
    ridden.seen(&web("web"), "the stronger one acts again", |object| drain(object) == Some(5)).await;
    ns.create_deployment(web("web")).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;
    ns.cluster.kubectl(&["set", "image", "deploy/web", "app=example.com/app:2", "-n", &ns.name]);
    let changed = ns.get("web").await;
    assert_eq!((drain(&changed), &changed["metadata"]["generation"]), (Some(5), &json!(2)));
}

#[tokio::test]
async fn an_exec_handler_that_could_not_be_given_back_is_not_taken() {
    let Some(ridden) = Ridden::labelled(Cluster::shared(), "no-exec", json!({})).await else { return };
    let mut policy = web_policy();
    policy["whenAlreadySet"] = json!("Replace");
    ridden.policy("web", policy).await;
    let own = |handler: Value| {
        let mut object = web("web");
        object["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = handler;
        object
    };
    let replaced = |object: &Value| pod(object)["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/livez";
    ridden.seen(&own(json!({"tcpSocket": {"port": 8080}})), "others are replaced", replaced).await;
    let stored = ridden.would_create(own(json!({"exec": {"command": ["live"]}}))).await;
    assert_eq!(pod(&stored)["containers"][0]["livenessProbe"]["exec"]["command"], json!(["live"]));
    assert!(!marker(&stored).unwrap().contains("app/livenessProbe"));
    assert!(marker(&stored).unwrap().contains("app/readinessProbe"));
}

#[tokio::test]
async fn an_exec_handler_of_a_policy_from_before_reaches_no_further() {
    let Some(ridden) = Ridden::new("exec-before").await else { return };
    let ns = &ridden.ns;
    let mut policy = web_policy();
    policy["containers"][0]["probes"]["liveness"] = json!({"exec": {"command": ["live"]}, "failureThreshold": 6});
    policy["containers"][0]["preStop"] = json!({"exec": {"command": ["drain"]}});
    ridden.policy("web", policy).await;
    let has_exec = |object: &Value| pod(object)["containers"][0].pointer("/livenessProbe/exec").is_some();
    ridden.seen(&web("probe"), "exec rides along where it may", has_exec).await;
    ns.create_deployment(web("old")).await;

    ns.cluster.kubectl(&["label", "namespace", &ns.name, "gracekeeper.dev/allow-exec-"]);
    ridden.seen(&web("probe"), "exec stays away from others", |object| !has_exec(object)).await;
    let other = ridden.would_create(web("probe")).await;
    let (container, fields) = (&pod(&other)["containers"][0], marker(&other).unwrap());
    assert_eq!(
        (container.get("livenessProbe"), container.pointer("/lifecycle/preStop/exec")),
        (None, None),
        "{container}"
    );
    assert!(
        fields.contains("app/readinessProbe") && !fields.contains("liveness") && !fields.contains("preStop"),
        "{fields}"
    );
    // What is there stays, through a change of something else.
    ns.cluster.kubectl(&["set", "image", "deploy/old", "app=example.com/app:2", "-n", &ns.name]);
    let old = ns.get("old").await;
    let container = &pod(&old)["containers"][0];
    assert_eq!(container["livenessProbe"]["exec"]["command"], json!(["live"]));
    assert_eq!(container["lifecycle"]["preStop"]["exec"]["command"], json!(["drain"]));
    assert!(marker(&old).unwrap().contains("app/livenessProbe,app/preStop"), "{old}");
}

#[tokio::test]
async fn without_an_operator_or_its_kinds_deployments_are_stored() {
    // A cluster of its own: others need the kinds.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&["--nodes", "1"])));
    cluster.install_crds();
    let Some(ridden) = Ridden::on(cluster, "no-kinds").await else { return };
    let ns = &ridden.ns;
    ridden.policy("web", web_policy()).await;
    ridden.seen(&web("probe"), "the policy is seen", |object| marker(object).is_some()).await;
    // No operator runs here at all.
    let made = ns.create_deployment(web("web")).await;
    assert!(marker(&made).is_some());
    let kinds = ["healthpolicies.gracekeeper.dev", "workloadhealths.gracekeeper.dev"];
    cluster.kubectl(&[&["delete", "crd", "--wait=false"], &kinds[..]].concat());
    // Nobody is there to let the policies go: an administrator does it.
    for (place, policy) in [(ns, "web"), (&ridden.canaries, "c0")] {
        eventually("the policy is on its way out", || async {
            place.policies().get(policy).await.unwrap().metadata.deletion_timestamp.map(|_| ())
        })
        .await;
        cluster.kubectl(&[
            "patch",
            "healthpolicy",
            policy,
            "-n",
            &place.name,
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ]);
    }
    cluster.kubectl(&["wait", "--for=delete", "--timeout=60s", "crd", kinds[0], kinds[1]]);
    eventually("nothing rides along any more", || async {
        let object = ridden.would_create(web("probe")).await;
        marker(&object).is_none().then_some(())
    })
    .await;
    let made = ns.create_deployment(web("bare")).await;
    assert!(pod(&made)["containers"][0].get("livenessProbe").is_none());
    let before = ns.get("web").await;
    let changed = ns.merge("web", json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})).await;
    assert_eq!(pod(&changed), pod(&before), "what is there stays");
    ns.deployments().delete("web", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn the_operators_own_writes_are_left_alone() {
    let Some(ridden) = Ridden::new("own-writes").await else { return };
    let ns = &ridden.ns;
    let identity = Identity::install(ns);
    ridden.policy("web", web_policy()).await;
    ridden.seen(&web("probe"), "the policy is seen", |object| marker(object).is_some()).await;
    let made = ns.create_deployment(web("web")).await;
    assert!(marker(&made).is_some());
    // As in a release: the operator takes everything out, and nothing fills it again in the same request.
    let client = crate::support::cluster::client_of(&identity.kubeconfig).await;
    let deployments: kube::Api<kube::api::DynamicObject> = kube::Api::namespaced_with(
        client,
        &ns.name,
        &crate::support::namespace::resource("apps", "v1", "Deployment", "deployments"),
    );
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "livenessProbe": null}]}}}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let patched = deployments.patch("web", &params, &Patch::Strategic(patch)).await.unwrap();
    let patched = serde_json::to_value(patched).unwrap();
    assert!(pod(&patched)["containers"][0].get("livenessProbe").is_none());
    assert_eq!(marker(&patched), marker(&made));
}

#[tokio::test]
async fn the_condition_follows_what_the_cluster_has() {
    let Some(ridden) = Ridden::new("followed").await else { return };
    let ns = &ridden.ns;
    let operator = operated(&ridden, web_policy()).await;
    ns.policy_says("web", "RidesAlong", "Installed").await;
    // Somebody deletes one of the two, and brings it back for other namespaces.
    let name = format!("{}-ride-along", ridden.release);
    ns.cluster.kubectl(&["delete", "mutatingadmissionpolicybinding", &name]);
    ns.policy_says("web", "RidesAlong", "NotInstalled").await;
    ns.deployment("web", 1, container()).await;
    ns.compliant("web", "InSync").await;
    assert_eq!(ns.revisions("web").await, 2, "its fields come by one more rollout");
    ns.cluster.install_ride_along(&ridden.release, &ns.name, &[&ridden.canaries.name], &[]);
    ns.policy_says("web", "RidesAlong", "Exempt").await;
    // The right to look goes.
    let rules = json!([{"op": "remove", "path": "/rules/11"}]);
    let role: Value =
        serde_json::from_str(&ns.cluster.kubectl(&["get", "clusterrole", &ridden.release, "-o", "json"])).unwrap();
    assert_eq!(role["rules"][11]["apiGroups"], json!(["admissionregistration.k8s.io"]), "{role}");
    ns.cluster.kubectl(&["patch", "clusterrole", &ridden.release, "--type=json", "-p", &rules.to_string()]);
    ns.policy_says("web", "RidesAlong", "Unseen").await;
    operator.expect_denials();
}

#[tokio::test]
async fn the_condition_says_what_is_missing_and_the_operator_does_the_work() {
    let ns = crate::support::TestNamespace::new("not-installed").await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    let policy = eventually("the policy says so", || async {
        let policy = serde_json::to_value(ns.policies().get("web").await.unwrap()).unwrap();
        (condition(&policy, "RidesAlong")["status"] == "False").then_some(policy)
    })
    .await;
    let said = condition(&policy, "RidesAlong");
    assert!(["NotInstalled", "NotServed"].contains(&said["reason"].as_str().unwrap()), "{said}");
    ns.deployment("web", 1, container()).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;
    assert_eq!(ns.revisions("web").await, 2, "its fields come by one more rollout");
    ns.policy_says("web", "Ready", "AllCompliant").await;
}
