//! Versions that fail are stopped and taken back; what is not their fault is not.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Capacity, Rig, manifest};
use crate::support::operator::Identity;
use crate::support::{Operator, TestNamespace, eventually, stays};

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
    let metrics = rig.operator.get("/metrics").await.unwrap();
    assert!(metrics.contains("gracekeeper_reaction_seconds_count 1\n"), "one reaction: {metrics}");
    assert!(metrics.contains("gracekeeper_reaction_seconds_bucket{le=\"10.0\"} 1\n"), "within 10 s: {metrics}");
}

#[tokio::test]
async fn revert_writes_the_stable_template_back() {
    let ns = TestNamespace::permissive("revert").await;
    let rig = Rig::within(ns, manifest(3, 1, ""), json!({"onFailure": "Revert"})).await;
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

/// All pods that there are fail, and stay so.
async fn break_all(rig: &Rig) {
    let pods = rig.ns.pods().list(&ListParams::default()).await.unwrap();
    break_pods(rig, &pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>()).await;
}

/// These pods crash after they were ready, and stay so.
pub(super) async fn break_pods(rig: &Rig, names: &[String]) {
    let pods = rig.ns.pods();
    for name in names {
        // A fault that no simulated kubelet knows: it leaves the pod alone from now on.
        let stuck = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "as-it-is"}}});
        let pod = pods.patch(name, &PatchParams::default(), &Patch::Merge(stuck)).await.unwrap();
        let mut container = pod.data["status"]["containerStatuses"][0].clone();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let ended = json!({"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now});
        container["ready"] = json!(false);
        container["restartCount"] = json!(1);
        container["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "no database"}});
        container["lastState"] = json!({"terminated": ended});
        let turned = |type_: &str| json!({"type": type_, "status": "False", "lastTransitionTime": now});
        let conditions = [turned("Ready"), turned("ContainersReady")];
        let status = json!({"status": {"containerStatuses": [container], "conditions": conditions}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    }
}

#[tokio::test]
async fn a_failure_that_stable_pods_share_is_no_ground_for_taking_back() {
    let rig = Rig::new("environment", 3, json!({})).await;
    break_all(&rig).await;
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
    break_all(&rig).await;
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
    // A kill may come too late; at each single write it comes in `crash_anywhere`.
    assert!(["Restoring", "Restored"].contains(&between["state"].as_str().unwrap()), "{between}");
    assert_eq!(rig.get().await["spec"]["template"], applied["spec"]["template"]);
    assert_eq!(rig.ns.revisions("web").await, 2);
}

#[tokio::test]
async fn a_version_that_starts_too_slowly_is_taken_back() {
    let rig = Rig::new("slow", 3, json!({})).await;
    let mut slow = manifest(3, 2, "");
    slow["spec"]["template"]["metadata"]["annotations"] = json!({"gracekeeper.dev/sim-ready-after": "60s"});
    rig.release(&slow).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["rejected"][0]["reason"], "NotReadyInTime");
}

#[tokio::test]
async fn a_version_that_loses_its_readiness_again_and_again_is_taken_back() {
    // The step keeps one pod back for as long as it is not ready for 60 s on end.
    let rig = Rig::new("flap", 3, json!({"steps": [{"pods": 1, "bakeSeconds": 60}]})).await;
    rig.release(&manifest(3, 2, "flap")).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["rejected"][0]["reason"], "ReadyFlapping");
}

/// A ready pod of the new version restarts, and does not come back.
async fn restart_new(rig: &Rig) {
    let pods = rig.ns.pods().list(&ListParams::default()).await.unwrap();
    let is_new = |name: &str| !name.starts_with(&format!("{}-", rig.stable));
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).filter(|name| is_new(name)).collect();
    assert!(!names.is_empty());
    break_pods(rig, &names).await;
}

#[tokio::test]
async fn a_version_that_crashes_after_it_was_ready_is_taken_back_from_its_step() {
    let rig = Rig::new("bake", 3, json!({"steps": [{"pods": 1, "bakeSeconds": 60}]})).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.says("Baking", "Step").await;
    eventually("it bakes", || async { rig.gate().await["rollout"]["bakeSince"].is_string().then_some(()) }).await;
    restart_new(&rig).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["rejected"][0]["reason"], "RestartedAfterReady");
}

#[tokio::test]
async fn a_regression_of_a_complete_version_is_taken_back() {
    let rig = Rig::new("regress", 3, json!({"bakeAfterSeconds": 120})).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.says("Baking", "AfterCompletion").await;
    restart_new(&rig).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["rejected"][0]["reason"], "RestartedAfterReady");
}

#[tokio::test]
async fn without_old_revisions_a_regression_is_only_held() {
    let limited = |version| {
        let mut object = manifest(3, version, "");
        object["spec"]["revisionHistoryLimit"] = json!(0);
        object
    };
    let rig = Rig::of("no-history", limited(1), json!({"bakeAfterSeconds": 120})).await;
    rig.release(&limited(2)).await;
    rig.says("Baking", "AfterCompletion").await;
    eventually("the old ReplicaSet is gone", || async { (rig.ns.revisions("web").await == 1).then_some(()) }).await;
    restart_new(&rig).await;
    let gate = rig.says("Held", "NoStableRevision").await;
    assert_eq!(gate["evidence"][0]["class"], "RestartedAfterReady");
    assert_eq!(rig.writes().map_or(0, |writes| writes.1), 0);
}

#[tokio::test]
async fn pods_that_pod_security_refuses_are_taken_back() {
    let rig = Rig::new("security", 3, json!({})).await;
    let label = "pod-security.kubernetes.io/enforce=baseline";
    rig.kubectl(&["label", "namespace", &rig.ns.name, label]).unwrap();
    let mut privileged = manifest(3, 2, "");
    privileged["spec"]["template"]["spec"]["hostPID"] = json!(true);
    rig.release(&privileged).await;
    let gate = rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(gate["rejected"][0]["reason"], "Rejected");
}

#[tokio::test]
async fn an_operator_that_is_killed_before_a_failure_shows_stops_it_afterwards() {
    let mut rig = Rig::new("killed-early", 3, json!({})).await;
    rig.operator.signal("KILL");
    rig.operator.ended().await;
    let applied = rig.release(&manifest(3, 2, "crash")).await;
    let identity = Identity::install(&rig.ns);
    rig.operator = Operator::spawn(&rig.ns, &identity, &[]);
    rig.operator.ready().await;
    rig.says("Restored", "Restored").await;
    rig.stable_has(3).await;
    assert_eq!(rig.get().await["spec"]["template"], applied["spec"]["template"]);
    assert_eq!(rig.events("RolloutRestoring").await, 1);
}

#[tokio::test]
async fn an_operator_that_is_killed_once_the_pause_is_seen_goes_on_afterwards() {
    let mut rig = Rig::new("killed-paused", 10, json!({})).await;
    let applied = rig.release(&manifest(10, 2, "crash")).await;
    let capacity = Capacity::of(&rig.ns);
    rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    rig.operator.signal("KILL");
    rig.operator.ended().await;
    let identity = Identity::install(&rig.ns);
    rig.operator = Operator::spawn(&rig.ns, &identity, &[]);
    rig.operator.ready().await;
    rig.says("Restored", "Restored").await;
    rig.stable_has(10).await;
    let least = capacity.least().await;
    assert!(least >= 8, "{least} ready pods, 8 must be");
    assert_eq!(rig.get().await["spec"]["template"], applied["spec"]["template"]);
    assert_eq!(rig.ns.revisions("web").await, 2);
}

#[tokio::test]
async fn pods_that_fail_after_the_bake_are_nobodys_rollout() {
    let rig = Rig::new("later", 3, json!({})).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.another_is_proven().await;
    rig.ns.settled("web").await;
    restart_new(&rig).await;
    rig.ns.until("web", "its pods fail", |web| web["status"]["readyReplicas"].as_i64().unwrap_or(0) == 0).await;
    stays("it stays as it is", Duration::from_secs(3), || async { rig.gate().await["state"] == "Stable" }).await;
    assert_eq!(rig.writes().unwrap_or_default(), (0, 0));
}
