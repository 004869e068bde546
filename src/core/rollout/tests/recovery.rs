//! Claims about what ends by itself: restarts that are over, refusals that pass, a way back that gets stuck, and edits in
//! the middle of it all.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::story::{Stage, version};
use crate::api::gate::GateState::{self, *};
use crate::api::gate::{Outcome, Version};
use crate::api::rollout::{Approval, OnFailure, Step};
use crate::api::workload_health::{Action as Asked, Request};
use crate::core::rollout::facts::Refusal;
use crate::core::rollout::pod::Terminated;
use crate::core::rollout::{Action, Paused, Seen, decide};

/// A new version is being let in, with one pod that is ready.
fn letting_in(on_failure: OnFailure) -> Stage {
    let mut stage = Stage::new(on_failure);
    stage.settle();
    stage.push("v2");
    stage.set("v2", 2, 1, 1);
    stage.settle();
    stage
}

/// All pods of a version restarted just now, and are ready again.
fn restart(stage: &mut Stage, name: &str) {
    let (now, ended) = (stage.now, crashed(stage));
    for pod in stage.pods.iter_mut().filter(|pod| &*pod.revision == name) {
        (pod.was_ready, pod.ready_since) = (true, Some(now));
        let container = &mut pod.containers[0];
        (container.running_since, container.restarts) = (Some(now), container.restarts + 1);
        container.last = Some(ended.clone());
    }
}

/// How a container ends that crashes now.
fn crashed(stage: &Stage) -> Terminated {
    let ended = json!({"exitCode": 1, "reason": "Error", "finishedAt": stage.now.to_string()});
    serde_json::from_value(ended).unwrap()
}

/// The last run of the new version's only pod ended now.
fn crash_v2(stage: &mut Stage) {
    let ended = crashed(stage);
    let pod = stage.pods.iter_mut().find(|pod| &*pod.revision == "v2").unwrap();
    pod.containers[0].last = Some(ended);
}

fn told(stage: &mut Stage) -> (GateState, String) {
    let verdict = stage.settle().0;
    (verdict.state(), verdict.reason().to_owned())
}

#[test]
fn a_hold_for_restarts_that_both_versions_share_ends_once_all_are_well_again() {
    let mut stage = letting_in(OnFailure::Restore);
    restart(&mut stage, "v1");
    restart(&mut stage, "v2");
    let held = stage.settle().0;
    assert_eq!((held.state(), held.reason()), (Held, "Environment"));
    assert_eq!(held.look_again, Some(SignedDuration::from_secs(60)), "nothing else would wake it");
    stage.pass(60);
    assert_eq!(stage.settle().0.look_again, Some(SignedDuration::from_secs(30)));
    stage.pass(30);
    assert_eq!(told(&mut stage), (Rolling, "EvidenceCleared".into()));
    assert_eq!(stage.deployment.paused, Paused::No);
}

#[test]
fn pods_of_the_stable_version_that_are_replaced_during_a_hold_do_not_make_it_the_new_ones_fault() {
    let mut stage = letting_in(OnFailure::Restore);
    restart(&mut stage, "v1");
    restart(&mut stage, "v2");
    stage.pass(1);
    assert_eq!(told(&mut stage), (Held, "Environment".into()));
    stage.pass(5);
    stage.set("v1", 1, 3, 3); // a drain took the witnesses away
    assert_eq!(told(&mut stage), (Held, "Undecided".into()));
    assert!(stage.memory.message.contains("nothing new since it is held"), "{}", stage.memory.message);
    stage.pass(5);
    restart(&mut stage, "v2");
    assert_eq!(told(&mut stage), (Restoring, "Restoring".into()), "it fails again, and now it alone");
}

#[test]
fn stable_pods_that_recover_first_do_not_make_it_the_new_ones_fault() {
    let mut stage = letting_in(OnFailure::Restore);
    stage.set("v1", 1, 3, 0);
    stage.set("v2", 2, 1, 0);
    crash_v2(&mut stage);
    assert_eq!(told(&mut stage), (Held, "Environment".into()));
    stage.pass(180);
    stage.set("v1", 1, 3, 3); // the database is back; the new pod is in its back-off for minutes yet
    assert_eq!(told(&mut stage), (Held, "Undecided".into()));
    stage.pass(200);
    assert_eq!(told(&mut stage), (Held, "Undecided".into()), "it did not try again since");
    crash_v2(&mut stage);
    assert_eq!(told(&mut stage), (Restoring, "Restoring".into()), "it crashes with the database there");
}

#[test]
fn a_version_that_comes_during_an_outage_is_not_to_blame_for_it() {
    let mut stage = letting_in(OnFailure::Restore);
    let since = stage.now - SignedDuration::from_mins(10);
    for pod in stage.pods.iter_mut().filter(|pod| &*pod.revision == "v1") {
        (pod.ready, pod.was_ready, pod.ready_since, pod.ready_losses) = (false, true, Some(since), 1);
        pod.containers[0].ready = false;
    }
    stage.revisions.iter_mut().filter(|revision| &*revision.name == "v1").for_each(|revision| {
        (revision.ready, revision.available) = (0, 0);
    });
    stage.set("v2", 2, 1, 0);
    assert_eq!(told(&mut stage), (Held, "Environment".into()));
}

#[test]
fn a_pod_in_its_back_off_has_not_been_tried_again_by_a_retry() {
    let mut stage = letting_in(OnFailure::Hold);
    stage.set("v2", 2, 1, 0);
    crash_v2(&mut stage);
    assert_eq!(told(&mut stage), (Held, "Failing".into()));
    stage.pass(10);
    let template_hash = stage.deployment.version.template_hash.clone();
    stage.request = Some(Request { action: Asked::Retry, template_hash, id: "1".into() });
    let retried = stage.settle().0;
    assert_eq!((retried.state(), retried.look_again), (Rolling, Some(SignedDuration::from_secs(300))));
    stage.pass(301);
    assert_eq!(told(&mut stage).0, Rolling, "it waits yet");
    crash_v2(&mut stage);
    assert_eq!(told(&mut stage), (Held, "Failing".into()));
}

#[test]
fn a_last_bake_that_waits_for_pods_sets_no_timer() {
    let mut stage = letting_in(OnFailure::Restore);
    stage.set("v1", 1, 0, 0);
    stage.set("v2", 2, 3, 3);
    assert_eq!(told(&mut stage), (Baking, "AfterCompletion".into()));
    stage.pass(500);
    stage.deployment.replicas = 4; // scaled up, and the fourth pod finds no node yet
    assert_eq!(stage.settle().0.look_again, None);
}

#[test]
fn restarts_that_are_tolerated_are_tolerated_of_the_stable_version_too() {
    let mut stage = letting_in(OnFailure::Restore);
    stage.rollout.as_mut().unwrap().tolerate.restarts = 3;
    restart(&mut stage, "v1");
    stage.set("v2", 2, 2, 0);
    assert_eq!(told(&mut stage), (Rolling, "Rolling".into()), "two pods crash once each: two restarts are tolerated");
    stage.set("v2", 2, 4, 0);
    assert_eq!(told(&mut stage), (Restoring, "Restoring".into()), "the stable one is as good as new");
}

#[test]
fn what_came_before_a_retry_is_forgiven() {
    let mut stage = letting_in(OnFailure::Hold);
    restart(&mut stage, "v2");
    assert_eq!(told(&mut stage), (Held, "Failing".into()));
    let ask = |stage: &Stage| Request {
        action: Asked::Retry,
        template_hash: stage.deployment.version.template_hash.clone(),
        id: "1".into(),
    };
    stage.request = Some(ask(&stage));
    stage.pass(1);
    assert_eq!(told(&mut stage), (Rolling, "Retried".into()));
    stage.pass(299);
    assert_eq!(told(&mut stage).0, Rolling);
    stage.pass(2);
    assert_eq!(told(&mut stage).0, Rolling, "also when the pardon of pods that are older is over");
}

fn refuse(stage: &mut Stage, said: &str) {
    let now = stage.now;
    let revision = stage.revisions.iter_mut().find(|revision| &*revision.name == "v2").unwrap();
    (revision.pods, revision.ready, revision.available) = (0, 0, 0);
    revision.failure = Some(Refusal { said: said.into(), since: Some(now) });
    stage.pods.retain(|pod| &*pod.revision != "v2");
}

#[test]
fn a_refusal_that_may_pass_gets_patience_and_another_one_does_not() {
    let mut stage = letting_in(OnFailure::Restore);
    refuse(&mut stage, "pods \"web-\" is forbidden: violates PodSecurity \"restricted:latest\"");
    assert_eq!(told(&mut stage), (Restoring, "Restoring".into()));

    let mut stage = letting_in(OnFailure::Restore);
    refuse(&mut stage, "pods \"web-\" is forbidden: error looking up service account shop/web: not found");
    let waiting = stage.settle().0;
    assert_eq!((waiting.state(), waiting.look_again), (Rolling, Some(SignedDuration::from_secs(300))));
    stage.pass(300);
    assert_eq!(told(&mut stage), (Restoring, "Restoring".into()));

    let mut stage = letting_in(OnFailure::Restore);
    refuse(&mut stage, "Internal error occurred: failed calling webhook \"inject.example.com\"");
    stage.pass(300);
    assert_eq!(told(&mut stage), (Held, "Undecided".into()), "no version is to blame for a webhook that is away");
}

#[test]
fn a_way_back_waits_for_a_failing_stable_pod_and_goes_on_after_it() {
    let mut stage = letting_in(OnFailure::Restore);
    stage.set("v1", 1, 3, 2);
    stage.memory.state = Restoring;
    stage.memory.reason = "Restoring".into();
    stage.deployment.paused = Paused::ByUs;
    let look = |stage: &mut Stage| {
        let verdict = decide(&stage.seen());
        stage.memory = verdict.memory.clone();
        verdict
    };
    for _ in 0..3 {
        look(&mut stage);
    }
    assert!(stage.memory.rollout.as_ref().unwrap().stuck_since.is_some());
    stage.pass(299);
    assert_eq!(look(&mut stage).state(), Restoring, "one pod that restarts does not end it");
    stage.pass(1);
    let held = look(&mut stage);
    assert_eq!((held.state(), held.reason()), (Held, "StableFails"));
    stage.set("v1", 1, 3, 3);
    let freed = look(&mut stage);
    assert_eq!((freed.state(), freed.reason()), (Restoring, "Restoring"));
    assert!(matches!(look(&mut stage).action, Action::ScaleReplicaSet { .. }));
}

#[test]
fn a_fix_of_the_workloads_own_probe_flows_and_a_policy_edit_does_not() {
    let declared = |stage: &mut Stage, template: &str, declared: &str| {
        let app_hash = version("v2").app_hash;
        stage.deployment.version =
            Version { template_hash: template.into(), app_hash, declared_hash: declared.to_owned() };
        stage.edited();
    };
    let mut stage = Stage::new(OnFailure::Restore);
    stage.settle();
    declared(&mut stage, "t-v2", "wrong path");
    stage.set("v2", 2, 1, 0);
    stage.settle();
    stage.set("v2", 2, 0, 0);
    assert_eq!(told(&mut stage), (Restored, "Restored".into()));
    declared(&mut stage, "t-v2-by-policy", "wrong path");
    assert_eq!(told(&mut stage), (Restored, "Restored".into()));
    declared(&mut stage, "t-v2-fixed", "right path");
    assert_eq!(told(&mut stage), (Rolling, "Rolling".into()));
    assert_eq!(stage.deployment.paused, Paused::No);
    declared(&mut stage, "t-v2", "wrong path");
    assert_eq!(told(&mut stage), (Held, "RejectedVersion".into()), "the broken one is still known");
}

#[test]
fn a_policy_edit_in_the_last_bake_begins_it_anew() {
    let mut stage = letting_in(OnFailure::Restore);
    stage.set("v1", 1, 0, 0);
    stage.set("v2", 2, 3, 3);
    assert_eq!(told(&mut stage), (Baking, "AfterCompletion".into()));
    stage.pass(119);
    stage.deployment.version.template_hash = "t-edited".into();
    stage.edited();
    stage.settle();
    stage.pass(10);
    let edited = stage.revisions.iter_mut().find(|revision| &*revision.name == "v2").unwrap();
    edited.version.template_hash = "t-edited".into(); // its pods are there
    assert_eq!(stage.settle().0.look_again, Some(SignedDuration::from_secs(120)));
    stage.pass(119);
    assert_eq!(told(&mut stage), (Baking, "AfterCompletion".into()));
    stage.pass(1);
    assert_eq!(told(&mut stage), (Stable, "Proven".into()));
}

#[test]
fn an_edit_of_policy_fields_at_a_step_begins_the_step_anew() {
    let mut stage = Stage::new(OnFailure::Restore);
    let step = Step { pods: IntOrString::Int(1), bake_seconds: 60, approval: Approval::Automatic };
    stage.rollout.as_mut().unwrap().steps = vec![step];
    stage.settle();
    stage.push("v2");
    stage.set("v2", 2, 1, 1);
    assert_eq!(told(&mut stage), (Baking, "Step".into()));
    stage.deployment.version.template_hash = "t-edited".into();
    stage.edited();
    stage.pass(60);
    assert_eq!(told(&mut stage), (Rolling, "TemplateEdited".into()), "a step is not passed without pods");
    assert_eq!(stage.deployment.paused, Paused::No);
}

#[test]
fn a_version_is_stopped_before_the_stable_template_is_written_back() {
    let mut stage = letting_in(OnFailure::Revert);
    stage.set("v2", 2, 1, 0);
    let (verdict, action) = stage.settle();
    assert_eq!((verdict.state(), verdict.reason()), (Reverted, "Reverting"));
    assert_eq!(stage.deployment.paused, Paused::ByUs);
    assert!(matches!(action, Action::RevertTemplate { .. }), "{action:?}");
    // It lands: the same write ends the pause.
    (stage.deployment.paused, stage.deployment.version) = (Paused::No, version("v1"));
    stage.edited();
    assert_eq!(told(&mut stage).0, Reverted);
    stage.set("v2", 2, 0, 0);
    assert_eq!(told(&mut stage), (Stable, "Proven".into()));
    assert_eq!(stage.memory.paused_by_us, None);
    assert!(stage.memory.history.iter().any(|past| past.outcome == Outcome::Reverted));
}

#[test]
fn a_stable_template_that_is_refused_leaves_the_version_paused_and_says_so() {
    let mut stage = letting_in(OnFailure::Revert);
    stage.set("v2", 2, 1, 0);
    stage.settle();
    let held = decide(&Seen { refused_revert: Some("the image is not signed"), ..stage.seen() });
    assert_eq!((held.state(), held.reason(), &held.action), (Held, "RevertRefused", &Action::None));
    assert_eq!(held.sentence(), "Held: the stable template was refused: the image is not signed.");
}

#[test]
fn a_person_who_resumes_while_the_stable_template_is_written_back_overrides_it() {
    let mut stage = letting_in(OnFailure::Revert);
    stage.set("v2", 2, 1, 0);
    stage.settle();
    stage.deployment.paused = Paused::No;
    stage.edited();
    let (verdict, action) = stage.settle();
    assert_eq!((verdict.state(), verdict.reason(), action), (NotGated, "Overridden", Action::None));
}

#[test]
fn a_rejected_version_that_comes_during_a_persons_hold_never_flows() {
    let mut stage = letting_in(OnFailure::Hold);
    stage.set("v2", 2, 1, 0);
    assert_eq!(told(&mut stage), (Held, "Failing".into()));
    stage.push("v3");
    stage.set("v3", 3, 1, 1);
    stage.settle();
    let ask = |stage: &mut Stage, action, id: &str| {
        let template_hash = stage.deployment.version.template_hash.clone();
        stage.request = Some(Request { action, template_hash, id: id.into() });
    };
    ask(&mut stage, Asked::Hold, "1");
    assert_eq!(told(&mut stage), (Held, "ByRequest".into()));
    stage.push("v2");
    stage.settle();
    ask(&mut stage, Asked::Resume, "2");
    let (verdict, action) = stage.settle();
    assert_eq!((verdict.state(), verdict.reason(), action), (Held, "RejectedVersion", Action::None));
    assert_eq!(stage.deployment.paused, Paused::ByUs, "not even for a moment");
}

#[test]
fn another_version_that_is_written_whole_over_our_pause_is_gated_as_any_other() {
    let mut stage = letting_in(OnFailure::Hold);
    stage.set("v2", 2, 1, 0);
    assert_eq!(told(&mut stage), (Held, "Failing".into()));
    stage.deployment.paused = Paused::No; // a PUT knows of no pause
    stage.push("v3");
    assert_eq!(told(&mut stage), (Rolling, "Rolling".into()));
    stage.set("v3", 3, 1, 0);
    assert_eq!(told(&mut stage), (Held, "Failing".into()));
    stage.deployment.paused = Paused::No;
    stage.push("v2");
    assert_eq!(told(&mut stage), (Held, "RejectedVersion".into()));
    assert_eq!(stage.deployment.paused, Paused::ByUs);
}
