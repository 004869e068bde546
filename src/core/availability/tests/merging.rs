//! Ledgers of successive stretches are one ledger (512 random histories).

use proptest::prelude::*;

use super::stage::MORNING;
use crate::core::availability::{Cause, DAY, Ledger, Level};

type Step = (i64, Level, Option<Cause>, &'static str);

fn step() -> impl Strategy<Value = Step> {
    let level = prop_oneof![
        1 => Just((Level::Unknown, Some(Cause::NotWatched), "")),
        1 => Just((Level::Excluded, None, "")),
        2 => (1..5_u32).prop_map(|desired| (Level::of(desired, desired, 0, desired), None, "")),
        4 => (2..5_u32, 0..2_u32, any::<bool>()).prop_map(|(desired, available, is_planned)| {
            let cause = if is_planned { Cause::Rollout } else { Cause::Crash };
            let level = Level::of(desired, available, if is_planned { desired } else { 0 }, 1);
            (level, Some(cause), if is_planned { "abc" } else { "" })
        }),
    ];
    let wait = prop_oneof![0..3_000_i64, 0..4_000_000_i64, 0..20 * DAY];
    (wait, level).prop_map(|(wait, (level, cause, rollout))| (wait, level, cause, rollout))
}

/// One ledger over all of it, and one for each stretch; a stretch ends after every step whose flag says so.
fn ledgers(steps: &[(Step, bool)]) -> (Ledger, Vec<Ledger>) {
    let mut whole = Ledger::begin(MORNING);
    let mut pieces = vec![Ledger::begin(MORNING)];
    let mut now = MORNING;
    for ((wait, level, cause, rollout), is_cut) in steps {
        if *is_cut {
            let mut next = Ledger::begin(now);
            let last = pieces.last().unwrap();
            let open = last.episodes().last().filter(|open| open.end.is_none());
            next.change(last.level(), last.cause(), open.map_or("", |open| &open.rollout));
            pieces.push(next);
        }
        let piece = pieces.last_mut().unwrap();
        for ledger in [&mut whole, piece] {
            ledger.change(*level, *cause, rollout);
        }
        now += wait;
        whole.advance(now);
        pieces.last_mut().unwrap().advance(now);
    }
    (whole, pieces)
}

fn said(ledger: &Ledger) -> String {
    format!("{}\n{:#?}", ledger.encode(), ledger.episodes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pieces_are_the_whole_in_any_order_of_merging(steps in prop::collection::vec((step(), prop::bool::weighted(0.3)), 1..40)) {
        let (whole, pieces) = ledgers(&steps);
        let left = pieces.iter().skip(1).fold(pieces[0].clone(), Ledger::merged);
        let last = pieces.last().unwrap().clone();
        let right = pieces.iter().rev().skip(1).fold(last, |sum, piece| piece.clone().merged(&sum));
        prop_assert_eq!(said(&left), said(&right));
        prop_assert_eq!(said(&left), said(&whole));
    }

    #[test]
    fn time_between_two_ledgers_is_unknown_and_merging_stays_associative(
        steps in prop::collection::vec(step(), 3..4),
        holes in prop::collection::vec(0..3 * DAY, 3..4),
    ) {
        let mut now = MORNING;
        let mut pieces = Vec::new();
        for ((wait, level, cause, rollout), hole) in steps.iter().zip(&holes) {
            let mut ledger = Ledger::begin(now);
            ledger.change(*level, *cause, rollout);
            now += wait;
            ledger.advance(now);
            now += hole;
            pieces.push(ledger);
        }
        let [a, b, c] = &pieces[..] else { panic!("three") };
        let left = a.clone().merged(b).merged(c);
        let right = a.clone().merged(&b.clone().merged(c));
        prop_assert_eq!(said(&left), said(&right));
        prop_assert_eq!(left.life_at(left.as_of()).span(), left.as_of() - MORNING);
    }
}

#[test]
fn an_episode_that_lasts_over_the_seam_is_one_episode() {
    let mut first = Ledger::begin(MORNING);
    first.change(Level::of(3, 1, 0, 3), Some(Cause::Crash), "");
    first.advance(MORNING + 10_000);
    let mut second = Ledger::begin(MORNING + 10_000);
    second.change(Level::of(3, 0, 0, 3), Some(Cause::Crash), "");
    second.advance(MORNING + 20_000);
    second.change(Level::of(3, 3, 0, 3), None, "");
    let merged = first.merged(&second);
    let [episode] = merged.episodes() else { panic!("{:?}", merged.episodes()) };
    assert_eq!((episode.start, episode.end), (MORNING / 1000, Some(MORNING / 1000 + 20)));
    assert_eq!((episode.missing, episode.of), (3, 3));
}
