//! Random histories against the oracle: 192 of them, and 96 with a restart; to the second.

use proptest::prelude::*;

use super::oracle::{Oracle, Sample};
use super::stage::{MORNING, SECOND, Stage, crashed, evicted, objective, ready};
use crate::core::availability::{DAY, Ledger, SLOT, enough};
use crate::core::deployment::RolloutProgress;

#[derive(Clone, Debug)]
enum Event {
    Available(u32),
    Scale(u32),
    RollOut,
    Settle,
    Broken(u32),
    Evicted(u32),
    /// The status lags behind the spec for so many seconds.
    Lag(i64),
    /// The watches are cut off for so many seconds; afterwards this many pods are available.
    Partition(i64, u32),
    /// The process dies, and another one begins so many seconds later.
    Crash(i64, u32),
    /// The clock is set forward.
    Forward(i64),
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..7_u32).prop_map(Event::Available),
        2 => (0..6_u32).prop_map(Event::Scale),
        1 => Just(Event::RollOut),
        1 => Just(Event::Settle),
        1 => (0..3_u32).prop_map(Event::Broken),
        1 => (0..3_u32).prop_map(Event::Evicted),
        1 => (1..20_i64).prop_map(Event::Lag),
        1 => (1..400_i64, 0..7_u32).prop_map(|(seconds, available)| Event::Partition(seconds, available)),
        1 => (1..400_i64, 0..7_u32).prop_map(|(seconds, available)| Event::Crash(seconds, available)),
        1 => (3..4_000_i64).prop_map(Event::Forward),
        1 => Just(Event::Nothing),
    ]
}

/// Events, each with the time that passes after it; and how long before midnight it all begins.
fn history() -> impl Strategy<Value = (Vec<(Event, i64)>, i64, i32)> {
    let wait = prop_oneof![Just(0_i64), 1..30_i64, 1..900_i64];
    (prop::collection::vec((event(), wait), 1..30), 0..7_200_i64, 1..=100_i32)
}

struct Run {
    stage: Stage,
    oracle: Oracle,
}

impl Run {
    fn new(before_midnight: i64, percent: i32) -> Self {
        let midnight = MORNING.div_euclid(DAY) * DAY + DAY;
        let mut stage = Stage::at(4, midnight - before_midnight * SECOND);
        stage.min_available = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(format!("{percent}%"));
        stage.pods.clear();
        stage.look();
        Self { stage, oracle: Oracle::new(4, 1) }
    }

    fn state(&self, now: i64) -> Sample {
        self.oracle.state(now, enough(&self.stage.min_available, self.oracle.desired))
    }

    fn see(&mut self) {
        self.put();
        self.stage.look();
        self.oracle.see(self.stage.now);
    }

    /// What the oracle says is, becomes visible.
    fn put(&mut self) {
        let (oracle, now) = (&self.oracle, self.stage.now);
        let nameless = |pod: crate::core::rollout::PodView| crate::core::rollout::PodView { created: None, ..pod };
        let broken = (0..oracle.broken).map(|_| nameless(crashed(&ready("b", now), now)));
        let leaving = (0..oracle.evicted).map(|_| nameless(evicted(&ready("e", now))));
        self.stage.pods = broken.chain(leaving).collect();
        self.stage.deployment.deployed.available = oracle.available;
        self.stage.deployment.rollout =
            if oracle.is_rolling { RolloutProgress::Moving } else { RolloutProgress::Settled };
    }

    fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            let now = self.stage.now;
            let state = self.state(now);
            self.oracle.note(now, now + SECOND, state);
            self.stage.wait(1);
        }
    }

    /// Time in which nobody watched: it is known only that nothing was wanted, if nothing is and nobody touched that.
    fn unseen(&mut self, from: i64) {
        let sample = if self.oracle.desired == 0 { Sample::Excluded } else { Sample::Unknown };
        self.oracle.note(from, self.stage.now, sample);
    }

    fn happen(&mut self, index: usize, event: &Event) {
        let from = self.stage.now;
        match *event {
            Event::Available(pods) => self.oracle.available = pods,
            Event::Scale(replicas) => {
                self.stage.scale(replicas);
                self.oracle.desired = replicas;
            }
            Event::RollOut => {
                self.stage.roll_out(&format!("{index:015x}0"));
                self.oracle.is_rolling = true;
            }
            Event::Settle => self.oracle.is_rolling = false,
            Event::Broken(pods) => self.oracle.broken = pods,
            Event::Evicted(pods) => self.oracle.evicted = pods,
            Event::Lag(seconds) => {
                let state = self.state(from);
                self.stage.generation();
                self.stage.deployment.deployed.observed_generation -= 1;
                self.stage.look();
                for _ in 0..seconds {
                    let now = self.stage.now;
                    let sample = if seconds >= 5 { Sample::Unknown } else { state };
                    self.oracle.note(now, now + SECOND, sample);
                    self.stage.wait(1);
                }
                self.stage.deployment.deployed.observed_generation += 1;
            }
            Event::Partition(seconds, available) => {
                self.stage.tick(true);
                self.stage.pass(1);
                self.stage.tick(false);
                self.stage.pass(seconds);
                self.oracle.available = available;
                self.stage.tick(true);
                self.unseen(from);
            }
            Event::Crash(seconds, available) => {
                self.stage.store();
                self.stage.restart(seconds);
                self.oracle.available = available;
                self.unseen(from);
            }
            Event::Forward(seconds) => {
                self.stage.pass(1);
                self.stage.now += seconds * SECOND;
                self.stage.tick(true);
                self.oracle.note(from, self.stage.now, Sample::Unknown);
            }
            Event::Nothing => {}
        }
        self.see();
    }
}

/// Everything that a ledger says, in one text.
fn said(ledger: &Ledger) -> String {
    format!("{}\n{:?}", ledger.encode(), ledger.episodes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sums of the life, of each day and of the slots; the five classes are the window; shares are shares.
    #[test]
    fn the_ledger_says_what_samples_of_every_second_say((events, before_midnight, percent) in history()) {
        let mut run = Run::new(before_midnight, percent);
        let born = run.stage.now;
        for (index, (event, wait)) in events.iter().enumerate() {
            run.happen(index, event);
            run.wait(*wait);
        }
        let now = run.stage.now;
        let ledger = run.stage.ledger().at(now);
        prop_assert_eq!(ledger.as_of(), now);
        prop_assert_eq!(ledger.life_at(now), run.oracle.sums(0));
        prop_assert_eq!(ledger.window(90), run.oracle.sums(0));
        prop_assert_eq!(ledger.window(1), run.oracle.sums(now.div_euclid(DAY) * DAY / SECOND));
        prop_assert_eq!(ledger.window(90).span(), now - born, "the classes are the window, exactly");
        for window in [3_600_000, 21_600_000] {
            let first = (now - window).div_euclid(SLOT) * SLOT / SECOND;
            let exact = run.oracle.sums(first);
            prop_assert_eq!(ledger.recent(window), (exact.missing(), exact.desired));
        }
        let figures = ledger.figures(&objective());
        let sums = run.oracle.sums(0);
        for (share, part, whole) in [
            (figures.replica_weighted, sums.desired - sums.missing(), sums.desired),
            (figures.time_based, sums.good, sums.counted()),
            (figures.coverage, sums.span() - sums.unknown, sums.span()),
        ] {
            prop_assert_eq!(share.is_some(), whole > 0);
            if let Some(share) = share {
                prop_assert!((0.0..=1.0).contains(&share));
                #[allow(clippy::cast_precision_loss)] // a few hours
                let exact = part as f64 / whole as f64;
                prop_assert!((share - exact).abs() < 1e-9, "{} {}", share, exact);
                prop_assert_eq!(share < 1.0, part < whole);
            }
        }
        prop_assert!(figures.budget <= 1.0);
        let lasting = ledger.episodes().iter().filter(|episode| episode.end.is_none()).count();
        prop_assert_eq!(lasting, usize::from(ledger.cause().is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_that_misses_nothing_changes_nothing((events, before_midnight, percent) in history(), at in any::<prop::sample::Index>()) {
        let restarted = at.index(events.len());
        let run = |restart: Option<usize>| {
            let mut run = Run::new(before_midnight, percent);
            for (index, (event, wait)) in events.iter().enumerate() {
                run.happen(index, event);
                if restart == Some(index) {
                    run.stage.store();
                    run.stage.restart(0);
                    run.stage.look();
                }
                run.wait(*wait);
            }
            said(&run.stage.ledger().at(run.stage.now))
        };
        prop_assert_eq!(run(Some(restarted)), run(None));
    }
}
