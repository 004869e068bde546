//! People have the last word.

use std::time::Duration;

use serde_json::json;

use super::{Rig, manifest};
use crate::support::stays;

#[tokio::test]
async fn a_manual_step_waits_until_it_is_approved() {
    let steps = json!({"steps": [{"pods": 1, "bakeSeconds": 2, "approval": "Manual"}]});
    let rig = Rig::new("approve", 4, steps).await;
    rig.release(&manifest(4, 2, "")).await;
    rig.says("AwaitingApproval", "Approval").await;
    stays("it waits", Duration::from_secs(4), || async {
        rig.gate().await["state"] == "AwaitingApproval" && rig.is_paused().await
    })
    .await;
    rig.ask("Approve").await;
    let gate = rig.says("Stable", "Proven").await;
    assert_eq!(gate["appliedRequests"], json!(["Approve-1"]));
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"].get("paused"), None);
    assert_eq!(rig.events("RolloutHeld").await, 0);
}

#[tokio::test]
async fn a_pause_of_a_person_is_theirs() {
    let rig = Rig::new("their-pause", 3, json!({})).await;
    rig.kubectl(&["rollout", "pause", "deployment/web"]).unwrap();
    rig.says("NotGated", "PausedByUser").await;
    rig.release(&manifest(3, 2, "")).await;
    stays("it stays paused", Duration::from_secs(5), || async { rig.is_paused().await }).await;
    assert_eq!(rig.gate().await["reason"], "PausedByUser");
    rig.ns.delete_policy("web").await;
    rig.ns.policy_gone("web").await;
    rig.ns.forgotten("web").await;
    assert!(rig.is_paused().await, "not even when the policy goes");
    assert_eq!(rig.writes().unwrap_or_default(), (0, 0));
}

#[tokio::test]
async fn a_version_released_under_a_pause_of_a_person_is_gated_once_they_resume() {
    let rig = Rig::new("resumed", 3, json!({})).await;
    rig.kubectl(&["rollout", "pause", "deployment/web"]).unwrap();
    rig.says("NotGated", "PausedByUser").await;
    rig.release(&manifest(3, 2, "crash")).await;
    rig.kubectl(&["rollout", "resume", "deployment/web"]).unwrap();
    rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
}

#[tokio::test]
async fn who_resumes_a_restored_deployment_overrides_the_gate() {
    let (rig, bad) = Rig::restored("override", 3).await;
    rig.kubectl(&["rollout", "resume", "deployment/web"]).unwrap();
    rig.says("NotGated", "Overridden").await;
    rig.ns.until("web", "it rolls", |web| web["status"]["updatedReplicas"].as_i64() > Some(0)).await;
    stays("it is not held again", Duration::from_secs(6), || async { !rig.is_paused().await }).await;
    assert_eq!(rig.get().await["spec"]["template"], bad["spec"]["template"]);
    rig.release(&manifest(3, 3, "crash")).await;
    rig.says("Restored", "Restored").await;
}

#[tokio::test]
async fn who_resumes_a_held_deployment_overrides_the_gate() {
    let (rig, _) = Rig::held("override-held", 3).await;
    rig.kubectl(&["rollout", "resume", "deployment/web"]).unwrap();
    rig.says("NotGated", "Overridden").await;
    stays("it is not held again", Duration::from_secs(6), || async { !rig.is_paused().await }).await;
}

#[tokio::test]
async fn who_resumes_in_the_moment_after_the_pause_overrides_the_gate_too() {
    let rig = Rig::new("override-at-once", 3, json!({"onFailure": "Hold"})).await;
    for version in 2..6 {
        rig.release(&manifest(3, version, "crash")).await;
        // Before the operator has seen its own pause come back, or has noted it.
        let resumed = async {
            while !rig.is_paused().await {}
            rig.ns.merge("web", json!({"spec": {"paused": false}})).await
        };
        tokio::time::timeout(Duration::from_secs(60), resumed).await.expect("it is paused");
        rig.says("NotGated", "Overridden").await;
        stays("it is not held again", Duration::from_secs(2), || async { !rig.is_paused().await }).await;
    }
}

#[tokio::test]
async fn who_writes_the_old_template_back_ends_a_hold() {
    let (rig, _) = Rig::held("undo", 3).await;
    for words in [["rollout", "undo", "deployment/web"], ["rollout", "restart", "deployment/web"]] {
        let said = rig.kubectl(&words).unwrap_err();
        assert!(said.contains("paused"), "kubectl refuses while it is paused: {said}");
    }
    assert_eq!(rig.gate().await["state"], "Held");
    rig.release(&manifest(3, 1, "")).await;
    rig.says("Stable", "Returned").await;
    rig.stable_has(3).await;
    rig.ns.until("web", "it flows", |web| web["spec"].get("paused").is_none()).await;
}

#[tokio::test]
async fn a_restart_of_the_bad_version_is_judged_as_another_one() {
    let (rig, _) = Rig::restored("restart", 3).await;
    // What `kubectl rollout restart` writes, which it refuses to do while the Deployment is paused.
    let now = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
    rig.ns.merge("web", json!({"spec": {"template": {"metadata": {"annotations": now}}}})).await;
    rig.says("Rolling", "Rolling").await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["history"].as_array().unwrap().len(), 2);
    assert_eq!(rig.events("RolloutRestoring").await, 2);
}

#[tokio::test]
async fn retry_lets_the_version_in_again_and_a_second_failure_is_held() {
    let (rig, _) = Rig::restored("retry", 3).await;
    rig.ask("Retry").await;
    rig.says("Held", "AlreadyTakenBack").await;
    assert_eq!(rig.sizes().await.0, 3);
    assert_eq!(rig.events("RolloutRestoring").await, 1);
}

#[tokio::test]
async fn a_person_holds_and_resumes_a_rollout() {
    let steps = json!({"steps": [{"pods": 1, "bakeSeconds": 60}]});
    let rig = Rig::new("ask-hold", 3, steps).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.says("Baking", "Step").await;
    rig.ask("Hold").await;
    rig.says("Held", "ByRequest").await;
    rig.ask("Resume").await;
    rig.says("Baking", "Step").await;
    rig.ask("Skip").await;
    rig.says("Stable", "Proven").await;
}
