//! Whom evidence speaks against, by comparing the pods of the new version with those of the stable one in the same
//! window.
//!
//! From 5 pods on each side: Fisher's exact test, one-sided, since only "the new one fails more often" is of interest;
//! the level is 5 %. A difference that chance explains is `Environment` when the stable pods show the same failure too,
//! and `Unknown` when they do not (a lone bad pod of many: a bad node is as likely). Below 5 pods the shares are
//! compared as they are.

use crate::api::gate::{Blame, BlameStatus};

/// Pods of a side from which on the test is used.
pub const ENOUGH_PODS: u32 = 5;
/// Level of the test.
pub const LEVEL: f64 = 0.05;

/// Pods of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// Pods that could show the failure.
    pub pods: u32,
    /// Pods that show it.
    pub failed: u32,
}

/// Compares.
pub fn blame(candidate: Cohort, stable: Cohort) -> BlameStatus {
    let numbers = format!(
        "{} of {} new pods, {} of {} stable pods",
        candidate.failed, candidate.pods, stable.failed, stable.pods
    );
    if candidate.failed == 0 {
        return BlameStatus { verdict: Blame::Unknown, rule: format!("nothing failed: {numbers}") };
    }
    if candidate.pods >= ENOUGH_PODS && stable.pods >= ENOUGH_PODS {
        let p = fisher(candidate, stable);
        let verdict = match (p < LEVEL, stable.failed) {
            (true, _) => Blame::Release,
            (false, 0) => Blame::Unknown,
            (false, _) => Blame::Environment,
        };
        return BlameStatus { verdict, rule: format!("Fisher's exact test, one-sided: {numbers}, p = {p:.4}") };
    }
    if stable.pods == 0 {
        return BlameStatus { verdict: Blame::Release, rule: format!("no stable pods to compare with: {numbers}") };
    }
    let fails_more =
        u64::from(candidate.failed) * u64::from(stable.pods) > u64::from(stable.failed) * u64::from(candidate.pods);
    let verdict = match (stable.failed, fails_more) {
        (0, _) => Blame::Release,
        (_, false) => Blame::Environment,
        // Few pods, both sides fail, the new one more: that is no ground for taking a version back.
        (_, true) => Blame::Unknown,
    };
    BlameStatus { verdict, rule: format!("plain comparison: {numbers}") }
}

/// Probability that, of all failures, as many or more fall on the candidate by chance alone.
pub fn fisher(candidate: Cohort, stable: Cohort) -> f64 {
    let all = candidate.pods.saturating_add(stable.pods);
    let failures = candidate.failed.saturating_add(stable.failed);
    let most = failures.min(candidate.pods);
    let hits = candidate.failed.max(failures.saturating_sub(stable.pods));
    let mut ln_chance = ln_choose(candidate.pods, hits) + ln_choose(stable.pods, failures.saturating_sub(hits))
        - ln_choose(all, failures);
    let mut sum = 0.0;
    for hits in hits..=most {
        sum += ln_chance.exp();
        // From one term of the hypergeometric distribution to the next.
        let up = f64::from(candidate.pods - hits) * f64::from(failures - hits);
        let down = f64::from(hits + 1) * f64::from((stable.pods + hits + 1).saturating_sub(failures));
        ln_chance += (up / down).ln();
    }
    sum.min(1.0)
}

/// Natural logarithm of the binomial coefficient.
fn ln_choose(n: u32, k: u32) -> f64 {
    let k = k.min(n.saturating_sub(k));
    (1..=k).map(|i| (f64::from(n - k + i) / f64::from(i)).ln()).sum()
}
