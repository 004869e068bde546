//! Claims about classes and causes of what is missing.

use super::stage::{MINUTE, Stage, crashed, evicted, lost, moment, starting};
use crate::core::availability::Cause;
use crate::core::deployment::RolloutProgress;
use crate::core::rollout::PodView;
use crate::core::rollout::pod::Phase;

#[test]
fn a_first_deployment_starts_as_planned_for_five_minutes_and_is_a_fault_after_that() {
    let mut stage = Stage::new(3);
    stage.deployment.deployed.created = Some(moment(stage.now));
    stage.deployment.deployed.max_unavailable = 0;
    stage.deployment.rollout = RolloutProgress::Moving;
    stage.pods.clear();
    stage.available(0);
    assert_eq!((stage.missing(), stage.cause()), ((3, 0), Some(Cause::ScaleUp)));
    stage.wait(400);
    assert_eq!((stage.missing(), stage.cause()), ((0, 3), Some(Cause::PodsMissing)));
    assert_eq!((stage.sums().planned, stage.sums().fault), (300_000, 100_000));
}

#[test]
fn a_first_deployment_that_crashes_is_a_fault_from_the_crash_on() {
    let mut stage = Stage::new(2);
    stage.deployment.deployed.created = Some(moment(stage.now));
    stage.pods = vec![starting("a", stage.now), starting("b", stage.now)];
    stage.available(0);
    assert_eq!(stage.missing(), (2, 0));
    stage.wait(20);
    stage.pods[0] = crashed(&stage.pods[0], stage.now);
    stage.look();
    assert_eq!((stage.missing(), stage.cause()), ((1, 1), Some(Cause::Crash)));
}

#[test]
fn an_old_deployment_that_is_first_seen_broken_is_a_fault() {
    let mut stage = Stage::new(2);
    stage.available(1);
    assert_eq!(stage.missing(), (0, 1));
}

#[test]
fn an_eviction_is_planned_and_a_lost_node_is_a_fault() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.pods[0] = evicted(&stage.pods[0]);
    stage.available(2);
    assert_eq!((stage.missing(), stage.cause()), ((1, 0), Some(Cause::Drain)));

    let mut stage = Stage::new(3);
    stage.look();
    stage.pods[0] = lost(&stage.pods[0], stage.now);
    stage.available(2);
    assert_eq!((stage.missing(), stage.cause()), ((0, 1), Some(Cause::NodeLost)));
}

#[test]
fn an_evicted_pod_that_never_goes_is_excused_once() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.pods[0] = evicted(&stage.pods[0]);
    stage.available(2);
    stage.wait(3_600);
    assert_eq!((stage.sums().missing_planned, stage.sums().missing_fault), (300_000, 3_300_000));
}

#[test]
fn evictions_one_after_another_are_all_planned() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.pods[0] = evicted(&stage.pods[0]);
    stage.available(2);
    stage.wait(10);
    // The first one is gone, its successor starts.
    stage.pods[0] = starting("c", stage.now);
    stage.look();
    stage.wait(10);
    stage.pods[1] = evicted(&stage.pods[1]);
    stage.available(1);
    assert_eq!((stage.missing(), stage.cause()), ((2, 0), Some(Cause::Drain)));
}

#[test]
fn two_scale_ups_in_a_row_are_both_planned() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.scale(5);
    stage.look();
    stage.wait(10);
    stage.scale(6);
    stage.look();
    assert_eq!((stage.missing(), stage.cause()), ((3, 0), Some(Cause::ScaleUp)));
}

#[test]
fn a_scale_up_that_was_first_seen_after_a_gap_is_planned_all_the_same() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.restart(30);
    stage.scale(5);
    stage.look();
    assert_eq!((stage.missing(), stage.cause()), ((2, 0), Some(Cause::ScaleUp)));
}

#[test]
fn a_crash_in_the_middle_of_a_rollout_is_a_fault_although_it_may_take_as_many_pods() {
    let mut stage = Stage::new(4);
    stage.look();
    stage.roll_out("2222222222222222");
    stage.available(3);
    assert_eq!((stage.missing(), stage.cause()), ((1, 0), Some(Cause::Rollout)));
    stage.wait(10);
    stage.pods[0] = crashed(&stage.pods[0], stage.now);
    stage.look();
    assert_eq!((stage.missing(), stage.cause()), ((0, 1), Some(Cause::Crash)));
    stage.available(2);
    assert_eq!(stage.missing(), (1, 1), "one crashed, one replaced");
}

#[test]
fn more_than_the_strategy_allows_is_a_fault() {
    let mut stage = Stage::new(4);
    stage.look();
    stage.roll_out("2222222222222222");
    stage.available(1);
    assert_eq!(stage.missing(), (1, 2));
    stage.deployment.deployed.recreate = true;
    stage.look();
    assert_eq!(stage.missing(), (3, 0), "Recreate takes all");
}

#[test]
fn a_pod_that_cannot_be_replaced_is_no_rollout() {
    let mut stage = Stage::new(4);
    stage.look();
    // The quota is used up: the status counts three pods, which looks as if they were being replaced.
    stage.pods.pop();
    stage.deployment.rollout = RolloutProgress::Moving;
    stage.available(3);
    assert_eq!((stage.missing(), stage.cause()), ((0, 1), Some(Cause::PodsMissing)));
    stage.restart(0);
    stage.look();
    assert_eq!((stage.missing(), stage.cause()), ((0, 1), Some(Cause::PodsMissing)));
}

#[test]
fn a_dead_pod_that_was_replaced_long_ago_is_no_fault_of_a_rollout() {
    let mut stage = Stage::new(4);
    let dead = crashed(&stage.pods[0], stage.now - 20 * MINUTE);
    stage.pods.push(PodView { phase: Phase::Failed, ..dead });
    stage.look();
    stage.roll_out("2222222222222222");
    stage.available(3);
    assert_eq!((stage.missing(), stage.cause()), ((1, 0), Some(Cause::Rollout)));
}

#[test]
fn a_rollout_that_failed_is_a_fault() {
    let mut stage = Stage::new(4);
    stage.look();
    stage.roll_out("2222222222222222");
    stage.available(3);
    stage.deployment.rollout = RolloutProgress::Stuck;
    stage.look();
    assert_eq!((stage.missing(), stage.cause()), ((0, 1), Some(Cause::FailedRollout)));
}
