//! Git, autoscalers and edits of the policy go on while a version is stopped.

use std::time::Duration;

use serde_json::json;

use super::{Rig, gated, manifest};
use crate::support::{eventually, stays};

#[tokio::test]
async fn a_corrected_version_flows_by_itself() {
    let (rig, _) = Rig::restored("fix", 3).await;
    rig.release(&manifest(3, 3, "")).await;
    let gate = rig.says("Stable", "Proven").await;
    assert_ne!(gate["stable"]["replicaSet"], rig.stable.as_str());
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"].get("paused"), None);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "example.com/app:3");
}

#[tokio::test]
async fn the_bad_version_synced_again_changes_nothing_and_is_held_after_the_fix() {
    let (rig, bad) = Rig::restored("resync", 3).await;
    let writes = rig.writes();
    let generation = rig.get().await["metadata"]["generation"].clone();
    for _ in 0..6 {
        rig.release(&manifest(3, 2, "crash")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.gate().await["state"], "Restored");
    }
    assert_eq!(rig.get().await["metadata"]["generation"], generation);
    assert_eq!(rig.sizes().await, (3, 0));
    assert_eq!(rig.writes(), writes);
    assert_eq!(rig.events("RolloutRestoring").await, 1);

    rig.release(&manifest(3, 3, "")).await;
    rig.says("Stable", "Proven").await;
    rig.ns.settled("web").await;
    rig.release(&manifest(3, 2, "crash")).await;
    rig.says("Held", "RejectedVersion").await;
    let held = rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    assert_eq!(held["spec"]["template"], bad["spec"]["template"]);
    assert_eq!(rig.events("RolloutRestoring").await, 1, "it is not taken back twice");
}

#[tokio::test]
async fn a_fix_that_comes_during_the_restore_flows() {
    let rig = Rig::new("fix-early", 10, json!({})).await;
    rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    rig.release(&manifest(10, 3, "")).await;
    rig.says("Stable", "Proven").await;
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"].get("paused"), None);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "example.com/app:3");
}

#[tokio::test]
async fn an_autoscaler_acts_on_the_stable_version_meanwhile() {
    let (rig, _) = Rig::restored("hpa", 3).await;
    rig.scale(6);
    rig.stable_has(6).await;
    rig.scale(2);
    rig.stable_has(2).await;
    assert_eq!(rig.gate().await["state"], "Restored");
    assert_eq!(rig.events("RolloutRestoring").await, 1);
    rig.release(&manifest(2, 3, "")).await;
    rig.says("Stable", "Proven").await;
}

#[tokio::test]
async fn from_zero_replicas_the_stable_version_comes_back() {
    let (rig, bad) = Rig::restored("zero", 3).await;
    rig.scale(0);
    rig.stable_has(0).await;
    rig.scale(3);
    rig.stable_has(3).await;
    rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(rig.get().await["spec"]["template"], bad["spec"]["template"]);
    assert_eq!(rig.ns.revisions("web").await, 2);
}

#[tokio::test]
async fn a_deleted_policy_lets_go_of_a_restored_deployment() {
    let (rig, bad) = Rig::restored("policy-deleted", 3).await;
    rig.ns.delete_policy("web").await;
    rig.ns.policy_gone("web").await;
    let web = rig.ns.until("web", "it flows", |web| web["spec"].get("paused").is_none()).await;
    assert_eq!(web["spec"], bad["spec"]);
    rig.ns.forgotten("web").await;
    stays("it stays so", Duration::from_secs(3), || async { !rig.is_paused().await }).await;
}

#[tokio::test]
async fn a_deleted_policy_lets_go_of_a_held_deployment() {
    let (rig, bad) = Rig::held("held-deleted", 3).await;
    rig.ns.delete_policy("web").await;
    rig.ns.policy_gone("web").await;
    let web = rig.ns.until("web", "it flows", |web| web["spec"].get("paused").is_none()).await;
    assert_eq!(web["spec"], bad["spec"]);
    rig.ns.forgotten("web").await;
}

#[tokio::test]
async fn a_suspended_policy_lets_go_of_a_restored_deployment() {
    let (rig, _) = Rig::restored("suspended", 3).await;
    let mut spec = gated(json!({}));
    spec["mode"] = json!("Suspended");
    rig.ns.policy("web", spec).await;
    rig.ns.until("web", "it flows", |web| web["spec"].get("paused").is_none()).await;
    rig.says("NotGated", "Suspended").await;
    stays("it stays so", Duration::from_secs(3), || async { !rig.is_paused().await }).await;
}

#[tokio::test]
async fn a_suspended_policy_lets_go_of_a_held_deployment() {
    let (rig, bad) = Rig::held("held-suspended", 3).await;
    let mut spec = gated(json!({"onFailure": "Hold"}));
    spec["mode"] = json!("Suspended");
    rig.ns.policy("web", spec).await;
    let web = rig.ns.until("web", "it flows", |web| web["spec"].get("paused").is_none()).await;
    rig.says("NotGated", "Suspended").await;
    assert_eq!(web["spec"], bad["spec"]);
}

#[tokio::test]
async fn a_policy_without_its_rollout_section_lets_go_of_a_held_deployment() {
    let (rig, _) = Rig::held("section", 3).await;
    let mut spec = gated(json!({}));
    spec.as_object_mut().unwrap().remove("rollout");
    spec["shutdown"] = json!({"drainSeconds": 5, "finishSeconds": 5});
    rig.ns.policy("web", spec).await;
    rig.ns.until("web", "it flows", |web| web["spec"].get("paused").is_none()).await;
    rig.says("NotGated", "NoRolloutSection").await;
}

#[tokio::test]
async fn a_deployment_that_is_deleted_meanwhile_is_forgotten() {
    let (rig, _) = Rig::restored("gone", 3).await;
    rig.kubectl(&["delete", "deployment", "web", "--wait=false"]).unwrap();
    rig.ns.forgotten("web").await;
    eventually("its ReplicaSets are gone", || async { (rig.ns.revisions("web").await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_deployment_that_is_deleted_while_it_hands_back_is_forgotten() {
    let rig = Rig::new("gone-early", 10, json!({})).await;
    rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    rig.kubectl(&["delete", "deployment", "web", "--wait=false"]).unwrap();
    rig.ns.forgotten("web").await;
    eventually("its ReplicaSets are gone", || async { (rig.ns.revisions("web").await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_policy_that_is_edited_to_restore_takes_a_held_version_back() {
    let (rig, bad) = Rig::held("edited", 3).await;
    rig.ns.policy("web", gated(json!({}))).await;
    rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(rig.get().await["spec"]["template"], bad["spec"]["template"]);
}

#[tokio::test]
async fn a_held_deployment_is_scaled_to_zero_and_back() {
    let (rig, bad) = Rig::held("zero-held", 3).await;
    rig.scale(0);
    rig.stable_has(0).await;
    rig.scale(3);
    rig.ns.until("web", "it has pods again", |web| web["status"]["replicas"].as_i64() >= Some(3)).await;
    stays("it is held", Duration::from_secs(3), || async {
        rig.gate().await["state"] == "Held" && rig.is_paused().await
    })
    .await;
    assert_eq!(rig.get().await["spec"]["template"], bad["spec"]["template"]);
}

#[tokio::test]
async fn scaled_while_it_hands_back_the_stable_version_ends_with_that_size() {
    let rig = Rig::new("hpa-early", 10, json!({})).await;
    rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    rig.scale(14);
    rig.says("Restored", "Restored").await;
    rig.stable_has(14).await;
    rig.release(&manifest(14, 3, "")).await;
    rig.says("Stable", "Proven").await;
}

#[tokio::test]
async fn scaled_down_while_it_hands_back_the_stable_version_ends_with_that_size() {
    let rig = Rig::new("hpa-down", 10, json!({})).await;
    rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    rig.scale(4);
    rig.says("Restored", "Restored").await;
    rig.stable_has(4).await;
    rig.release(&manifest(4, 3, "")).await;
    rig.says("Stable", "Proven").await;
}

#[tokio::test]
async fn an_autoscaler_acts_on_a_held_deployment() {
    let (rig, bad) = Rig::held("hpa-held", 3).await;
    for (replicas, most) in [(8, 10), (2, 3)] {
        rig.scale(replicas);
        eventually("the ReplicaSets have the pods that the strategy allows", || async {
            let (stable, others) = rig.sizes().await;
            (stable + others == most && stable > others).then_some(())
        })
        .await;
        stays("it is held", Duration::from_secs(2), || async {
            rig.gate().await["state"] == "Held" && rig.is_paused().await
        })
        .await;
    }
    assert_eq!(rig.get().await["spec"]["template"], bad["spec"]["template"]);
    if let Some(writes) = rig.writes() {
        assert_eq!(writes, (1, 0), "one pause");
    }
    rig.release(&manifest(2, 3, "")).await;
    rig.another_is_proven().await;
}
