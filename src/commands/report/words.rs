//! Moments and figures as words.

use jiff::Timestamp;

use crate::core::availability::{Cause, DAY, percent, rounded_down};

/// `2026-01-03 14:05:09 UTC`.
pub(super) fn moment(millis: i64) -> String {
    formatted(millis, "%Y-%m-%d %H:%M:%S UTC")
}

/// RFC 3339, in whole seconds.
pub(super) fn rfc3339(millis: i64) -> String {
    formatted(millis, "%Y-%m-%dT%H:%M:%SZ")
}

/// `2026-01-03`, of a day since 1970.
pub(super) fn date(day: i64) -> String {
    formatted(day.saturating_mul(DAY), "%Y-%m-%d")
}

/// `Jan 3`.
pub(super) fn short_date(millis: i64) -> String {
    formatted(millis, "%b %-d")
}

/// `14:05`.
pub(super) fn clock_time(millis: i64) -> String {
    formatted(millis, "%H:%M")
}

/// As `strftime` says; UTC.
fn formatted(millis: i64, format: &str) -> String {
    // Floored, as everything that is stored.
    let moment = Timestamp::from_second(millis.div_euclid(1000));
    moment.map_or_else(|_| "-".into(), |moment| moment.strftime(format).to_string())
}

/// Per cent, or a dash.
pub(super) fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{}%", percent(share)))
}

/// Per cent of the budget: rounded down, so that less is not shown as more.
pub(super) fn budget(share: f64) -> String {
    format!("{}%", rounded_down(share * 100.0, 1))
}

/// Nines, or a dash.
pub(super) fn nines(nines: Option<f64>) -> String {
    nines.map_or_else(|| "-".into(), |nines| rounded_down(nines, 1))
}

/// Burn rates are rounded up: they shall not look better than they are.
pub(super) fn burn(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".into(), |rate| rounded_down((rate * 100.0 - 1e-9).ceil().max(0.0) / 100.0, 2))
}

/// What a cause means, for people.
pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Rollout => "a rollout replaces pods",
        Cause::ScaleUp => "more replicas are wanted, and start",
        Cause::Drain => "pods were evicted",
        Cause::FailedRollout => "a new version fails",
        Cause::Crash => "containers crash",
        Cause::OutOfMemory => "containers are killed for their memory",
        Cause::CannotStart => "images or configuration are missing",
        Cause::NotReady => "pods run, and are not ready",
        Cause::NodeLost => "a node does not answer",
        Cause::Unschedulable => "pods wait for a node",
        Cause::PodsMissing => "there are fewer pods than wanted",
        Cause::NotWatched => "no operator watched",
        Cause::StatusBehind => "the Deployment's status is behind",
    }
}
