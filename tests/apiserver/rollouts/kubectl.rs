//! `kubectl rollout undo`, `restart`, `pause` and `resume` by a person, at each state of the gate. Where kubectl refuses
//! because the Deployment is paused, nothing of the gate changes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Rig, manifest};
use crate::support::stays;

/// A good version whose pods take a while: its rollout can be met under way.
fn slow(replicas: i32, version: u32) -> Value {
    let mut object = manifest(replicas, version, "");
    object["spec"]["template"]["metadata"]["annotations"] = json!({"gracekeeper.dev/sim-ready-after": "2500ms"});
    object
}

fn patient(changes: Value) -> Value {
    let mut all = json!({"patience": {"startSeconds": 6}});
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    all
}

fn rollout(rig: &Rig, action: &str) -> Result<String, String> {
    rig.kubectl(&["rollout", action, "deployment/web"])
}

/// kubectl refuses these; the gate says afterwards what it said before.
async fn refuses(rig: &Rig, actions: &[&str], word: &str) {
    let before = rig.gate().await["state"].clone();
    for action in actions {
        let said = rollout(rig, action).unwrap_err();
        assert!(said.contains(word), "{action}: {said}");
    }
    assert_eq!(rig.gate().await["state"], before);
}

async fn never_held(rig: &Rig) {
    for reason in ["RolloutHeld", "RolloutRestoring"] {
        assert_eq!(rig.events(reason).await, 0, "{reason}");
    }
}

#[tokio::test]
async fn while_stable_restart_and_undo_are_rollouts_like_any_other() {
    let rig = Rig::new("kubectl-stable", 2, json!({})).await;
    refuses(&rig, &["resume"], "not paused").await;
    rollout(&rig, "restart").unwrap();
    let restarted = rig.another_is_proven().await;
    assert_eq!(restarted["history"][0]["outcome"], "Completed");
    rollout(&rig, "undo").unwrap();
    rig.says("Rolling", "Rolling").await;
    let undone = rig.says("Stable", "Proven").await;
    assert_eq!(undone["stable"]["replicaSet"], rig.stable.as_str());
    never_held(&rig).await;
}

#[tokio::test]
async fn while_rolling_undo_returns_and_restart_begins_anew() {
    let rig = Rig::of("kubectl-rolling", slow(4, 1), patient(json!({}))).await;
    rig.release(&slow(4, 2)).await;
    rig.says("Rolling", "Rolling").await;
    refuses(&rig, &["resume"], "not paused").await;
    rollout(&rig, "undo").unwrap();
    rig.says("Stable", "Returned").await;
    rig.stable_has(4).await;

    rig.release(&slow(4, 3)).await;
    rig.says("Rolling", "Rolling").await;
    rollout(&rig, "restart").unwrap();
    let gate = rig.another_is_proven().await;
    let outcomes: Vec<&Value> = gate["history"].as_array().unwrap().iter().map(|past| &past["outcome"]).collect();
    assert_eq!(outcomes, ["Superseded", "Superseded", "Completed"]);
    never_held(&rig).await;
}

#[tokio::test]
async fn while_rolling_a_pause_of_a_person_is_theirs_until_they_resume() {
    let rig = Rig::of("kubectl-pause", slow(4, 1), patient(json!({}))).await;
    rig.release(&slow(4, 2)).await;
    rig.says("Rolling", "Rolling").await;
    rollout(&rig, "pause").unwrap();
    rig.says("NotGated", "PausedByUser").await;
    stays("it stays paused", Duration::from_secs(3), || async { rig.is_paused().await }).await;
    rollout(&rig, "resume").unwrap();
    rig.says("Rolling", "Rolling").await;
    rig.another_is_proven().await;
    never_held(&rig).await;
}

#[tokio::test]
async fn at_a_step_only_resume_is_possible_and_lets_the_version_pass() {
    let steps = json!({"steps": [{"pods": 1, "bakeSeconds": 4, "approval": "Manual"}]});
    let rig = Rig::new("kubectl-step", 3, steps).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.says("Baking", "Step").await;
    rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    refuses(&rig, &["pause", "undo", "restart"], "paused").await;
    rig.says("AwaitingApproval", "Approval").await;
    refuses(&rig, &["pause", "undo", "restart"], "paused").await;
    rollout(&rig, "resume").unwrap();
    let gate = rig.another_is_proven().await;
    assert_eq!(gate["history"][0]["outcome"], "Overridden");
    assert!(!rig.is_paused().await);
}

#[tokio::test]
async fn while_a_bake_at_a_step_resume_lets_the_version_pass() {
    let rig = Rig::new("kubectl-bake", 3, json!({"steps": [{"pods": 1, "bakeSeconds": 60}]})).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.says("Baking", "Step").await;
    rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    rollout(&rig, "resume").unwrap();
    let gate = rig.another_is_proven().await;
    assert_eq!(gate["history"][0]["outcome"], "Overridden");
}

#[tokio::test]
async fn after_completion_undo_returns_and_a_pause_is_theirs() {
    let rig = Rig::new("kubectl-complete", 2, json!({"bakeAfterSeconds": 300})).await;
    rig.release(&manifest(2, 2, "")).await;
    rig.says("Baking", "AfterCompletion").await;
    refuses(&rig, &["resume"], "not paused").await;
    rollout(&rig, "undo").unwrap();
    rig.says("Stable", "Returned").await;
    rig.stable_has(2).await;

    rig.release(&manifest(2, 3, "")).await;
    rig.says("Baking", "AfterCompletion").await;
    rollout(&rig, "pause").unwrap();
    rig.says("NotGated", "PausedByUser").await;
    stays("it stays paused", Duration::from_secs(2), || async { rig.is_paused().await }).await;
    rollout(&rig, "resume").unwrap();
    rig.another_is_proven().await;
    never_held(&rig).await;
}

#[tokio::test]
async fn after_completion_a_restart_is_judged_as_another_version() {
    let rig = Rig::new("kubectl-again", 2, json!({"bakeAfterSeconds": 8})).await;
    rig.release(&manifest(2, 2, "")).await;
    rig.says("Baking", "AfterCompletion").await;
    rollout(&rig, "restart").unwrap();
    rig.says("Rolling", "Rolling").await;
    let gate = rig.another_is_proven().await;
    let outcomes: Vec<&Value> = gate["history"].as_array().unwrap().iter().map(|past| &past["outcome"]).collect();
    assert_eq!(outcomes, ["Superseded", "Completed"]);
}

#[tokio::test]
async fn while_the_capacity_is_handed_back_resume_overrides_the_gate() {
    let rig = Rig::new("kubectl-restoring", 10, json!({})).await;
    let bad = rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    refuses_paused(&rig);
    rollout(&rig, "resume").unwrap();
    rig.says("NotGated", "Overridden").await;
    stays("it is not held again", Duration::from_secs(4), || async { !rig.is_paused().await }).await;
    assert_eq!(rig.get().await["spec"]["template"], bad["spec"]["template"]);
}

/// The state may move on meanwhile: only what kubectl says counts.
fn refuses_paused(rig: &Rig) {
    for action in ["pause", "undo", "restart"] {
        let said = rollout(rig, action).unwrap_err();
        assert!(said.contains("paused"), "{action}: {said}");
    }
}

#[tokio::test]
async fn while_restored_kubectl_refuses_everything_but_resume() {
    let (rig, _) = Rig::restored("kubectl-restored", 2).await;
    refuses(&rig, &["pause", "undo", "restart"], "paused").await;
    rig.stable_has(2).await;
}

#[tokio::test]
async fn after_an_override_a_pause_and_a_resume_change_nothing_for_the_version() {
    let (rig, _) = Rig::held("kubectl-override", 2).await;
    refuses(&rig, &["pause"], "paused").await;
    rollout(&rig, "resume").unwrap();
    rig.says("NotGated", "Overridden").await;
    rollout(&rig, "pause").unwrap();
    rig.says("NotGated", "PausedByUser").await;
    rollout(&rig, "resume").unwrap();
    rig.says("NotGated", "Overridden").await;
    stays("it is not held again", Duration::from_secs(4), || async { !rig.is_paused().await }).await;
    rollout(&rig, "undo").unwrap();
    rig.says("Stable", "Proven").await;
    rig.stable_has(2).await;
}
