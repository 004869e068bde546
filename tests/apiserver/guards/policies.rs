//! Guards of HealthPolicies, as tenants meet them.

use serde_json::{Value, json};

use super::{assert_refused, kubectl_as, label, policy};
use crate::support::namespace::{condition, container, web_policy};
use crate::support::{Operator, TestNamespace, eventually};

const AUTHORS: &str = "gracekeeper-policy-authors";
const EXEC: &str = "gracekeeper-exec";
const REVERT: &str = "gracekeeper-revert";

/// Somebody with these rights in the test's namespace.
struct Tenant<'a> {
    ns: &'a TestNamespace,
    user: String,
}

impl<'a> Tenant<'a> {
    /// May write policies, and do this besides.
    async fn new(ns: &'a TestNamespace, name: &str, more: Value) -> Self {
        let user = format!("{name}-of-{}", ns.name);
        let all = ["get", "list", "create", "update", "patch", "delete"];
        let policies = json!({"apiGroups": ["gracekeeper.dev"], "resources": ["healthpolicies"], "verbs": all});
        let rules: Vec<Value> = [vec![policies], more.as_array().unwrap().clone()].concat();
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
             "subjects": [{"kind": "User", "name": user}]},
        ]});
        kubectl_as(ns, &[], &["apply", "-f", "-"], &objects).unwrap();
        let tenant = Self { ns, user };
        eventually("the tenant has its rights", || async {
            tenant.kubectl(&["auth", "can-i", "delete", "healthpolicies"], &Value::Null).is_ok().then_some(())
        })
        .await;
        tenant
    }

    fn kubectl(&self, arguments: &[&str], object: &Value) -> Result<String, String> {
        kubectl_as(self.ns, &["--as", &self.user], arguments, object)
    }

    fn create(&self, name: &str, spec: &Value) -> Result<String, String> {
        self.kubectl(&["create", "-f", "-"], &policy(name, spec))
    }

    fn patch(&self, name: &str, patch: Value) -> Result<String, String> {
        self.kubectl(&["patch", "hp", name, "--type=merge", "-p", &patch.to_string()], &Value::Null)
    }
}

#[tokio::test]
async fn who_may_not_patch_deployments_writes_no_policy() {
    let ns = TestNamespace::new("authors").await;
    let tenant = Tenant::new(&ns, "tenant", json!([])).await;
    let words = [tenant.user.as_str(), &ns.name, "verb patch on deployments.apps", "edit"];
    for mode in ["Enforce", "Audit", "Suspended"] {
        let mut spec = web_policy();
        spec["mode"] = json!(mode);
        assert_refused(tenant.create("web", &spec), AUTHORS, &words);
        let applied = tenant.kubectl(&["apply", "--server-side", "-f", "-"], &policy("web", &spec));
        assert_refused(applied, AUTHORS, &words);
    }

    // Somebody else's policy: its spec is closed, what does not act is not.
    ns.policy("web", web_policy()).await;
    for spec in [
        json!({"mode": "Audit"}),
        json!({"priority": 7}),
        json!({"selector": {"matchLabels": {"a": "b"}}}),
        json!({"containers": null}),
        json!({"rollout": {"onFailure": "Hold"}}),
    ] {
        assert_refused(tenant.patch("web", json!({"spec": spec})), AUTHORS, &words);
    }
    let mut other = policy("web", &web_policy());
    other["spec"]["priority"] = json!(7);
    assert_refused(tenant.kubectl(&["replace", "-f", "-"], &other), AUTHORS, &words);
    tenant.patch("web", json!({"metadata": {"labels": {"team": "a"}}})).unwrap();
    tenant.patch("web", json!({"spec": {"priority": 0}})).unwrap();
    // Who may delete may let go of Deployments: what was theirs comes back.
    tenant.kubectl(&["delete", "hp", "web"], &Value::Null).unwrap();
}

#[tokio::test]
async fn who_may_patch_all_deployments_of_a_namespace_writes_its_policies() {
    let ns = TestNamespace::new("allowed").await;
    let elsewhere = TestNamespace::new("allowed-elsewhere").await;
    let patch = |names: Value| {
        let mut rule = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]});
        if names.is_array() {
            rule["resourceNames"] = names;
        }
        json!([rule])
    };
    let developer = Tenant::new(&ns, "developer", patch(Value::Null)).await;
    eventually("the right is known", || async { developer.create("web", &web_policy()).ok() }).await;
    developer.patch("web", json!({"spec": {"priority": 7}})).unwrap();
    // One Deployment is not all that a policy can select, and a status is not a Deployment.
    let one = Tenant::new(&ns, "one", patch(json!(["web"]))).await;
    assert_refused(one.create("mine", &web_policy()), AUTHORS, &[]);
    let status = json!([{"apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["patch"]}]);
    let status = Tenant::new(&ns, "status", status).await;
    assert_refused(status.create("mine", &web_policy()), AUTHORS, &[]);
    // Rights in another namespace count there.
    let guest = Tenant::new(&elsewhere, "guest", json!([])).await;
    let there = Tenant { ns: &elsewhere, user: developer.user.clone() };
    assert!(there.create("web", &web_policy()).unwrap_err().contains("cannot create resource"));
    assert_refused(guest.create("web", &web_policy()), AUTHORS, &[]);
}

/// A policy with an exec handler at this place.
fn exec_at(place: &str, command: &str) -> Value {
    let exec = json!({"exec": {"command": [command]}});
    let entry = if place == "preStop" { json!({"preStop": exec}) } else { json!({"probes": {place: exec}}) };
    json!({"selector": {"matchLabels": {"tier": "web"}}, "mode": "Audit", "containers": [entry]})
}

async fn allow_exec(ns: &TestNamespace, value: &str, admin: &Tenant<'_>, passes: bool) {
    let label_ = format!("gracekeeper.dev/allow-exec={value}");
    label(ns, &[&label_], || {
        let dry_run = ["create", "--dry-run=server", "-f", "-"];
        admin.kubectl(&dry_run, &policy("probe", &exec_at("liveness", "x"))).is_ok() == passes
    })
    .await;
}

/// A developer: may patch Deployments, and is no cluster administrator.
async fn developer(ns: &TestNamespace) -> Tenant<'_> {
    let patch = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}]);
    let developer = Tenant::new(ns, "developer", patch).await;
    eventually("the developer may patch Deployments", || async {
        developer.kubectl(&["auth", "can-i", "patch", "deployments"], &Value::Null).is_ok().then_some(())
    })
    .await;
    developer
}

#[tokio::test]
async fn exec_handlers_are_only_for_namespaces_that_an_administrator_labelled() {
    let ns = TestNamespace::new("exec").await;
    let developer = developer(&ns).await;
    let how = format!("kubectl label namespace {} gracekeeper.dev/allow-exec=true", ns.name);
    for place in ["startup", "readiness", "liveness", "preStop"] {
        let words = [place, "the main container/", &how, "httpGet"];
        assert_refused(developer.create("web", &exec_at(place, "secret-word")), EXEC, &words);
        let error = developer.create("web", &exec_at(place, "secret-word")).unwrap_err();
        assert!(!error.contains("secret-word"), "commands are not repeated: {error}");
    }
    let mut second = exec_at("liveness", "x");
    let fine = json!({"name": "a", "probes": {"liveness": {"tcpSocket": {"port": 1}}}});
    second["containers"] = json!([fine, {"name": "b", "preStop": {"exec": {"command": ["x"]}}}]);
    assert_refused(developer.create("web", &second), EXEC, &["b/preStop"]);
    // What does not count: other values, labels of the policy.
    for value in ["false", "True", "yes", ""] {
        let label = format!("gracekeeper.dev/allow-exec={value}");
        ns.cluster.kubectl(&["label", "--overwrite", "namespace", &ns.name, &label]);
        assert_refused(developer.create("web", &exec_at("liveness", "x")), EXEC, &[]);
    }
    let mut labelled = policy("web", &exec_at("liveness", "x"));
    labelled["metadata"]["labels"] = json!({"gracekeeper.dev/allow-exec": "true"});
    assert_refused(developer.kubectl(&["create", "-f", "-"], &labelled), EXEC, &[]);
    // Everything but exec is open.
    let mut other = web_policy();
    other["containers"][0]["preStop"] = json!({"httpGet": {"port": 80}});
    developer.create("web", &other).unwrap();
    // An edit brings exec in as little as a create.
    let exec = json!([{"probes": {"liveness": {"exec": {"command": ["x"]}}}}]);
    assert_refused(developer.patch("web", json!({"spec": {"containers": exec}})), EXEC, &["liveness"]);

    allow_exec(&ns, "true", &developer, true).await;
    for place in ["startup", "readiness", "liveness", "preStop"] {
        developer.create(&place.to_lowercase(), &exec_at(place, "x")).unwrap();
    }
}

#[tokio::test]
async fn exec_handlers_from_before_may_stay_and_reach_no_further() {
    let ns = TestNamespace::new("ratchet").await;
    let developer = developer(&ns).await;
    ns.deployment("web", 1, container()).await;
    allow_exec(&ns, "true", &developer, true).await;
    let spec = |mode: &str| {
        let exec = json!({"exec": {"command": ["check"]}});
        json!({"selector": {"matchLabels": {"tier": "web"}}, "mode": mode, "containers": [
            {"name": "app", "probes": {"liveness": exec, "readiness": {"tcpSocket": {"port": 8080}}}},
            {"name": "other", "preStop": exec},
        ]})
    };
    developer.create("acts", &spec("Enforce")).unwrap();
    developer.create("audits", &spec("Audit")).unwrap();
    allow_exec(&ns, "false", &developer, false).await;

    // Nothing of the operator's is in the way: finalizer, status, and letting go.
    let operator = Operator::start(&ns).await;
    let acts = ns.policy_says("acts", "Accepted", "Accepted").await;
    assert_eq!(acts["metadata"]["finalizers"], json!(["gracekeeper.dev/release"]));
    // But it writes no exec into a pod there, and says so.
    let health = ns.compliant("web", "Denied").await;
    let message = condition(&health, "Compliant")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("exec handler of app/livenessProbe") && message.contains("allow-exec"), "{message}");
    operator.expect_denials();

    // What may be edited without the label.
    let fine = [
        json!({"metadata": {"labels": {"team": "a"}}}),
        json!({"spec": {"shutdown": {"drainSeconds": 3, "finishSeconds": 9}}}),
        json!({"spec": {"mode": "Suspended"}}),
        json!({"spec": {"mode": "Audit"}}),
    ];
    for patch in fine {
        developer.patch("acts", patch.clone()).unwrap_or_else(|error| panic!("{patch}: {error}"));
    }
    let mut timing = spec("Audit")["containers"].clone();
    timing[0]["probes"]["liveness"]["failureThreshold"] = json!(9);
    let swapped = json!([timing[1], timing[0]]);
    developer.patch("acts", json!({"spec": {"containers": swapped}})).unwrap();
    developer.patch("acts", json!({"spec": {"containers": [timing[0]]}})).unwrap();
    // Taken out is taken out.
    assert_refused(developer.patch("acts", json!({"spec": {"containers": timing}})), EXEC, &["other/preStop"]);

    // What would run something else, or the same in more pods.
    let changed = |pointer: &str, value: Value| {
        let mut containers = spec("Audit")["containers"].clone();
        *containers.pointer_mut(pointer).unwrap() = value;
        json!({"spec": {"containers": containers}})
    };
    for (patch, word) in [
        (changed("/0/probes/liveness/exec/command", json!(["check", "more"])), "app/liveness"),
        (changed("/0/name", json!("another")), "another/liveness"),
        (changed("/0/probes/readiness", json!({"exec": {"command": ["check"]}})), "app/readiness"),
        (json!({"spec": {"selector": {"matchLabels": null}}}), "selector"),
        (json!({"spec": {"selector": {"matchLabels": {"more": "less"}}}}), "selector"),
        (json!({"spec": {"priority": 1}}), "priority"),
        (json!({"spec": {"mode": "Enforce"}}), "mode"),
        (json!({"spec": {"whenAlreadySet": "Replace"}}), "whenAlreadySet"),
    ] {
        assert_refused(developer.patch("audits", patch), EXEC, &[word, "allow-exec"]);
    }
    // Without exec in it the policy is free.
    developer
        .patch("audits", json!({"spec": {"containers": null, "mode": "Enforce", "selector": {"matchLabels": null}}}))
        .unwrap();
    for name in ["acts", "audits"] {
        ns.delete_policy(name).await;
        ns.policy_gone(name).await;
    }
}

#[tokio::test]
async fn the_biggest_policy_is_refused_with_words_and_not_for_its_size() {
    let ns = TestNamespace::new("big-exec").await;
    let developer = developer(&ns).await;
    // 16 containers, 4 handlers each, 64 arguments, and together nearly what a request may have.
    let exec = json!({"exec": {"command": vec!["a".repeat(330); 64]}});
    let entry = |index: usize| {
        json!({"name": format!("{index:063}"), "preStop": exec,
               "probes": {"startup": exec, "readiness": exec, "liveness": exec}})
    };
    let containers: Vec<Value> = (0..16).map(entry).collect();
    let big = json!({"selector": {}, "containers": containers});
    assert!(big.to_string().len() > 1_300_000, "{}", big.to_string().len());
    let last = format!("{:063}/preStop", 15);
    assert_refused(developer.create("big", &big), EXEC, &[&last]);
    allow_exec(&ns, "true", &developer, true).await;
    developer.create("big", &big).unwrap();
    allow_exec(&ns, "false", &developer, false).await;
    developer.patch("big", json!({"spec": {"shutdown": {"drainSeconds": 1, "finishSeconds": 1}}})).unwrap();
    assert_refused(developer.patch("big", json!({"spec": {"priority": 1}})), EXEC, &["priority"]);
}

#[tokio::test]
async fn revert_is_refused_when_the_policy_is_written_and_not_when_a_version_fails() {
    let ns = TestNamespace::new("no-revert").await;
    let developer = developer(&ns).await;
    let spec = |how: &str| json!({"selector": {}, "rollout": {"onFailure": how}});
    let how = format!("kubectl label namespace {} gracekeeper.dev/allow-revert=true", ns.name);
    assert_refused(developer.create("web", &spec("Revert")), REVERT, &["Restore", &how]);
    developer.create("web", &spec("Restore")).unwrap();
    let revert = json!({"spec": {"rollout": {"onFailure": "Revert"}}});
    assert_refused(developer.patch("web", revert.clone()), REVERT, &["Restore", &how]);
    label(&ns, &["gracekeeper.dev/allow-revert=true"], || developer.patch("web", revert.clone()).is_ok()).await;
    label(&ns, &["gracekeeper.dev/allow-revert=false"], || developer.create("probe", &spec("Revert")).is_err()).await;
    developer.patch("web", json!({"spec": {"priority": 5}})).unwrap();
}
