//! Who owns a Deployment over time, and what happens when that changes.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::namespace::{condition, container, deployment, pod, web_policy};
use crate::support::{Operator, TestNamespace, eventually};

fn liveness_path(object: &Value) -> Value {
    pod(object)["containers"][0]["livenessProbe"]["httpGet"]["path"].clone()
}

fn with_path(path: &str, priority: i32) -> Value {
    let mut spec = web_policy();
    spec["containers"][0]["probes"]["liveness"]["httpGet"]["path"] = json!(path);
    spec["priority"] = json!(priority);
    spec
}

#[tokio::test]
async fn two_policies_on_one_deployment_one_acts_and_both_say_so() {
    let ns = TestNamespace::new("two").await;
    ns.deployment("web", 1, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("bronze", with_path("/bronze", 0)).await;
    ns.compliant("web", "InSync").await;
    ns.policy("gold", with_path("/gold", 10)).await;

    ns.until("web", "gold wins", |d| liveness_path(d) == "/gold").await;
    let health = eventually("the WorkloadHealth names gold", || async {
        let health = ns.compliant("web", "InSync").await;
        (health["status"]["policy"]["name"] == "gold").then_some(health)
    })
    .await;
    let message = condition(&health, "Compliant")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("bronze"), "the winner's side names the weaker policy: {message}");
    let bronze = ns.policy_says("bronze", "Enforced", "Conflict").await;
    assert_eq!(bronze["status"]["workloads"]["conflicting"], 1);
    assert_eq!(condition(&bronze, "Ready")["status"], "False");

    // The stronger one goes: the weaker one takes over, and no original is lost on the way.
    ns.delete_policy("gold").await;
    ns.until("web", "bronze takes over", |d| liveness_path(d) == "/bronze").await;
    ns.policy_gone("gold").await;
    ns.delete_policy("bronze").await;
    ns.policy_gone("bronze").await;
    let after = ns.settled("web").await;
    assert_eq!(liveness_path(&after), Value::Null);
    assert_eq!(pod(&after)["terminationGracePeriodSeconds"], 30);
}

#[tokio::test]
async fn a_deployment_that_is_no_longer_selected_is_released() {
    let ns = TestNamespace::new("deselect").await;
    let before = ns.deployment("web", 1, container()).await;
    let _operator = Operator::start(&ns).await;
    let mut spec = web_policy();
    spec["selector"] = json!({"matchLabels": {"tier": "web"}});
    ns.policy("web", spec).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;

    ns.merge("web", json!({"metadata": {"labels": {"tier": "other"}}})).await;
    ns.forgotten("web").await;
    let after = ns.settled("web").await;
    assert_eq!(after["spec"], before["spec"]);
    ns.policy_says("web", "Enforced", "NothingSelected").await;
}

#[tokio::test]
async fn suspended_touches_nothing_and_enforce_goes_on_from_there() {
    let ns = TestNamespace::new("suspend").await;
    ns.deployment("web", 1, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;

    let mut spec = with_path("/other", 0);
    spec["mode"] = json!("Suspended");
    ns.policy("web", spec.clone()).await;
    ns.compliant("web", "Suspended").await;
    assert_eq!(liveness_path(&ns.get("web").await), "/livez", "what was written stays, and nothing new is written");
    spec["mode"] = json!("Enforce");
    ns.policy("web", spec).await;
    ns.until("web", "enforced again", |d| liveness_path(d) == "/other").await;
}

#[tokio::test]
async fn enforce_then_audit_leaves_the_values_and_deletion_still_releases_them() {
    let ns = TestNamespace::new("demote").await;
    let before = ns.deployment("web", 1, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;

    let mut spec = with_path("/other", 0);
    spec["mode"] = json!("Audit");
    ns.policy("web", spec).await;
    ns.compliant("web", "Planned").await;
    assert_eq!(liveness_path(&ns.get("web").await), "/livez");
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    assert_eq!(ns.settled("web").await["spec"], before["spec"]);
}

#[tokio::test]
async fn a_policy_goes_even_when_its_deployment_is_gone() {
    let ns = TestNamespace::new("gone").await;
    ns.deployment("web", 1, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.deployments().delete("web", &DeleteParams::foreground()).await.unwrap();
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    ns.forgotten("web").await;
}

#[tokio::test]
async fn a_namespace_with_an_enforcing_policy_can_be_deleted() {
    let ns = TestNamespace::new("nsdel").await;
    ns.deployment("web", 2, container()).await;
    // The operator lives elsewhere: its own namespace must not be the one that goes.
    let home = TestNamespace::new("nsdel-home").await;
    let identity = crate::support::operator::Identity::install(&home);
    let flags = ["--namespaces", &ns.name, "--lease-namespace", &home.name];
    let operator = Operator::spawn_plain(&home, &identity, &flags);
    operator.ready().await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.cluster.kubectl(&["delete", "namespace", &ns.name, "--wait=false"]);
    eventually("the namespace is gone", || async {
        let answer = ns.cluster.try_kubectl(&["get", "namespace", &ns.name], "");
        answer.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_recreated_deployment_starts_with_a_clean_memory() {
    let ns = TestNamespace::new("again").await;
    let first = ns.deployment("web", 1, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    // Orphaned: the WorkloadHealth of the first one may still be there when the second one comes.
    ns.deployments().delete("web", &DeleteParams::background()).await.unwrap();
    eventually("the first one is gone", || async {
        ns.deployments().get_opt("web").await.unwrap().is_none().then_some(())
    })
    .await;
    let mut second = deployment("web", 1, vec![container()]);
    second["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5);
    ns.create_deployment(second).await;
    eventually("the second one has a memory of its own", || async {
        let health = serde_json::to_value(ns.healths().get_opt("web").await.unwrap()?).unwrap();
        let new = health["metadata"]["ownerReferences"][0]["uid"] != first["metadata"]["uid"];
        (new && condition(&health, "Compliant")["reason"] == "InSync").then_some(())
    })
    .await;
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    assert_eq!(pod(&ns.settled("web").await)["terminationGracePeriodSeconds"], 5);
}
