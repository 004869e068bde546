//! Claims about who watched when.

use std::time::Duration;

use proptest::prelude::*;

use super::stage::{MORNING, PATIENCE, SECOND};
use crate::core::availability::{DAY, Watched};

fn gaps(watched: &Watched) -> Vec<(i64, i64)> {
    watched.gaps_after(i64::MIN).map(|gap| ((gap.start - MORNING) / SECOND, (gap.end - MORNING) / SECOND)).collect()
}

/// Wall clock and steady clock in seconds, and whether all watches are up to date.
fn ticks(watched: &mut Watched, ticks: &[(i64, u64, bool)]) {
    for (wall, steady, is_watching) in ticks {
        watched.tick(MORNING + wall * SECOND, Duration::from_secs(*steady), *is_watching, PATIENCE);
    }
}

#[test]
fn ticks_and_the_gaps_that_they_show() {
    type Row = (&'static str, &'static [(i64, u64, bool)], &'static [(i64, i64)]);
    let rows: &[Row] = &[
        ("steady", &[(0, 0, true), (5, 5, true), (10, 10, true)], &[]),
        ("cut off since the last good tick", &[(0, 0, true), (5, 5, false), (9, 9, true)], &[(0, 9)]),
        ("still cut off", &[(0, 0, true), (5, 5, false), (9, 9, false)], &[]),
        ("frozen", &[(0, 0, true), (11, 11, true)], &[(0, 11)]),
        ("slow, not frozen", &[(0, 0, true), (10, 10, true)], &[]),
        ("set forward", &[(0, 0, true), (105, 5, true)], &[(0, 105)]),
        ("set forward a little", &[(0, 0, true), (7, 5, true)], &[]),
        ("set back", &[(0, 0, true), (-95, 5, true)], &[]),
        ("set back while cut off", &[(0, 0, true), (5, 5, false), (-95, 6, false), (-90, 11, true)], &[(-95, -90)]),
        ("frozen and set back", &[(0, 0, true), (-100, 60, true)], &[(-160, -100)]),
        (
            "two in a row are one",
            &[(0, 0, true), (5, 5, false), (9, 9, true), (12, 12, false), (15, 15, true)],
            &[(0, 15)],
        ),
        (
            "two with time between",
            &[(0, 0, true), (5, 5, false), (9, 9, true), (12, 12, true), (14, 14, false), (15, 15, true)],
            &[(0, 9), (12, 15)],
        ),
        (
            "twice in the same time, because the clock was set back between",
            &[(0, 0, true), (5, 5, false), (9, 9, true), (2, 10, true), (3, 11, false), (6, 14, true)],
            &[(0, 9)],
        ),
    ];
    for (name, given, expected) in rows {
        let mut watched = Watched::default();
        ticks(&mut watched, given);
        assert_eq!(gaps(&watched), *expected, "{name}");
        assert_eq!(watched.is_watching(), given.last().unwrap().2, "{name}");
    }
}

#[test]
fn what_the_lease_says_and_since_when_nobody_watches() {
    let at = |seconds: i64| MORNING + seconds * SECOND;
    let ever = at(0) - 90 * DAY;
    let closed = format!("[[{},{}]]", at(-100), at(-90));
    let open = format!("[[{},{}],[{}]]", at(-100), at(-90), at(-30));
    let ahead = format!("[[{},{}],[{},{}]]", at(-100), at(-90), at(-10), at(500));
    let rows: &[(&str, Option<&str>, Option<i64>, i64)] = &[
        ("as renewed", Some("[]"), Some(at(-10)), at(-10)),
        ("with gaps", Some(&closed), Some(at(-10)), at(-10)),
        ("nobody watched already then", Some(&open), Some(at(-10)), at(-30)),
        ("renewed by a clock a little ahead", Some("[]"), Some(at(5)), at(0)),
        ("renewed by a clock that cannot be compared", Some("[]"), Some(at(6)), ever),
        ("the same, with gaps", Some(&closed), Some(at(600)), at(-90)),
        ("a gap of a clock that is ahead", Some(&ahead), Some(at(-5)), at(-10)),
        ("no renewal", Some("[]"), None, ever),
        ("no gaps are told", None, Some(at(-10)), ever),
        ("there is no Lease", None, None, ever),
        ("damaged", Some("[[1,2,3]]"), Some(at(-10)), ever),
        ("gaps that are not sorted", Some("[[5,9],[1,2]]"), Some(at(-10)), ever),
        ("gaps that overlap", Some("[[1,5],[4,9]]"), Some(at(-10)), ever),
        ("open twice", Some("[[1],[2]]"), Some(at(-10)), ever),
        ("open in the middle", Some("[[1],[2,3]]"), Some(at(-10)), ever),
        ("absurd", Some("[[-9223372036854775808]]"), Some(i64::MIN), i64::MIN),
    ];
    for (name, stored, renewed, expected) in rows {
        let watched = Watched::resume(*stored, *renewed, at(0));
        assert!(!watched.is_watching());
        assert_eq!(watched.until(i64::MAX, at(0)), *expected, "{name}");
    }
}

#[test]
fn a_ledger_is_read_up_to_the_first_gap_that_it_has_not_dealt_with() {
    let mut watched = Watched::default();
    ticks(&mut watched, &[(0, 0, true), (5, 5, false), (9, 9, true), (10, 10, true)]);
    let at = |seconds: i64| MORNING + seconds * SECOND;
    assert_eq!(watched.until(at(0), at(10)), at(0));
    assert_eq!(watched.until(at(9), at(10)), at(10));
    assert_eq!(watched.until(at(9), at(21)), at(10), "no tick for longer than the patience");
    ticks(&mut watched, &[(14, 14, false)]);
    assert_eq!(watched.until(at(9), at(20)), at(10));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gaps_are_sorted_few_and_survive_a_restart(
        steps in prop::collection::vec((-2_000..20_000_i64, 0..20_u64, any::<bool>()), 1..200),
        down in 0..5_000_i64,
    ) {
        let mut watched = Watched::default();
        let (mut wall, mut steady) = (MORNING, Duration::ZERO);
        for (passed, really, is_watching) in steps {
            let before = watched.clone();
            wall += passed * SECOND;
            steady += Duration::from_secs(really);
            watched.tick(wall, steady, is_watching, PATIENCE);
            let gaps: Vec<_> = watched.gaps_after(i64::MIN).collect();
            prop_assert!(gaps.len() <= 32);
            prop_assert!(gaps.iter().all(|gap| gap.start < gap.end));
            prop_assert!(gaps.windows(2).all(|two| two[0].end <= two[1].start));
            // Whatever was no watched time stays so, as far as ledgers reach.
            for gap in before.gaps_after(wall - 80 * DAY) {
                prop_assert!(gaps.iter().any(|wide| wide.start <= gap.start && gap.end <= wide.end));
            }
            let longest = 40 * (2 * i64::MAX.to_string().len());
            prop_assert!(watched.encode().len() <= longest);
        }
        let now = wall + down * SECOND;
        let resumed = Watched::resume(Some(&watched.encode()), Some(wall), now);
        prop_assert!(!resumed.is_watching());
        let past = watched.gaps_after(i64::MIN).filter(|gap| gap.end <= now).map(|gap| (gap.start, gap.end));
        let kept = resumed.gaps_after(i64::MIN).map(|gap| (gap.start, gap.end));
        prop_assert_eq!(past.collect::<Vec<_>>(), kept.collect::<Vec<_>>());
        let known = watched.gaps_after(i64::MIN).last().map_or(i64::MIN, |gap| gap.end);
        prop_assert!(resumed.until(i64::MAX, now) <= watched.until(i64::MAX, wall).max(known).min(now));
        let again = Watched::resume(Some(&resumed.encode()), Some(now), now);
        prop_assert_eq!(again.encode(), resumed.encode());
    }

    #[test]
    fn no_text_of_a_lease_is_too_much(text in ".{0,200}", renewed in any::<Option<i64>>(), now in any::<i64>()) {
        let mut watched = Watched::resume(Some(&text), renewed, now);
        watched.tick(now, Duration::MAX, true, Duration::ZERO);
        watched.tick(i64::MIN, Duration::ZERO, false, Duration::MAX);
        watched.tick(i64::MAX, Duration::MAX, true, Duration::MAX);
        prop_assert!(watched.is_watching());
    }

    #[test]
    fn no_numbers_in_a_lease_are_too_large(numbers in prop::collection::vec(prop::collection::vec(any::<i64>(), 0..4), 0..40), now in any::<i64>()) {
        let text = serde_json::to_string(&numbers).unwrap();
        let watched = Watched::resume(Some(&text), Some(now), now);
        prop_assert!(watched.until(i64::MIN, now) <= now);
    }
}
