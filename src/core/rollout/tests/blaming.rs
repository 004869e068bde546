//! Claims about blame.

use crate::api::gate::Blame;
use crate::core::rollout::blame::{Cohort, blame, fisher};

fn verdict(candidate: (u32, u32), stable: (u32, u32)) -> Blame {
    let cohort = |(failed, pods)| Cohort { pods, failed };
    blame(cohort(candidate), cohort(stable)).verdict
}

fn p(candidate: (u32, u32), stable: (u32, u32)) -> f64 {
    let cohort = |(failed, pods)| Cohort { pods, failed };
    fisher(cohort(candidate), cohort(stable))
}

#[test]
fn the_test_gives_the_hypergeometric_tail() {
    for (candidate, stable, want) in [
        ((5, 5), (0, 5), 1.0 / 252.0),
        ((4, 5), (0, 5), 6.0 / 252.0),
        ((1, 5), (0, 5), 0.5),
        ((3, 5), (0, 8), 10.0 / 286.0),
        // Fisher's tea: 3 of 4 against 1 of 4.
        ((3, 4), (1, 4), 17.0 / 70.0),
        ((0, 5), (0, 5), 1.0),
        ((0, 5), (5, 5), 1.0),
    ] {
        let have = p(candidate, stable);
        assert!((have - want).abs() < 1e-9, "{candidate:?} {stable:?}: {have}, not {want}");
    }
}

#[test]
fn large_cohorts_neither_overflow_nor_underflow() {
    assert!(p((5_000, 5_000), (0, 5_000)) < 1e-300);
    assert!((p((1, 5_000), (4_000, 5_000)) - 1.0).abs() < 1e-6);
    let half = p((2_500, 5_000), (2_500, 5_000));
    assert!((0.45..0.55).contains(&half), "{half}");
}

#[test]
fn with_enough_pods_the_test_decides() {
    assert_eq!(verdict((5, 5), (0, 8)), Blame::Release);
    assert_eq!(verdict((3, 5), (0, 8)), Blame::Release);
    assert_eq!(verdict((1, 5), (0, 5)), Blame::Unknown, "a lone bad pod may be a bad node");
    assert_eq!(verdict((5, 5), (8, 8)), Blame::Environment);
    assert_eq!(verdict((2, 5), (3, 8)), Blame::Environment);
}

#[test]
fn with_few_pods_the_shares_decide() {
    assert_eq!(verdict((1, 1), (0, 3)), Blame::Release);
    assert_eq!(verdict((1, 1), (3, 3)), Blame::Environment);
    assert_eq!(verdict((2, 2), (1, 3)), Blame::Unknown, "both fail, the new one more");
    assert_eq!(verdict((1, 1), (0, 0)), Blame::Release);
    assert_eq!(verdict((0, 3), (1, 3)), Blame::Unknown);
}

#[test]
fn the_numbers_and_the_rule_are_told() {
    let rule = blame(Cohort { pods: 5, failed: 4 }, Cohort { pods: 5, failed: 0 }).rule;
    assert_eq!(rule, "Fisher's exact test, one-sided: 4 of 5 new pods, 0 of 5 stable pods, p = 0.0238");
    let rule = blame(Cohort { pods: 1, failed: 1 }, Cohort { pods: 3, failed: 0 }).rule;
    assert_eq!(rule, "plain comparison: 1 of 1 new pods, 0 of 3 stable pods");
}
