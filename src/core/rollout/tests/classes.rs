//! Claims about evidence, on pods as the API server sends them.
#![allow(clippy::needless_pass_by_value)] // JSON literals read better as values

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::gate::EvidenceClass::{self, *};
use crate::api::rollout::{OnFailure, Patience as Asked, Rollout, Tolerate, WhenBudgetSpent};
use crate::core::plan::{Killers, Start};
use crate::core::rollout::PodView;
use crate::core::rollout::evidence::{Evidence, Measure, Patience, of_pod};
use crate::core::rollout::pod::printable;

const START: &str = "2026-01-01T00:00:00Z";

fn start() -> Start {
    let killers = Killers { container: "app".into(), startup_seconds: Some(100), liveness: true };
    Start { budget_seconds: Some(100), readiness_seconds: 11, killers: vec![killers] }
}

fn rollout(start_seconds: i32) -> Rollout {
    Rollout {
        min_ready_seconds: None,
        on_failure: OnFailure::Restore,
        steps: Vec::new(),
        tolerate: Tolerate::default(),
        patience: Asked { start_seconds, ..Asked::default() },
        bake_after_seconds: 120,
        when_budget_spent: WhenBudgetSpent::Proceed,
    }
}

/// A pod that is scheduled, with one container in this state.
fn pod(container: Value, ready: bool) -> Value {
    json!({
        "metadata": {"name": "web-1", "uid": "u", "creationTimestamp": START, "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
        "spec": {"nodeName": "n", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": START}],
            "containerStatuses": [container]}
    })
}

fn app(state: Value, last: Value, restarts: u32) -> Value {
    json!({"name": "app", "ready": false, "started": false, "restartCount": restarts, "state": state, "lastState": last})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

fn ended(reason: &str, exit: i32, seconds: i64) -> Value {
    let begun: Timestamp = START.parse().unwrap();
    let finished = begun + SignedDuration::from_secs(seconds);
    json!({"terminated": {"reason": reason, "exitCode": exit, "startedAt": START, "finishedAt": finished.to_string()}})
}

fn running() -> Value {
    json!({"running": {"startedAt": START}})
}

fn judge(view: &PodView, seconds: i64) -> Option<Evidence> {
    let since: Timestamp = START.parse().unwrap();
    let start = start();
    let measure = Measure {
        now: since + SignedDuration::from_secs(seconds),
        since,
        patience: Patience::of(&rollout(0), &start),
        start: &start,
        is_complete: false,
    };
    of_pod(view, &measure).0
}

fn class(raw: &Value, seconds: i64) -> Option<EvidenceClass> {
    judge(&serde_json::from_value(raw.clone()).unwrap(), seconds).map(|evidence| evidence.class)
}

/// As above, of a pod that was seen ready before.
fn class_after_ready(raw: &Value, seconds: i64) -> Option<EvidenceClass> {
    let mut view: PodView = serde_json::from_value(raw.clone()).unwrap();
    view.was_ready = true;
    judge(&view, seconds).map(|evidence| evidence.class)
}

#[test]
fn what_a_container_says_is_evidence_at_once() {
    let none = json!({});
    for (state, last, want) in [
        (waiting("ImagePullBackOff", "Back-off pulling image"), none.clone(), ImagePull),
        (waiting("ErrImagePull", "manifest unknown"), none.clone(), ImagePull),
        (waiting("InvalidImageName", ""), none.clone(), ImagePull),
        (waiting("CreateContainerConfigError", "secret \"db\" not found"), none.clone(), Config),
        (waiting("RunContainerError", ""), none.clone(), Config),
        (waiting("CrashLoopBackOff", "back-off 10s"), ended("Error", 1, 2), Crash),
        (waiting("CrashLoopBackOff", "back-off 10s"), ended("OOMKilled", 137, 2), OOMKilled),
        (waiting("CrashLoopBackOff", "back-off 10s"), ended("Error", 137, 100), StartupFailed),
        (waiting("CrashLoopBackOff", "back-off 10s"), ended("Error", 137, 20), Crash),
        (waiting("CrashLoopBackOff", "back-off 10s"), ended("Completed", 0, 100), StartupFailed),
        (waiting("CrashLoopBackOff", "back-off 10s"), ended("Completed", 0, 99), Crash),
        (ended("Error", 1, 2), none.clone(), Crash),
        (ended("Completed", 0, 2), none.clone(), Crash),
        (ended("StartError", 128, 0), none.clone(), Config),
        (running(), ended("Error", 1, 2), Crash),
    ] {
        let raw = pod(app(state, last, 1), false);
        assert_eq!(class(&raw, 5), Some(want), "{raw}");
    }
}

#[test]
fn a_kill_after_ready_is_told_from_one_before() {
    let loops = waiting("CrashLoopBackOff", "");
    assert_eq!(class_after_ready(&pod(app(loops.clone(), ended("Error", 137, 5), 1), false), 9), Some(LivenessKilled));
    assert_eq!(class_after_ready(&pod(app(loops.clone(), ended("Error", 143, 5), 1), false), 9), Some(LivenessKilled));
    assert_eq!(class_after_ready(&pod(app(loops, ended("Error", 1, 5), 1), false), 9), Some(RestartedAfterReady));
    let back = pod(app(running(), ended("Error", 1, 5), 1), true);
    assert_eq!(class(&back, 9), Some(RestartedAfterReady), "it is ready again");
}

#[test]
fn a_restart_says_nothing_once_its_pod_has_been_ready_for_a_minute() {
    let again = json!({"running": {"startedAt": "2026-01-01T00:00:10Z"}});
    let mut raw = pod(app(again, ended("Error", 1, 5), 1), true);
    raw["status"]["conditions"][1]["lastTransitionTime"] = json!("2026-01-01T00:00:20Z");
    assert_eq!(class(&raw, 79), Some(RestartedAfterReady));
    assert_eq!(class(&raw, 80), None);
    raw["status"]["conditions"][1]["status"] = json!("False");
    assert_eq!(class(&raw, 80), Some(RestartedAfterReady), "it is not ready again");
}

#[test]
fn that_a_pod_had_been_ready_can_be_told_from_its_times() {
    let turned = |seconds: i64, container: Value| {
        let mut raw = pod(container, false);
        let begun: Timestamp = START.parse().unwrap();
        raw["status"]["conditions"][1]["lastTransitionTime"] =
            json!((begun + SignedDuration::from_secs(seconds)).to_string());
        serde_json::from_value::<PodView>(raw).unwrap().was_ready
    };
    // It says that it is not ready before its first container starts, and then only after it was ready.
    assert!(!turned(0, app(running(), json!({}), 0)));
    assert!(turned(1, app(running(), json!({}), 0)));
    assert!(!turned(0, app(waiting("CrashLoopBackOff", ""), ended("Error", 1, 5), 1)));
    assert!(turned(5, app(waiting("CrashLoopBackOff", ""), ended("Error", 1, 5), 1)));
    assert!(!turned(0, app(ended("Error", 1, 5), json!({}), 0)));
    assert!(turned(5, app(ended("Error", 1, 5), json!({}), 0)));
    assert!(!turned(5, app(waiting("ContainerCreating", ""), json!({}), 0)));
}

#[test]
fn what_is_kept_of_a_message_fits_into_the_status() {
    let long = format!("Back-off pulling image: ErrImagePull: {}: not found", "registry.example.com/team/".repeat(20));
    for reason in ["ImagePullBackOff", "CreateContainerConfigError", "PostStartHookError", "ContainerCreating"] {
        let raw = pod(app(waiting(reason, &long), json!({}), 0), false);
        let found = judge(&serde_json::from_value(raw).unwrap(), 9_999).unwrap();
        assert!(found.message.chars().count() <= 256, "{}", found.message);
    }
    let mut raw = pod(app(json!({}), json!({}), 0), false);
    (raw["status"]["phase"], raw["status"]["reason"]) = (json!("Failed"), json!(long));
    assert!(judge(&serde_json::from_value(raw).unwrap(), 5).unwrap().message.chars().count() <= 256);
}

#[test]
fn a_first_failed_pull_gets_patience() {
    let raw = pod(app(waiting("ErrImagePull", "i/o timeout"), json!({}), 0), false);
    assert_eq!(class(&raw, 299), None);
    assert_eq!(class(&raw, 300), Some(ImagePull));
    let said = "Back-off pulling image \"r.example/app:2\": ErrImagePull: failed to pull: dial tcp: i/o timeout";
    let raw = pod(app(waiting("ImagePullBackOff", said), json!({}), 0), false);
    assert_eq!(class(&raw, 299), None, "the registry may be back at the next try");
    assert_eq!(class(&raw, 300), Some(ImagePull));
    let slow = pod(app(waiting("ContainerCreating", ""), json!({}), 0), false);
    assert_eq!(class(&slow, 299), None, "a slow pull is no failure");
    assert_eq!(class(&slow, 300), Some(NotReadyInTime));
}

#[test]
fn a_definite_answer_of_a_registry_is_evidence_at_once_however_long_it_is() {
    let long = "r.example/".to_owned() + &"team/".repeat(60);
    for cause in ["not found", "403 Forbidden", "pull access denied", "no match for platform in manifest"] {
        for said in [format!("{long}: {cause}"), format!("Back-off pulling image \"{long}\": ErrImagePull: {cause}")] {
            let reason = if said.starts_with("Back-off") { "ImagePullBackOff" } else { "ErrImagePull" };
            assert_eq!(class(&pod(app(waiting(reason, &said), json!({}), 0), false), 1), Some(ImagePull), "{said}");
        }
    }
    let named = "Back-off pulling image \"r.example/denied:2\": ErrImagePull: i/o timeout";
    assert_eq!(class(&pod(app(waiting("ImagePullBackOff", named), json!({}), 0), false), 1), None, "only its name");
}

#[test]
fn a_start_gets_what_its_probes_grant() {
    let raw = pod(app(running(), json!({}), 0), false);
    assert_eq!(class(&raw, 120), None);
    assert_eq!(class(&raw, 121), Some(NotReadyInTime), "100 s startup, 11 s readiness, 10 s kubelet");
    let patience = |asked, start: &Start| Patience::of(&rollout(asked), start).start.as_secs();
    assert_eq!(patience(7, &start()), 7, "the policy's number counts as it is");
    assert_eq!(patience(0, &Start::default()), 300, "no probe bounds the start");
    let quick = Start { budget_seconds: Some(10), ..Start::default() };
    assert_eq!(patience(0, &quick), 60);
}

#[test]
fn a_pod_without_a_node_tells_why() {
    let mut raw = pod(app(json!({}), json!({}), 0), false);
    raw["spec"]["nodeName"] = Value::Null;
    raw["status"]["conditions"][0] = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available:\n3 Insufficient cpu."});
    assert_eq!(class(&raw, 299), None);
    let found = judge(&serde_json::from_value(raw).unwrap(), 300).unwrap();
    assert_eq!((found.class, found.message.as_str()), (Unschedulable, "0/3 nodes are available: 3 Insufficient cpu."));
}

#[test]
fn readiness_gates_are_named() {
    let mut raw = pod(app(running(), json!({}), 0), false);
    raw["spec"]["readinessGates"] = json!([{"conditionType": "target-health/lb"}]);
    raw["status"]["containerStatuses"][0]["ready"] = json!(true);
    let found = judge(&serde_json::from_value(raw).unwrap(), 121).unwrap();
    assert_eq!(found.class, ReadinessGatePending);
    assert!(found.message.contains("target-health/lb"), "{}", found.message);
}

#[test]
fn readiness_that_comes_and_goes_is_flapping() {
    let view = |ready: bool| {
        let mut raw = pod(app(running(), json!({}), 0), ready);
        raw["status"]["containerStatuses"][0]["ready"] = json!(ready);
        serde_json::from_value::<PodView>(raw).unwrap()
    };
    let first = view(true).following(None);
    let lost = view(false).following(Some(&first));
    assert_eq!((lost.ready_losses, lost.was_ready), (1, true));
    assert_eq!(judge(&lost, 10), None, "once, for a moment");
    assert_eq!(judge(&lost, 30).unwrap().class, ReadyFlapping, "once, and it does not come back");
    let twice = view(false).following(Some(&view(true).following(Some(&lost))));
    assert_eq!(judge(&twice, 10).unwrap().class, ReadyFlapping);
    let back = view(true).following(Some(&twice));
    assert_eq!(judge(&back, 10).unwrap().class, ReadyFlapping);
    assert_eq!(judge(&back, 60), None, "ready for a minute");
}

#[test]
fn a_loss_of_readiness_is_forgotten_when_the_pod_was_ready_for_long_after_it() {
    let at = |seconds: i64, ready: bool| {
        let mut raw = pod(app(running(), json!({}), 0), ready);
        let begun: Timestamp = START.parse().unwrap();
        raw["status"]["conditions"][1]["lastTransitionTime"] =
            json!((begun + SignedDuration::from_secs(seconds)).to_string());
        serde_json::from_value::<PodView>(raw).unwrap()
    };
    let losses = |lasted: i64| {
        let once = at(5, false).following(Some(&at(1, true).following(None)));
        at(10 + lasted, false).following(Some(&at(10, true).following(Some(&once)))).ready_losses
    };
    assert_eq!((losses(599), losses(600)), (2, 1));
}

#[test]
fn init_containers_and_sidecars_count() {
    let mut raw = pod(app(waiting("PodInitializing", ""), json!({}), 0), false);
    let init = |state: Value| json!([{"name": "init", "restartCount": 0, "state": state}]);
    raw["status"]["initContainerStatuses"] = init(ended("Completed", 0, 1));
    assert_eq!(class(&raw, 5), None, "an init container that did its work");
    raw["status"]["initContainerStatuses"] = init(ended("Error", 2, 1));
    let found = judge(&serde_json::from_value(raw).unwrap(), 5).unwrap();
    assert_eq!((found.class, &*found.container), (Crash, "init"));
}

#[test]
fn pods_that_are_ended_from_outside_say_nothing() {
    let crash = || pod(app(ended("Error", 137, 1), json!({}), 0), false);
    assert_eq!(class(&crash(), 5), Some(Crash));
    let mut deleted = crash();
    deleted["metadata"]["deletionTimestamp"] = json!(START);
    let mut disrupted = crash();
    disrupted["status"]["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    let mut evicted = crash();
    evicted["status"]["phase"] = json!("Failed");
    evicted["status"]["reason"] = json!("Evicted");
    let mut lost = crash();
    lost["status"]["phase"] = json!("Unknown");
    // Its node does not answer: the pod is set to not ready, and its containers still say that they are.
    let mut cut_off = pod(app(running(), json!({}), 0), false);
    cut_off["status"]["containerStatuses"][0]["ready"] = json!(true);
    for raw in [deleted, disrupted, evicted, lost, cut_off] {
        assert_eq!(class(&raw, 9_999), None, "{raw}");
    }
}

#[test]
fn a_failed_pod_is_evidence_with_its_own_reason() {
    let mut raw = pod(app(json!({}), json!({}), 0), false);
    raw["status"]["phase"] = json!("Failed");
    raw["status"]["reason"] = json!("DeadlineExceeded");
    assert_eq!(class(&raw, 5), Some(Crash));
}

#[test]
fn words_of_others_are_made_fit_to_show() {
    assert_eq!(printable("a\n\tb\u{1b}[31mc\u{202e}d  \u{0}"), "a b [31mcd");
    let long = printable(&"ä".repeat(400));
    assert_eq!(long.chars().count(), 256);
    assert!(long.ends_with("..."));
}

#[test]
fn a_bare_pod_parses() {
    let view: PodView =
        serde_json::from_value(json!({"metadata": {}, "spec": null, "status": null})).unwrap_or_default();
    assert_eq!(view, PodView::default());
    let view: PodView = serde_json::from_value(json!({})).unwrap_or_default();
    assert_eq!(view, PodView::default());
}
