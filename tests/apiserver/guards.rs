//! The guards of the chart: who may write what into a HealthPolicy, and what the operator's own ServiceAccount may change.
//! Every other test runs under them; these try to get past them.

mod operator;
mod policies;

use serde_json::{Value, json};

use crate::support::{Cluster, TestNamespace, eventually};

const GROUP: &str = "gracekeeper.dev/v1alpha1";

/// A HealthPolicy as an object.
fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": GROUP, "kind": "HealthPolicy", "metadata": {"name": name}, "spec": spec})
}

/// kubectl as somebody else; `Err` is what that somebody is told.
fn kubectl_as(ns: &TestNamespace, who: &[&str], arguments: &[&str], object: &Value) -> Result<String, String> {
    let stdin = if object.is_null() { String::new() } else { object.to_string() };
    ns.cluster.try_kubectl(&[arguments, &["-n", &ns.name], who].concat(), &stdin)
}

/// The guard refuses, and says these words.
#[track_caller]
fn assert_refused(answer: Result<String, String>, guard: &str, words: &[&str]) {
    let error = answer.unwrap_err();
    assert!(error.contains(&format!("ValidatingAdmissionPolicy '{guard}'")), "not by {guard}: {error}");
    // A refusal by a rule, and not by one that failed: its words would be of no help.
    assert!(error.contains("denied request: refused: ") && !error.contains("resulted in error"), "{error}");
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

/// Puts labels on the test's namespace and waits until the guards see them.
async fn label(ns: &TestNamespace, labels: &[&str], seen: impl Fn() -> bool) {
    ns.cluster.kubectl(&[&["label", "--overwrite", "namespace", &ns.name], labels].concat());
    eventually("the guards see the labels", || async { seen().then_some(()) }).await;
}

#[tokio::test]
async fn the_api_server_finds_nothing_to_warn_of_in_the_guards() {
    let ns = TestNamespace::new("typed").await;
    crate::support::operator::Identity::install(&ns);
    let guards = ["policy-authors", "exec", "revert"].map(|guard| format!("gracekeeper-{guard}"));
    let own = ["deployments", "replicasets", "policies"].map(|kind| format!("{}-gracekeeper-operator-{kind}", ns.name));
    for name in guards.iter().chain(&own) {
        let guard = eventually(&format!("{name} is type-checked"), || async {
            let text = ns.cluster.kubectl(&["get", "validatingadmissionpolicy", name, "-o", "json"]);
            let guard: Value = serde_json::from_str(&text).unwrap();
            (guard["status"]["observedGeneration"] == guard["metadata"]["generation"]).then_some(guard)
        })
        .await;
        assert_eq!(guard["status"]["typeChecking"], json!({}), "{name}");
        assert_eq!(guard["spec"]["failurePolicy"], "Fail", "{name}");
        let rules = guard["spec"]["matchConstraints"]["resourceRules"].to_string();
        assert!(!rules.contains(r#""resources":["*"#), "{name} stands in everybody's way");
    }
}

#[tokio::test]
async fn a_server_without_admission_policies_gets_none() {
    let cluster = Cluster::shared();
    let render = |version: &str| {
        let all = ["template", "x", "charts/gracekeeper", "--kube-version", version];
        cluster.try_helm(&all, "").unwrap()
    };
    assert_eq!(render("1.34.0").matches("kind: ValidatingAdmissionPolicy\n").count(), 6);
    // Nor can it ride along there, for which the operator looks by itself.
    let rides = |version: &str| {
        let all = render(version);
        let flag = all.contains("--ride-along-policy=x-gracekeeper-ride-along");
        (all.matches("kind: MutatingAdmissionPolicy\n").count(), flag)
    };
    assert_eq!(rides("1.35.0"), (0, true));
    assert_eq!(rides("1.36.0"), (3, true));
    let off = ["template", "x", "charts/gracekeeper", "--set"];
    let switch = "guards.policyAuthors.enabled=false,guards.exec.enabled=false,guards.operator.enabled=false";
    let without = cluster.try_helm(&[&off[..], &[switch]].concat(), "").unwrap();
    assert!(!without.contains("ValidatingAdmissionPolicy"), "each of them can be switched off");
    let revert = cluster.try_helm(&[&off[..], &["revert.enabled=true"]].concat(), "").unwrap();
    assert_eq!(revert.matches("kind: ValidatingAdmissionPolicy\n").count(), 5, "nothing to refuse about Revert");
}
