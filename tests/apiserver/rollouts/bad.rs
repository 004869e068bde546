//! Versions that fail are stopped and taken back; what is not their fault is not.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Capacity, Rig, manifest};
use crate::support::operator::Identity;
use crate::support::{Operator, eventually, stays};

/// The version fails and is taken back; answers with what the gate says of it.
async fn is_taken_back(topic: &str, replicas: i32, fault: &str, floor: i64) -> (Rig, Value) {
    let rig = Rig::new(topic, replicas, json!({})).await;
    let capacity = Capacity::of(&rig.ns);
    let applied = rig.release(&manifest(replicas, 2, fault)).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(replicas.into()).await;
    let least = capacity.least().await;
    assert!(least >= floor, "{least} ready pods, {floor} must be");
    let web = rig.get().await;
    assert_eq!(web["spec"]["template"], applied["spec"]["template"]);
    assert_eq!(web["spec"]["paused"], true);
    assert_eq!(rig.events("RolloutRestoring").await, 1);
    assert_eq!(rig.ns.revisions("web").await, 2);
    assert_eq!(gate["history"][0]["outcome"], "Restored");
    assert_eq!(gate["history"][1], Value::Null, "one rollout");
    assert_eq!(gate["rejected"].as_array().unwrap().len(), 1);
    rig.print_reaction(topic, if ["crash", "oom"].contains(&fault) { 2 } else { 1 });
    (rig, gate)
}

#[tokio::test]
async fn a_crashing_version_of_1_pod_is_taken_back() {
    is_taken_back("bad-1", 1, "crash", 1).await;
}

#[tokio::test]
async fn a_crashing_version_of_3_pods_is_taken_back_once() {
    let (rig, gate) = is_taken_back("bad-3", 3, "crash", 3).await;
    assert_eq!(gate["rejected"][0]["reason"], "Crash");
    let writes = rig.writes();
    stays("nothing more is written", Duration::from_secs(5), || async { rig.writes() == writes }).await;
    assert_eq!(rig.sizes().await, (3, 0));
}

#[tokio::test]
async fn a_crashing_version_of_10_pods_is_taken_back() {
    is_taken_back("bad-10", 10, "crash", 8).await;
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_taken_back() {
    let (_rig, gate) = is_taken_back("bad-image", 3, "image-pull", 3).await;
    assert_eq!(gate["rejected"][0]["reason"], "ImagePull");
}

#[tokio::test]
async fn a_container_that_cannot_be_configured_is_taken_back() {
    let (_rig, gate) = is_taken_back("bad-config", 3, "config-error", 3).await;
    assert_eq!(gate["rejected"][0]["reason"], "Config");
}

#[tokio::test]
async fn a_version_that_needs_too_much_memory_is_taken_back() {
    let (_rig, gate) = is_taken_back("bad-oom", 3, "oom", 3).await;
    assert_eq!(gate["rejected"][0]["reason"], "OOMKilled");
}

#[tokio::test]
async fn a_version_that_is_never_ready_is_taken_back() {
    let (_rig, gate) = is_taken_back("bad-unready", 3, "never-ready", 3).await;
    assert_eq!(gate["rejected"][0]["reason"], "NotReadyInTime");
}

#[tokio::test]
async fn observe_reports_and_lets_it_go_on() {
    let rig = Rig::new("observe", 3, json!({"onFailure": "Observe"})).await;
    rig.release(&manifest(3, 2, "crash")).await;
    eventually("the evidence is reported", || async {
        (rig.gate().await["evidence"][0]["class"] == "Crash").then_some(())
    })
    .await;
    stays("it is not paused", Duration::from_secs(4), || async { !rig.is_paused().await }).await;
    assert_eq!(rig.gate().await["state"], "Rolling");
    assert_eq!(rig.writes().unwrap_or_default(), (0, 0));
}

#[tokio::test]
async fn hold_pauses_and_leaves_the_sizes_alone() {
    let (rig, bad) = Rig::held("hold", 3).await;
    stays("it is held", Duration::from_secs(4), || async { rig.sizes().await == (3, 1) }).await;
    let web = rig.get().await;
    assert_eq!(web["spec"]["template"], bad["spec"]["template"]);
    if let Some(writes) = rig.writes() {
        assert_eq!(writes, (1, 0), "one pause");
    }
}

#[tokio::test]
async fn revert_writes_the_stable_template_back() {
    let rig = Rig::new("revert", 3, json!({"onFailure": "Revert"})).await;
    let before = rig.get().await;
    rig.release(&manifest(3, 2, "crash")).await;
    eventually("it is reverted", || async {
        let gate = rig.gate().await;
        let is_back = gate["state"] == "Stable" && gate["history"][0]["outcome"] == "Reverted";
        is_back.then_some(())
    })
    .await;
    rig.stable_has(3).await;
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"], before["spec"]);
    assert_eq!(rig.ns.revisions("web").await, 2);
}

/// Pods of the stable version fail as they are told to, and stay so.
async fn break_stable(rig: &Rig) {
    let pods = rig.ns.pods();
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let name = pod.name_any();
        let stuck = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "as-it-is"}}});
        pods.patch(&name, &PatchParams::default(), &Patch::Merge(stuck)).await.unwrap();
        let mut container = pod.data["status"]["containerStatuses"][0].clone();
        container["ready"] = json!(false);
        container["restartCount"] = json!(1);
        container["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "no database"}});
        container["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let conditions = json!([{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"}]);
        let status = json!({"status": {"containerStatuses": [container], "conditions": conditions}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    }
}

#[tokio::test]
async fn a_failure_that_stable_pods_share_is_no_ground_for_taking_back() {
    let rig = Rig::new("environment", 3, json!({})).await;
    break_stable(&rig).await;
    rig.release(&manifest(3, 2, "crash")).await;
    let gate = rig.says("Held", "Environment").await;
    assert_eq!(gate["blame"]["verdict"], "Environment");
    assert_eq!(gate.get("rejected"), None);
    stays("no restore", Duration::from_secs(4), || async { rig.gate().await["state"] == "Held" }).await;
    assert_eq!(rig.writes().map_or(0, |writes| writes.1), 0);
}

#[tokio::test]
async fn a_version_that_mends_a_broken_stable_one_passes() {
    let rig = Rig::new("mends", 3, json!({})).await;
    break_stable(&rig).await;
    rig.release(&manifest(3, 2, "")).await;
    eventually("the second version is proven", || async {
        let gate = rig.gate().await;
        (gate["state"] == "Stable" && gate["stable"]["replicaSet"] != rig.stable.as_str()).then_some(())
    })
    .await;
    assert_eq!(rig.events("RolloutHeld").await, 0);
}

#[tokio::test]
async fn pods_that_no_node_takes_are_held_for_that() {
    let rig = Rig::new("unschedulable", 3, json!({})).await;
    let mut nowhere = manifest(3, 2, "");
    nowhere["spec"]["template"]["spec"]["nodeSelector"] = json!({"nobody": "has-it"});
    rig.release(&nowhere).await;
    let gate = rig.says("Held", "Undecided").await;
    assert_eq!(gate["evidence"][0]["class"], "Unschedulable");
    assert_eq!(rig.sizes().await.0, 3);
}

#[tokio::test]
async fn pods_that_a_quota_refuses_are_held_for_that_and_go_on_with_a_larger_one() {
    let rig = Rig::new("quota", 3, json!({})).await;
    rig.kubectl(&["create", "quota", "pods", "--hard=pods=3"]).unwrap();
    eventually("the quota counts", || async {
        let used = rig.kubectl(&["get", "quota", "pods", "-o", "jsonpath={.status.used.pods}"]).unwrap();
        (used == "3").then_some(())
    })
    .await;
    rig.release(&manifest(3, 2, "")).await;
    let gate = rig.says("Held", "Undecided").await;
    assert_eq!(gate["evidence"][0]["class"], "Rejected");
    assert!(gate["evidence"][0]["message"].as_str().unwrap().contains("quota"), "{gate}");
    rig.kubectl(&["delete", "quota", "pods"]).unwrap();
    let gate = rig.says("Stable", "Proven").await;
    assert_ne!(gate["stable"]["replicaSet"], rig.stable.as_str());
}

#[tokio::test]
async fn an_operator_that_is_killed_while_it_hands_back_goes_on_afterwards() {
    let mut rig = Rig::new("killed", 10, json!({})).await;
    let applied = rig.release(&manifest(10, 2, "crash")).await;
    rig.passes_through("Restoring").await;
    rig.operator.signal("KILL");
    rig.operator.ended().await;
    let between = rig.gate().await;
    let identity = Identity::install(&rig.ns);
    rig.operator = Operator::spawn(&rig.ns, &identity, &[]);
    rig.operator.ready().await;
    rig.says("Restored", "Restored").await;
    rig.stable_has(10).await;
    assert_eq!(between["state"], "Restoring");
    assert_eq!(rig.get().await["spec"]["template"], applied["spec"]["template"]);
    assert_eq!(rig.ns.revisions("web").await, 2);
}
