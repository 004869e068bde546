//! Writers, admission policies and settings of the cluster that do not let a policy have its way: we stop, say who and
//! what, and try again when something has changed.

use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::namespace::{condition, container, deployment, pod, web_policy};
use crate::support::{Audit, Cluster, Operator, TestNamespace, eventually, stays};

fn liveness(deployment: &Value) -> &Value {
    &pod(deployment)["containers"][0]["livenessProbe"]
}

/// How a rival sets our probe back.
#[derive(Clone, Copy, Debug)]
enum Rival {
    /// Reads the object, writes its own probe into it and puts it back.
    Update,
    /// Its own probe by a patch.
    Patch,
    /// Its own probe by server-side apply with force.
    ForcedApply,
    /// PUTs its manifest, which has no probe.
    Put,
    /// Takes the probe out by a patch. Who only removes leaves no trace in the managed fields.
    Removal,
}

impl Rival {
    const ALL: [Self; 5] = [Self::Update, Self::Patch, Self::ForcedApply, Self::Put, Self::Removal];

    fn name(self) -> &'static str {
        match self {
            Self::Update => "rival-update",
            Self::Patch => "rival-patch",
            Self::ForcedApply => "rival-apply",
            Self::Put => "rival-put",
            Self::Removal => "rival-removal",
        }
    }

    /// What the condition can name it.
    fn known_as(self) -> &'static str {
        if let Self::Removal = self { "another writer" } else { self.name() }
    }

    fn probe() -> Value {
        json!({"httpGet": {"path": "/theirs", "port": "http"}})
    }

    fn manifest(self) -> Value {
        let mut app = container();
        if let Self::ForcedApply = self {
            app["livenessProbe"] = Self::probe();
        }
        deployment(self.name(), 1, vec![app])
    }

    async fn sets_back(self, ns: &TestNamespace) {
        let name = self.name();
        let manager = Some(name.to_owned());
        let by = PostParams { field_manager: manager.clone(), ..PostParams::default() };
        match self {
            Self::Update => {
                let mut object = ns.get(name).await;
                object["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = Self::probe();
                // Its picture may be old: then it loses this round.
                let _ = ns.deployments().replace(name, &by, &serde_json::from_value(object).unwrap()).await;
            }
            Self::Patch | Self::Removal => {
                let by = PatchParams { field_manager: manager, ..PatchParams::default() };
                let probe = if let Self::Patch = self { Self::probe() } else { Value::Null };
                let app = json!({"name": "app", "livenessProbe": probe});
                let patch = json!({"spec": {"template": {"spec": {"containers": [app]}}}});
                ns.deployments().patch(name, &by, &Patch::Strategic(patch)).await.unwrap();
            }
            Self::ForcedApply => {
                let by = PatchParams::apply(name).force();
                ns.deployments().patch(name, &by, &Patch::Apply(self.manifest())).await.unwrap();
            }
            Self::Put => {
                let object = serde_json::from_value(self.manifest()).unwrap();
                ns.deployments().replace(name, &by, &object).await.unwrap();
            }
        }
    }
}

async fn events(ns: &TestNamespace, name: &str, reason: &str) -> usize {
    let resource = crate::support::namespace::resource("events.k8s.io", "v1", "Event", "events");
    let api: kube::Api<kube::api::DynamicObject> = kube::Api::namespaced_with(ns.client.clone(), &ns.name, &resource);
    let all = api.list(&kube::api::ListParams::default()).await.unwrap();
    all.iter().filter(|event| event.data["regarding"]["name"] == name && event.data["reason"] == reason).count()
}

fn count(audit: &Audit, name: &str, dry_run: bool) -> Option<usize> {
    let entries = audit.entries()?;
    let of_it = |entry: &&crate::support::Entry| {
        entry.resource == "deployments" && entry.verb == "patch" && entry.name == name && entry.dry_run == dry_run
    };
    Some(entries.iter().filter(of_it).count())
}

#[tokio::test]
async fn a_rival_is_named_after_three_reversals_and_left_alone() {
    let ns = TestNamespace::new("rival").await;
    let operator = Operator::start(&ns).await;
    for rival in Rival::ALL {
        ns.create_deployment(rival.manifest()).await;
    }
    ns.deployment("bystander", 1, container()).await;
    // Over a probe of their own a policy only fights when it is told to.
    let mut spec = web_policy();
    spec["whenAlreadySet"] = json!("Replace");
    ns.policy("web", spec).await;

    futures::future::join_all(Rival::ALL.map(async |rival| {
        let name = rival.name();
        let stopped = async || {
            let health = ns.healths().get_opt(name).await.unwrap();
            let health = serde_json::to_value(health).unwrap();
            (condition(&health, "Compliant")["reason"] == "Contended").then_some(health)
        };
        let health = eventually(&format!("{rival:?} wins"), || async {
            let health = stopped().await;
            if health.is_none() && liveness(&ns.get(name).await)["httpGet"]["path"] == "/livez" {
                rival.sets_back(&ns).await;
            }
            health
        })
        .await;
        let compliant = condition(&health, "Compliant");
        assert_eq!(compliant["status"], "False", "{rival:?}");
        let message = compliant["message"].as_str().unwrap();
        assert!(message.contains(rival.known_as()) && message.contains("app/livenessProbe"), "{rival:?}: {message}");
        assert_eq!(health["status"]["contention"]["reversals"].as_array().unwrap().len(), 3, "{rival:?}");
    }))
    .await;

    let policy = eventually("the policy counts five", || async {
        let policy = serde_json::to_value(ns.policies().get("web").await.unwrap()).unwrap();
        (policy["status"]["workloads"]["contended"] == 5).then_some(policy)
    })
    .await;
    let enforced = condition(&policy, "Enforced");
    assert_eq!((&enforced["status"], &enforced["reason"]), (&json!("False"), &json!("Contended")));
    let message = enforced["message"].as_str().unwrap();
    assert!(message.contains("1 of 6 Deployments"), "{message}");
    assert!(message.contains(" rival-") && message.contains("keeps setting"), "{message}");

    // They go on for a while, and we do not.
    let rest = async |name: &'static str| ns.get(name).await["metadata"]["generation"].clone();
    let before = futures::future::join_all(Rival::ALL.map(|rival| rest(rival.name()))).await;
    stays("hands off", Duration::from_secs(4), || async {
        futures::future::join_all(Rival::ALL.map(|rival| rest(rival.name()))).await == before
    })
    .await;
    for rival in Rival::ALL {
        rival.sets_back(&ns).await;
        ns.settled(rival.name()).await;
        assert_ne!(liveness(&ns.get(rival.name()).await)["httpGet"]["path"], "/livez", "{rival:?}");
        assert_eq!(events(&ns, rival.name(), "Contended").await, 1, "{rival:?}: one event, not one per look");
        if let Some(writes) = count(&operator.audit(), rival.name(), false) {
            assert!(writes <= 4, "{rival:?}: {writes} writes");
        }
    }
    ns.compliant("bystander", "InSync").await;
    assert_eq!(liveness(&ns.settled("bystander").await)["httpGet"]["path"], "/livez");
    if let Some(writes) = count(&operator.audit(), "bystander", false) {
        assert_eq!(writes, 1);
    }
}

/// An admission policy with its binding to this namespace, gone when dropped.
pub(crate) struct Admission<'a> {
    ns: &'a TestNamespace,
    kind: &'static str,
}

impl<'a> Admission<'a> {
    pub(crate) fn mutating(ns: &'a TestNamespace, condition: &str, patch: &str) -> Self {
        let spec = json!({
            "matchConditions": [{"name": "due", "expression": condition}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            "reinvocationPolicy": "Never",
        });
        Self::install(ns, "MutatingAdmissionPolicy", spec, json!({}))
    }

    pub(crate) fn validating(ns: &'a TestNamespace, expression: &str, message: &str) -> Self {
        let spec = json!({"validations": [{"expression": expression, "message": message}]});
        Self::install(ns, "ValidatingAdmissionPolicy", spec, json!({"validationActions": ["Deny"]}))
    }

    fn install(ns: &'a TestNamespace, kind: &'static str, mut spec: Value, mut binding: Value) -> Self {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                          "resources": ["deployments"]});
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": ns.name}});
        spec["matchConstraints"] = json!({"namespaceSelector": here, "resourceRules": [rule]});
        spec["failurePolicy"] = json!("Fail");
        binding["policyName"] = json!(ns.name);
        binding["matchResources"] = json!({"namespaceSelector": here});
        for (kind, spec) in [(kind.to_owned(), spec), (format!("{kind}Binding"), binding)] {
            let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                                "metadata": {"name": ns.name}, "spec": spec});
            ns.cluster.try_kubectl(&["create", "-f", "-"], &object.to_string()).unwrap();
        }
        Self { ns, kind }
    }

    fn remove(&self) {
        for kind in [format!("{}Binding", self.kind), self.kind.to_owned()] {
            let _ = self.ns.cluster.try_kubectl(&["delete", &kind, &self.ns.name, "--ignore-not-found"], "");
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What an administrator gets by a dry run of a Deployment with a liveness probe and this grace period.
async fn dry_run(ns: &TestNamespace, grace: i64) -> Result<Value, String> {
    let mut app = container();
    app["livenessProbe"] = json!({"tcpSocket": {"port": 8080}});
    let mut object = deployment("dry", 1, vec![app]);
    object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(grace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let answer = ns.deployments().create(&dry, &serde_json::from_value(object).unwrap()).await;
    answer.map(|object| serde_json::to_value(object).unwrap()).map_err(|error| error.to_string())
}

fn unsupported(health: &Value) -> Vec<String> {
    let all = health["status"]["plan"]["findings"].as_array().cloned().unwrap_or_default();
    let found = all.iter().filter(|finding| finding["reason"] == "Unsupported");
    found.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_value_that_the_server_drops_is_unsupported_and_asked_for_once_per_value() {
    if !Cluster::shared().mutates_by_policy() {
        return;
    }
    let ns = TestNamespace::new("dropped").await;
    let has = "object.spec.template.spec.containers.exists(c, has(c.livenessProbe))";
    let strip = "[JSONPatch{op: 'remove', path: '/spec/template/spec/containers/0/livenessProbe'}]";
    let _strip = Admission::mutating(&ns, has, strip);
    eventually("the admission policy acts", || async {
        liveness(&dry_run(&ns, 30).await.unwrap()).is_null().then_some(())
    })
    .await;
    ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;

    let health = ns.compliant("web", "Unsupported").await;
    assert!(unsupported(&health)[0].contains("livenessProbe"), "{health:#}");
    let after = ns.settled("web").await;
    assert_eq!(pod(&after)["containers"][0]["readinessProbe"]["httpGet"]["path"], "/readyz", "the rest is written");
    assert!(liveness(&after).is_null());
    let policy = ns.policy_says("web", "Enforced", "NotCompliant").await;
    let message = condition(&policy, "Enforced")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("does not store livenessProbe"), "{message}");

    let counts = || Some((count(&operator.audit(), "web", true)?, count(&operator.audit(), "web", false)?));
    assert!(counts().is_none_or(|counts| counts == (2, 1)), "{:?}", counts());
    stays("nothing is tried again", Duration::from_secs(4), || async { counts().is_none_or(|now| now == (2, 1)) })
        .await;

    let mut spec = web_policy();
    spec["containers"][0]["probes"]["liveness"]["failureThreshold"] = json!(9);
    ns.policy("web", spec).await;
    eventually("the new value is tried", || async {
        let health = ns.compliant("web", "Unsupported").await;
        unsupported(&health)[0].contains("x9").then_some(())
    })
    .await;
    assert!(counts().is_none_or(|counts| counts == (3, 1)), "a dry run was enough: {:?}", counts());
}

#[tokio::test]
async fn a_value_that_the_server_caps_is_unsupported_and_one_below_the_cap_is_written() {
    if !Cluster::shared().mutates_by_policy() {
        return;
    }
    let ns = TestNamespace::new("capped").await;
    let above = "object.spec.template.spec.?terminationGracePeriodSeconds.orValue(30) > 35";
    let cap = "[JSONPatch{op: 'replace', path: '/spec/template/spec/terminationGracePeriodSeconds', value: 35}]";
    let _cap = Admission::mutating(&ns, above, cap);
    eventually("the admission policy acts", || async {
        (pod(&dry_run(&ns, 60).await.unwrap())["terminationGracePeriodSeconds"] == 35).then_some(())
    })
    .await;
    ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;

    let health = ns.compliant("web", "Unsupported").await;
    assert!(unsupported(&health)[0].contains("terminationGracePeriodSeconds"), "{health:#}");
    assert_eq!(liveness(&ns.settled("web").await)["httpGet"]["path"], "/livez");

    let mut spec = web_policy();
    spec["shutdown"] = json!({"drainSeconds": 10, "finishSeconds": 22});
    ns.policy("web", spec).await;
    ns.compliant("web", "InSync").await;
    let after = ns.settled("web").await;
    assert_eq!(pod(&after)["terminationGracePeriodSeconds"], 34);
    if let Some(writes) = operator.audit().writes("deployments") {
        assert_eq!(writes.len(), 2, "{writes:?}");
    }
}

#[tokio::test]
async fn a_denied_patch_is_reported_in_the_servers_words_and_tried_rarely_until_something_changes() {
    let ns = TestNamespace::new("denied").await;
    let no_probe = "!object.spec.template.spec.containers.exists(c, has(c.livenessProbe))";
    let deny = Admission::validating(&ns, no_probe, "liveness probes are not welcome here");
    eventually("the admission policy acts", || async { dry_run(&ns, 30).await.err() }).await;
    let before = ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;

    let health = ns.compliant("web", "Denied").await;
    let message = condition(&health, "Compliant")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("liveness probes are not welcome here"), "{message}");
    let policy = ns.policy_says("web", "Enforced", "NotCompliant").await;
    assert!(condition(&policy, "Enforced")["message"].as_str().unwrap().contains("not welcome"));

    // 10 s, 20 s, 40 s, ... apart: at most 6 in 10 minutes.
    let dry_runs = || count(&operator.audit(), "web", true);
    stays("it is tried rarely", Duration::from_secs(34), || async { dry_runs().is_none_or(|count| count <= 3) }).await;
    assert!(dry_runs().is_none_or(|count| count >= 2), "it is tried again by itself");
    assert_eq!(count(&operator.audit(), "web", false).unwrap_or(0), 0);
    assert_eq!(ns.get("web").await["metadata"]["generation"], before["metadata"]["generation"]);
    assert_eq!(events(&ns, "web", "Refused").await, 1, "one event, not one per try");

    deny.remove();
    eventually("the admission policy is gone", || async { dry_run(&ns, 30).await.ok() }).await;
    let mut spec = web_policy();
    spec["containers"][0]["probes"]["liveness"]["failureThreshold"] = json!(9);
    let edited = std::time::Instant::now();
    ns.policy("web", spec).await;
    ns.compliant("web", "InSync").await;
    assert!(
        edited.elapsed() < Duration::from_secs(5),
        "another plan is tried at once, not after {:?}",
        edited.elapsed()
    );
    assert_eq!(liveness(&ns.settled("web").await)["failureThreshold"], 9);
}

#[tokio::test]
async fn pods_that_pod_security_would_warn_of_are_not_restarted() {
    let ns = TestNamespace::labelled("psawarn", json!({"pod-security.kubernetes.io/warn": "restricted"})).await;
    let before = ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    let health = ns.compliant("web", "PsaRefuses").await;
    let message = condition(&health, "Compliant")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("would violate PodSecurity \"restricted:latest\""), "{message}");
    assert_eq!(ns.get("web").await["metadata"]["generation"], before["metadata"]["generation"]);
    assert_eq!(count(&operator.audit(), "web", false).unwrap_or(0), 0);
}

#[tokio::test]
async fn pods_that_pod_security_lets_pass_come_up_with_our_fields() {
    let ns = TestNamespace::labelled("psaenforce", json!({"pod-security.kubernetes.io/enforce": "baseline"})).await;
    ns.deployment("web", 2, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    let after = ns.settled("web").await;
    assert_eq!(liveness(&after)["httpGet"]["path"], "/livez");
    assert_eq!(after["status"]["availableReplicas"], 2);
}
