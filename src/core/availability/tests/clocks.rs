//! Claims about clocks that are set (256 random walks).

use proptest::prelude::*;

use super::stage::{MINUTE, MORNING, SECOND, Stage, again};
use crate::core::availability::{Bucket, Cause, DAY, Level};

fn numbers(sums: &Bucket) -> [i64; 8] {
    let Bucket { good, planned, fault, unknown, excluded, desired, missing_planned, missing_fault } = *sums;
    [good, planned, fault, unknown, excluded, desired, missing_planned, missing_fault]
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Available(u32),
    /// The clock is set, by so many seconds.
    Set(i64),
    Crash(i64),
    Partition(i64),
    /// The process freezes, and an event comes before the next tick.
    Freeze(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let set = prop_oneof![3..5_000_i64, -5_000..-2_i64, -10..-2_i64, Just(-3 * 86_400_i64), Just(2 * 86_400_i64)];
    prop_oneof![
        3 => (0..4_u32).prop_map(Event::Available),
        3 => set.prop_map(Event::Set),
        1 => (0..200_i64).prop_map(Event::Crash),
        1 => (0..200_i64).prop_map(Event::Partition),
        1 => (0..200_i64).prop_map(Event::Freeze),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing is negative, no day is longer than a day, every second of the calendar since the first look is counted
    /// once, and good time is never more than there really was.
    #[test]
    fn whatever_is_done_to_the_clock_nothing_counts_twice(events in prop::collection::vec((event(), 0..300_i64), 1..25)) {
        let mut stage = Stage::new(3);
        stage.pods.clear();
        stage.look();
        let mut really_good = 0;
        let mut is_good = true;
        for (event, wait) in events {
            match event {
                Event::Available(pods) => {
                    stage.available(pods);
                    is_good = pods == 3;
                }
                Event::Set(seconds) => {
                    stage.pass(1);
                    really_good += i64::from(is_good);
                    stage.now += seconds * SECOND;
                    stage.tick(true);
                    stage.look();
                }
                // Nothing is good while nobody watches: what is counted then is wrong.
                Event::Crash(seconds) => {
                    stage.restart(seconds);
                    stage.look();
                }
                Event::Partition(seconds) => {
                    stage.pass(1);
                    stage.tick(false);
                    stage.pass(seconds);
                    stage.tick(true);
                    stage.look();
                }
                Event::Freeze(seconds) => {
                    stage.pass(11 + seconds);
                    stage.look();
                    stage.tick(true);
                    stage.look();
                }
            }
            for _ in 0..wait {
                stage.wait(1);
                really_good += i64::from(is_good);
            }
            let ledger = stage.ledger().at(stage.now);
            let sums = ledger.window(90);
            prop_assert!(numbers(&sums).iter().all(|number| *number >= 0), "{:?}", sums);
            prop_assert!(ledger.days(90).all(|(_, day)| day.span() <= DAY));
            let first = ledger.born().max(ledger.first_day(90) * DAY);
            prop_assert_eq!(sums.span(), ledger.as_of() - first);
            prop_assert!(sums.good <= really_good * SECOND, "{} of {}", sums.good, really_good * SECOND);
            prop_assert!(again(&super::stage::status(&ledger)).at(stage.now).window(90) == sums, "it can be stored");
        }
    }
}

#[test]
fn a_clock_set_forward_gives_unknown_time_whatever_pods_say() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.pass(1);
    stage.now += 3_600 * SECOND;
    stage.tick(true);
    stage.look();
    stage.wait(60);
    assert_eq!((stage.sums().good, stage.sums().unknown), (120_000, 3_601_000));
    assert_eq!(stage.ledger().episodes()[0].cause, Cause::NotWatched);
}

#[test]
fn a_clock_set_forward_gives_unknown_time_even_if_an_event_comes_before_the_next_tick() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(60);
    stage.now += 3_600 * SECOND;
    stage.available(2);
    stage.pass(1);
    stage.tick(true);
    stage.look();
    assert_eq!((stage.sums().good, stage.sums().unknown, stage.sums().fault), (60_000, 3_601_000, 0));
}

#[test]
fn a_clock_set_back_counts_nothing_twice() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(100);
    stage.available(2);
    stage.now -= 50 * SECOND;
    stage.tick(true);
    stage.wait(20);
    stage.available(3);
    assert_eq!(stage.sums().span(), 100_000);
    stage.wait(60);
    assert_eq!((stage.sums().good, stage.sums().span()), (130_000, 130_000), "from where it was before on");
}

#[test]
fn a_gap_in_time_that_is_lived_through_twice_is_not_lost() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(100);
    let partition = |stage: &mut Stage| {
        stage.pass(1);
        stage.tick(false);
        stage.pass(30);
        stage.tick(true);
    };
    partition(&mut stage);
    stage.look();
    assert_eq!((stage.sums().good, stage.sums().unknown), (131_000, 0), "the pods prove it");
    stage.now -= 60 * SECOND;
    stage.tick(true);
    partition(&mut stage);
    stage.wait(100);
    stage.pods.clear();
    stage.look();
    assert!(stage.sums().unknown >= 31_000, "{:?}", stage.sums());
}

#[test]
fn a_ledger_of_a_clock_that_was_years_ahead_counts_on_from_today() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(3_600);
    stage.pass(1);
    stage.now += 400 * DAY;
    stage.tick(true);
    stage.look();
    stage.wait(10);
    stage.store();
    stage.now -= 400 * DAY;
    stage.restart(1);
    stage.look();
    let tomorrow = (MORNING.div_euclid(DAY) + 1) * DAY;
    assert_eq!(stage.ledger().as_of(), tomorrow, "today is closed");
    assert_eq!(stage.ledger().window(90).span(), tomorrow - stage.ledger().born());
    assert_eq!(stage.ledger().window(90).good, 0, "the days that were are gone, not good");
    stage.now = tomorrow;
    stage.restart(0);
    stage.look();
    stage.wait(60);
    assert_eq!(stage.sums().good, 60_000);
    let late = stage.ledger().episodes().iter().filter(|episode| episode.start > tomorrow / SECOND).count();
    assert_eq!(late, 0);
}

#[test]
fn a_clock_set_back_excuses_nobody_for_longer() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.scale(4);
    stage.look();
    assert_eq!(stage.missing(), (1, 0));
    stage.pass(1);
    stage.now -= 60 * MINUTE;
    stage.tick(true);
    stage.look();
    stage.wait(301);
    assert_eq!(stage.missing(), (0, 1));
}

#[test]
fn a_clock_set_back_while_the_status_lags_ends_its_patience_no_later() {
    let mut stage = Stage::new(3);
    stage.look();
    stage.wait(100);
    stage.generation();
    stage.deployment.deployed.observed_generation -= 1;
    stage.look();
    stage.pass(1);
    stage.now -= 60 * MINUTE;
    stage.tick(true);
    stage.look();
    stage.wait(6);
    assert_eq!(stage.ledger().level(), Level::Unknown);
}
