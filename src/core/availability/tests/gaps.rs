//! Claims about time in which nobody watched.

use super::stage::{SECOND, Stage, again, crashed, ready, starting};
use crate::core::availability::{Cause, Level};

/// A gap of 100 s after 60 good ones; what is done to the pods in it; good, fault and unknown milliseconds afterwards.
#[test]
fn what_the_pods_prove_of_a_gap() {
    type Change = fn(&mut Stage, i64);
    let rows: &[(&str, Change, [i64; 3])] = &[
        ("nothing happened", |_, _| {}, [160, 0, 0]),
        ("all pods are gone", |stage, _| stage.pods.clear(), [60, 0, 100]),
        ("one was replaced", |stage, at| stage.pods[0] = ready("new", at + 90_000), [69, 0, 91]),
        ("one crashed", |stage, at| stage.pods[0] = crashed(&stage.pods[0], at + 30_000), [60, 69, 31]),
        (
            "one crashed and came back",
            |stage, at| {
                stage.pods[0] =
                    crate::core::rollout::PodView { created: stage.pods[0].created, ..ready("p0", at + 40_000) };
            },
            [119, 0, 41],
        ),
        ("one is being deleted", |stage, _| stage.pods[0].deleting = true, [60, 0, 100]),
        ("one is pending", |stage, _| stage.pods[0].phase = crate::core::rollout::Phase::Pending, [160, 0, 0]),
        (
            "its node does not answer",
            |stage, _| stage.pods[0].phase = crate::core::rollout::Phase::Unknown,
            [60, 0, 100],
        ),
        ("one tells no time", |stage, _| stage.pods[0].ready_since = None, [60, 0, 100]),
        ("one is missing", |stage, _| drop(stage.pods.pop()), [60, 0, 100]),
        ("a pod too many is ready", |stage, at| stage.pods.push(ready("more", at)), [160, 0, 0]),
        (
            "a pod too many, and one that crashed",
            |stage, at| {
                stage.pods[0] = crashed(&stage.pods[0], at + 30_000);
                stage.pods.push(starting("more", at + 35_000));
            },
            [60, 0, 100],
        ),
        ("the spec was changed", |stage, _| stage.generation(), [55, 0, 105]),
        ("it was scaled to zero", |stage, _| stage.scale(0), [55, 0, 105]),
    ];
    for (name, change, expected) in rows {
        let mut stage = Stage::new(3);
        stage.look();
        stage.wait(60);
        let at = stage.now;
        stage.restart(100);
        change(&mut stage, at);
        let gone = stage.pods.iter().filter(|pod| !pod.ready).count();
        stage.available(3 - u32::try_from(gone).unwrap());
        let sums = stage.sums();
        assert_eq!([sums.good, sums.fault, sums.unknown].map(|millis| millis / SECOND), *expected, "{name}");
    }
}

/// API times are whole seconds: a ledger that begins before the second is over in which its pods became ready, and
/// whose process dies in it, has a moment that nobody can tell; from the next second on there is none.
#[test]
fn the_second_in_which_pods_became_ready_proves_nothing() {
    for (after, unknown) in [(100, 700), (799, 1), (800, 0), (5_000, 0)] {
        let mut stage = Stage::new(2);
        let since = stage.now + 200; // the API tells it as 200 ms earlier
        stage.pods = (0..2).map(|index| ready(&format!("p{index}"), since)).collect();
        (stage.now, stage.steady) = (since + after, std::time::Duration::ZERO);
        stage.tick(true);
        stage.look();
        stage.restart(30);
        assert_eq!(stage.look(), unknown > 0, "{after} ms after");
        assert_eq!((stage.sums().unknown, stage.sums().good), (unknown, 30_000 - unknown), "{after} ms after");
    }
}

#[test]
fn a_hundred_pods_that_started_one_after_another_prove_a_gap() {
    let mut stage = Stage::new(100);
    let since = stage.now - 1_000 * SECOND;
    stage.pods = (0..100).map(|index| ready(&format!("p{index}"), since + index * SECOND)).collect();
    stage.look();
    stage.wait(60);
    stage.restart(100);
    stage.look();
    assert_eq!(stage.sums().good, 160_000);
}

#[test]
fn many_changes_in_a_gap_prove_its_end() {
    let mut stage = Stage::new(100);
    stage.look();
    let at = stage.now;
    stage.restart(300);
    for (index, pod) in (0_i64..).zip(stage.pods.iter_mut()) {
        pod.ready_since = Some(super::stage::told(at + index * SECOND));
    }
    stage.look();
    assert_eq!((stage.sums().good, stage.sums().unknown), (200_000, 100_000));
}

#[test]
fn a_loss_that_lasts_over_a_gap_keeps_its_class_and_cause() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.roll_out("2222222222222222");
    stage.pods[0] = starting("new", stage.now);
    stage.available(2);
    stage.wait(60);
    stage.deployment.rollout = crate::core::deployment::RolloutProgress::Settled;
    stage.pods[0] = crashed(&stage.pods[0], stage.now);
    stage.look();
    let cause = stage.cause();
    assert_eq!(cause, Some(Cause::Crash));
    stage.wait(60);
    stage.restart(30);
    stage.look();
    assert_eq!(stage.sums().unknown, 0);
    assert_eq!(stage.cause(), cause);
    assert_eq!(stage.ledger().episodes().len(), 2, "{:?}", stage.ledger().episodes());
}

#[test]
fn a_drain_that_lasts_over_a_gap_is_planned_as_long_as_it_is_excused() {
    for (gap, expected) in [(100, (160, 0)), (600, (60, 600))] {
        let mut stage = Stage::new(3);
        stage.look();
        stage.pods[0] = super::stage::evicted(&stage.pods[0]);
        stage.available(2);
        // It is gone, and its successor has not started yet.
        stage.pods[0] = starting("new", stage.now);
        stage.look();
        stage.wait(60);
        stage.restart(gap);
        stage.look();
        let sums = stage.sums();
        assert_eq!((sums.missing_planned / SECOND, sums.missing_fault / SECOND), expected, "{gap}");
    }
}

#[test]
fn pods_of_a_rollout_prove_no_loss() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.roll_out("2222222222222222");
    stage.look();
    let at = stage.now;
    stage.restart(100);
    stage.pods[0] = crashed(&stage.pods[0], at + 10_000);
    stage.available(2);
    assert_eq!(stage.sums().missing(), 0, "a fourth pod may have been there");
    assert_eq!(stage.sums().unknown, 100_000);
}

#[test]
fn a_ledger_that_is_not_settled_gives_unknown_time_after_a_restart() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.store();
    let mut ledger = stage.ledger().clone();
    ledger.settle(false);
    stage.stored = Some(super::stage::status(&ledger));
    stage.wait(40);
    stage.restart(10);
    stage.look();
    assert_eq!((stage.sums().good, stage.sums().unknown), (60_000, 50_000));
}

#[test]
fn a_restart_while_the_status_lags_remembers_since_when() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.generation();
    stage.deployment.deployed.observed_generation -= 1;
    stage.look();
    stage.wait(4);
    stage.store();
    assert_eq!(stage.sums().span(), 60_000, "what lags is not counted before it is known");
    stage.restart(0);
    stage.look();
    stage.wait(2);
    assert_eq!((stage.sums().good, stage.sums().unknown), (60_000, 6_000));
}

#[test]
fn life_never_falls() {
    let mut stage = Stage::new(3);
    stage.look();
    let mut last = 0;
    for step in 0..60 {
        if step == 20 {
            stage.generation();
            stage.deployment.deployed.observed_generation -= 1;
            stage.look();
        }
        if step == 40 {
            stage.deployment.deployed.observed_generation += 1;
            stage.available(2);
        }
        stage.wait(1);
        let until = stage.watched.until(stage.ledger().checked(), stage.now);
        let good = stage.ledger().life_at(until).good;
        assert!(good >= last, "{step}");
        last = good;
    }
}

#[test]
fn a_gap_that_was_proven_once_is_unknown_when_pods_are_gone_and_nothing_was_written() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.restart(30);
    stage.look();
    stage.wait(60);
    assert_eq!(stage.sums().good, 150_000);
    stage.restart(30);
    stage.pods.clear();
    stage.look();
    assert_eq!((stage.sums().good, stage.sums().unknown), (60_000, 120_000));
    assert_eq!(stage.ledger().level(), Level::of(3, 3, 0, 3));
    assert_eq!(again(stage.stored.as_ref().unwrap()).window(30), stage.sums());
}
