//! Claims about cases that are easily counted wrong: one for each.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{from_value, json};

use super::stage::{MORNING, SECOND, Stage, again, crashed, moment, ready, status};
use crate::core::availability::{Cause, Level, Watched};
use crate::core::deployment::RolloutProgress;
use crate::core::rollout::Paused;

#[test]
fn surge_pods_never_hide_missing_replicas() {
    let mut stage = Stage::new(4);
    stage.available(6);
    stage.wait(60);
    stage.available(2);
    stage.wait(60);
    let sums = stage.sums();
    assert_eq!(sums.desired, 4 * 120 * SECOND);
    assert_eq!(sums.missing(), 2 * 60 * SECOND, "what was too much before is not a credit");
    assert_eq!(sums.good, 60 * SECOND);
}

#[test]
fn no_replicas_are_no_downtime() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.scale(0);
    stage.available(0);
    stage.wait(3_600);
    assert_eq!((stage.sums().good, stage.sums().excluded), (60 * SECOND, 3_600 * SECOND));
    assert_eq!((stage.sums().missing(), stage.ledger().episodes().len()), (0, 0));
}

#[test]
fn scaled_to_zero_and_back_the_start_is_planned() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.scale(0);
    stage.available(0);
    stage.wait(600);
    stage.scale(3);
    stage.deployment.rollout = RolloutProgress::Moving;
    stage.available(0);
    stage.wait(30);
    stage.available(3);
    stage.wait(60);
    let sums = stage.sums();
    assert_eq!((sums.excluded, sums.planned, sums.good, sums.fault), (600_000, 30_000, 60_000, 0));
    assert_eq!((sums.missing_planned, sums.missing_fault), (90_000, 0));
    assert_eq!(stage.ledger().episodes().len(), 1);
    assert_eq!(stage.ledger().episodes()[0].cause, Cause::ScaleUp);
}

#[test]
fn what_nobody_watched_is_never_good() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.pods.clear();
    stage.restart(120);
    stage.look();
    stage.wait(60);
    assert_eq!((stage.sums().good, stage.sums().unknown), (120_000, 120_000));
    assert_eq!(stage.sums().desired, 3 * 120_000, "and nothing is said to have been wanted then");
}

#[test]
fn a_ready_pod_counts_after_its_min_ready_seconds_only() {
    let mut stage = Stage::new(3);
    stage.deployment.deployed.min_ready_seconds = 30;
    stage.look();
    stage.wait(60);
    stage.pods[0] = ready("new", stage.now);
    stage.available(2);
    assert_eq!(stage.cause(), Some(Cause::NotReady), "no pod is missing");
    stage.wait(30);
    stage.available(3);
    assert_eq!(stage.sums().missing_fault, 30_000);

    // Nor does it prove more of a gap.
    stage.pods[0] = ready("new", stage.now + 10_000);
    stage.pods[0].created = stage.pods[1].created;
    stage.restart(100);
    stage.look();
    assert_eq!(stage.sums().unknown, 41_000, "10 s, 30 s, and the second of the API");
}

#[test]
fn a_rollout_that_the_gate_paused_is_planned_still_and_a_person_s_pause_excuses_nothing() {
    for (is_gated, expected) in [(true, (1, 0)), (false, (0, 1))] {
        let mut stage = Stage::new(4);
        stage.look();
        stage.roll_out("2222222222222222");
        stage.available(3);
        assert_eq!(stage.missing(), (1, 0));
        stage.pause(Paused::ByUs);
        if is_gated {
            stage.gate.rollout = from_value(json!({
                "version": {"templateHash": "2222222222222222", "appHash": "2"}, "started": "2027-01-15T08:00:00Z"
            }))
            .unwrap();
        }
        stage.look();
        assert_eq!(stage.missing(), expected, "gated: {is_gated}");
    }
}

#[test]
fn a_crash_while_paused_without_a_rollout_is_a_fault() {
    let mut stage = Stage::new(4);
    stage.look();
    stage.pause(Paused::ByOther);
    stage.pods[0] = crashed(&stage.pods[0], stage.now);
    stage.available(3);
    assert_eq!((stage.missing(), stage.cause()), ((0, 1), Some(Cause::Crash)));
}

#[test]
fn deletion_is_no_downtime_and_a_new_deployment_of_the_name_begins_anew() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.generation();
    stage.deployment.deleting = true;
    stage.available(0);
    stage.wait(60);
    assert_eq!((stage.sums().good, stage.sums().excluded, stage.sums().missing()), (60_000, 60_000, 0));

    let mut next = Stage::new(3);
    next.deployment.deployed.created = Some(moment(MORNING));
    next.pods.clear();
    next.available(0);
    next.wait(20);
    assert_eq!((next.sums().planned, next.sums().span()), (20_000, 20_000));
}

#[test]
fn a_deployment_that_is_deleted_while_its_status_lags_is_excluded_at_once() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.deployment.generation += 1;
    stage.deployment.deployed.generation += 1;
    stage.deployment.deleting = true;
    stage.look();
    assert_eq!(stage.ledger().level(), Level::Excluded);
}

#[test]
fn a_status_that_lags_is_the_level_before_for_five_seconds_and_then_unknown_from_its_beginning() {
    for (lag, expected) in [(4, (64_000, 0)), (5, (60_000, 5_000)), (60, (60_000, 60_000))] {
        let mut stage = Stage::new(3);
        stage.look();
        stage.wait(60);
        stage.scale(5);
        stage.deployment.deployed.observed_generation -= 1;
        // A status of the generation before may say anything meanwhile.
        stage.available(0);
        stage.wait(lag);
        assert_eq!((stage.sums().good, stage.sums().unknown), if lag < 5 { (60_000, 0) } else { expected });
        stage.deployment.deployed.observed_generation += 1;
        stage.available(5);
        assert_eq!((stage.sums().good, stage.sums().unknown), expected, "{lag}");
    }
}

#[test]
fn enough_replicas_are_good_time_and_still_cost_what_is_missing() {
    let mut stage = Stage::new(4);
    stage.min_available = IntOrString::String("50%".into());
    stage.available(2);
    stage.wait(60);
    assert_eq!((stage.sums().good, stage.sums().missing_fault), (60_000, 120_000));
    stage.available(1);
    stage.wait(60);
    assert_eq!((stage.sums().good, stage.sums().fault), (60_000, 60_000));
}

#[test]
fn nothing_is_stored_while_nothing_happens() {
    let mut stage = Stage::new(3);
    assert!(stage.look());
    for _ in 0..100 {
        stage.wait(10);
        assert!(!stage.look());
    }
    assert_eq!(stage.ledger().as_of(), MORNING);
}

#[test]
fn an_event_between_a_freeze_and_the_tick_that_tells_of_it_is_not_taken_in() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.pass(600);
    stage.pods.clear();
    stage.available(0);
    assert_eq!(stage.ledger().level().missing(), 0, "not yet");
    assert_eq!(stage.watched.until(stage.ledger().checked(), stage.now), MORNING, "nor may it be read so far");
    stage.tick(true);
    stage.look();
    assert_eq!((stage.sums().good, stage.sums().unknown), (0, 600_000));
    assert_eq!(stage.missing(), (0, 3));
}

#[test]
fn two_replicas_never_count_the_same_second_twice() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(100);
    stage.store();
    // The old leader went on for a moment, and its last write came first: the new one goes on from that.
    let mut other = again(stage.stored.as_ref().unwrap());
    let earlier = stage.now - 50 * SECOND;
    other.advance(earlier);
    assert_eq!(other.at(stage.now).life_at(stage.now).span(), 100_000);
    stage.watched = Watched::resume(Some("[]"), Some(earlier), stage.now);
    stage.ledger = Some(other);
    stage.tick(true);
    stage.look();
    assert_eq!(stage.sums().span(), 100_000);
    assert_eq!(status(stage.ledger()).lost.unwrap().unknown_seconds, 0, "that time was counted by who saw it");
}
