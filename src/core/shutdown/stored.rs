//! Evidence as it is stored, rounded: what is read back and stored again is the same.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::advice::{ENOUGH, count_down, drain_seconds, finish_seconds, millis_up, seconds_up};
use super::evidence::{Evidence, Week};
use crate::api::shutdown_status::{ShutdownStatus, ShutdownWeek};

impl Evidence {
    /// Goes on from what is stored.
    pub fn of_status(status: &ShutdownStatus) -> Self {
        let mut weeks = status.weeks.iter().map(read);
        Self {
            current: weeks.next(),
            earlier: weeks.next(),
            killed_app: status.killed_app.as_str().into(),
            killed_app_finishes: status.killed_app_finishes,
            finished: ("".into(), 0),
        }
    }

    /// What is stored and shown; `None` while nothing was seen.
    pub fn to_status(&self) -> Option<ShutdownStatus> {
        self.current?;
        // From the rounded figures: advice changes only with them.
        let rounded = self.rounded();
        let seen = rounded.figures();
        let ends = seen.ends.saturating_add(seen.kills);
        let drain = seen.removal_millis.filter(|_| seen.removals >= ENOUGH).map(drain_seconds);
        let finish = finish_seconds(seen.finish_seconds, seen.killed_after_seconds)
            .filter(|_| ends >= ENOUGH && !rounded.ignores_sigterm());
        Some(ShutdownStatus {
            observed_removals: count_down(seen.removals),
            removal_millis: seen.removal_millis,
            observed_ends: count_down(seen.ends),
            finish_seconds: seen.finish_seconds,
            observed_kills: count_down(seen.kills),
            killed_after_seconds: seen.killed_after_seconds,
            advised_drain_seconds: drain,
            advised_finish_seconds: finish,
            killed_app: rounded.killed_app.to_string(),
            killed_app_finishes: rounded.killed_app_finishes,
            weeks: rounded.current.iter().chain(&rounded.earlier).map(write).collect(),
        })
    }

    fn rounded(&self) -> Self {
        Self { current: self.current.map(rounded), earlier: self.earlier.map(rounded), ..self.clone() }
    }
}

fn rounded(week: Week) -> Week {
    Week {
        since: week.since,
        removals: count_down(week.removals),
        removal_millis: millis_up(week.removal_millis),
        ends: count_down(week.ends),
        finish_seconds: seconds_up(week.finish_seconds),
        kills: count_down(week.kills),
        // A setting, not a measurement: it is compared with one.
        killed_after_seconds: week.killed_after_seconds.max(0),
    }
}

fn write(week: &Week) -> ShutdownWeek {
    ShutdownWeek {
        since: Time(week.since),
        removals: week.removals,
        removal_millis: week.removal_millis,
        ends: week.ends,
        finish_seconds: week.finish_seconds,
        kills: week.kills,
        killed_after_seconds: week.killed_after_seconds,
    }
}

fn read(week: &ShutdownWeek) -> Week {
    Week {
        since: week.since.0,
        removals: week.removals.max(0),
        removal_millis: week.removal_millis.max(0),
        ends: week.ends.max(0),
        finish_seconds: week.finish_seconds.max(0),
        kills: week.kills.max(0),
        killed_after_seconds: week.killed_after_seconds.max(0),
    }
}
