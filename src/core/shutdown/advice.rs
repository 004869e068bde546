//! From what was seen to what is advised. Each function grows with its argument and never answers less than it was asked
//! for.

/// Pods that must have been seen: those of one rollout of an ordinary Deployment.
pub const ENOUGH: i32 = 3;

/// What proxies need after a slice has changed, in seconds; it is not seen. kube-proxy waits for up to 1 s between two
/// syncs (`--min-sync-period`), and a sync takes up to seconds with thousands of Services; ingress controllers collect
/// changes for some 3 s. Load balancers outside of the cluster may need far more.
pub const PROXY_MARGIN_SECONDS: i64 = 5;

/// The least margin for finishing, in seconds; above 8 s it is a quarter: the slowest request was hardly seen yet.
pub const FINISH_MARGIN_SECONDS: i64 = 2;

/// Bounds of the policy's fields.
const LONGEST_DRAIN: i64 = 3_600;
const LONGEST_FINISH: i64 = 86_400;

/// `drainSeconds` for a removal that took so long. The kubelet's late start is not relied on: it may begin at once.
pub fn drain_seconds(removal_millis: i64) -> i64 {
    let seconds = seconds_of(removal_millis);
    seconds_up(seconds.saturating_add(PROXY_MARGIN_SECONDS)).min(LONGEST_DRAIN)
}

/// `finishSeconds` for pods that took so long after SIGTERM, and for others that were killed after so long: those needed
/// more, and nobody knows how much.
pub fn finish_seconds(took: Option<i64>, killed_after: Option<i64>) -> Option<i64> {
    // Whole seconds of a status, rounded down.
    let finished = took.map(|took| took.saturating_add(1));
    let killed = killed_after.map(|after| after.saturating_add(after / 2).saturating_add(1));
    let need = finished.into_iter().chain(killed).max()?;
    let margin = (need / 4).max(FINISH_MARGIN_SECONDS);
    Some(seconds_up(need.saturating_add(margin)).min(LONGEST_FINISH))
}

/// Whole seconds that cover so many milliseconds.
pub fn seconds_of(millis: i64) -> i64 {
    millis.max(0).div_euclid(1000).saturating_add(i64::from(millis.max(0) % 1000 > 0))
}

/// Rounded up, the more coarsely the longer: to 1 s up to 10 s, then to 5 s, 15 s and minutes. Small changes of what was
/// seen change no figure, and cause no write.
pub fn seconds_up(seconds: i64) -> i64 {
    up(seconds, &[(10, 1), (60, 5), (300, 15), (i64::MAX, 60)])
}

/// Rounded up to 0.1 s up to 1 s, then to half seconds and seconds.
pub fn millis_up(millis: i64) -> i64 {
    up(millis, &[(1_000, 100), (10_000, 500), (i64::MAX, 1_000)])
}

fn up(value: i64, bands: &[(i64, i64)]) -> i64 {
    let value = value.max(0);
    let step = bands.iter().find(|(limit, _)| value <= *limit).map_or(1, |(_, step)| *step);
    let over = value % step;
    if over == 0 { value } else { value.saturating_add(step - over) }
}

/// Rounded down to 1, 2, 3, 10, 30, ...: exact until enough were seen, and the more there are, the less another one says.
pub fn count_down(count: i32) -> i32 {
    const STEPS: [i32; 10] = [1, 2, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000];
    STEPS.into_iter().rev().find(|step| *step <= count).unwrap_or(0)
}
