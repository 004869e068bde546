//! Writes of a workload that flaps are bounded, and what is stored meanwhile claims nothing (128 random histories).

use proptest::prelude::*;

use super::stage::{MINUTE, SECOND, Stage, status};
use crate::core::availability::Spender;

const HOUR: i64 = 3_600 * SECOND;

/// A stage whose ledger is stored as often as a spender allows.
struct Thrifty {
    stage: Stage,
    spender: Spender,
    is_new: bool,
    writes: Vec<i64>,
    really_good: i64,
}

impl Thrifty {
    fn new() -> Self {
        let mut stage = Stage::new(3);
        stage.pods.clear();
        let spender = Spender::new(stage.now);
        let mut thrifty = Self { stage, spender, is_new: false, writes: Vec::new(), really_good: 0 };
        thrifty.available(3);
        thrifty
    }

    fn available(&mut self, available: u32) {
        let stored = self.stage.stored.take();
        self.stage.available(available);
        self.is_new |= self.stage.stored.is_some();
        self.stage.stored = stored;
        self.tell();
    }

    fn tell(&mut self) {
        let now = self.stage.now;
        let ledger = self.stage.ledger.as_mut().unwrap();
        let settles = !ledger.is_settled() && self.spender.next() <= now;
        if (self.is_new || settles)
            && let Ok(more) = self.spender.spend(now)
        {
            ledger.advance(now);
            ledger.settle(more);
            self.stage.stored = Some(status(ledger));
            self.is_new = false;
            self.writes.push(now);
        }
    }

    fn wait(&mut self, seconds: i64) {
        let is_good = self.stage.deployment.deployed.available == 3;
        for _ in 0..seconds {
            self.stage.wait(1);
            self.really_good += if is_good { SECOND } else { 0 };
            self.tell();
        }
    }

    fn busiest_hour(&self) -> usize {
        let within = |from: i64| self.writes.iter().filter(|at| (from..from + HOUR).contains(*at)).count();
        self.writes.iter().map(|at| within(*at)).max().unwrap_or(0)
    }
}

#[test]
fn ten_flips_a_minute_for_hours_cost_a_hundred_and_twenty_writes_an_hour_and_a_burst() {
    let mut thrifty = Thrifty::new();
    for flip in 0..10 * 60 * 4 {
        thrifty.available(if flip % 2 == 0 { 2 } else { 3 });
        thrifty.wait(6);
    }
    println!("writes in the busiest hour: {}, in all: {}", thrifty.busiest_hour(), thrifty.writes.len());
    assert!(thrifty.busiest_hour() <= 130);
    assert!(thrifty.writes.len() <= 10 + 4 * 120 + 1);
    // When it ends, all of it is stored soon, and lasts.
    thrifty.wait(90);
    let stored = super::stage::again(thrifty.stage.stored.as_ref().unwrap());
    assert!(stored.is_settled());
    assert_eq!(stored.at(thrifty.stage.now).window(30), thrifty.stage.sums());
    let writes = thrifty.writes.len();
    thrifty.wait(3_600);
    assert_eq!(thrifty.writes.len(), writes, "and then nothing");
}

#[test]
fn the_first_changes_are_stored_at_once() {
    let mut thrifty = Thrifty::new();
    for flip in 0..8 {
        thrifty.available(if flip % 2 == 0 { 2 } else { 3 });
        assert_eq!(thrifty.writes.last(), Some(&thrifty.stage.now));
        assert!(thrifty.stage.ledger().is_settled());
        thrifty.wait(1);
    }
}

#[test]
fn a_spender_gives_one_write_in_thirty_seconds_whatever_the_clock_does() {
    let mut spender = Spender::new(0);
    let spent = |spender: &mut Spender, now| (0..100).filter(|_| spender.spend(now).is_ok()).count();
    assert_eq!(spent(&mut spender, 0), 10);
    assert_eq!(spender.spend(1), Err(30_000));
    assert_eq!(spent(&mut spender, 29_999), 0);
    assert_eq!(spent(&mut spender, 30_000), 1);
    assert_eq!(spent(&mut spender, 100 * MINUTE), 10, "no more than a burst");
    assert_eq!(spent(&mut spender, 0), 0, "set back");
    assert_eq!(spent(&mut spender, 30_000), 1, "and not stopped for long");
    assert_eq!(spent(&mut spender, i64::MAX), 10);
    assert_eq!(spent(&mut spender, i64::MIN), 0);
    let mut spender = Spender::new(0);
    for _ in 0..9 {
        assert_eq!(spender.spend(0), Ok(true));
    }
    assert_eq!(spender.spend(0), Ok(false), "the next change could not be stored");
    assert_eq!(spender.next(), 60_000, "then two are left: one to settle, one for a change");
    assert_eq!(spender.spend(60_000), Ok(true));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_moment_yields_no_more_good_time_than_there_was(
        flips in prop::collection::vec((0..4_u32, prop_oneof![4 => 1..12_i64, 1 => 30..200_i64]), 1..150),
        gap in 0..100_i64,
    ) {
        let mut thrifty = Thrifty::new();
        for (available, wait) in flips {
            thrifty.available(available);
            thrifty.wait(wait);
        }
        prop_assert!(thrifty.busiest_hour() <= 130);
        let mut stage = thrifty.stage;
        let before = stage.sums();
        stage.restart(gap);
        stage.look();
        let after = stage.sums();
        prop_assert!(after.good <= thrifty.really_good, "{} {}", after.good, thrifty.really_good);
        prop_assert!(after.good <= before.good && after.fault <= before.fault);
        prop_assert_eq!(after.span(), before.span() + gap * SECOND);
    }
}
