//! What is kept of the pods of a Deployment that went: a few numbers, however many they are.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::advice::ENOUGH;
use super::ending::End;

/// How long figures are collected before they move to the second place; so they count for one to two such times.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One pod that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departure<'a> {
    /// Hash of its application (`appHash` of its ReplicaSet).
    pub app: &'a str,
    /// From its deletion until all of its EndpointSlices showed it; `None` when it stood in none, or nobody saw it.
    pub removal: Option<Duration>,
    /// How it ended.
    pub end: Option<End>,
}

/// What was seen within a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Week {
    /// When it began.
    pub since: Timestamp,
    /// Pods that left their EndpointSlices.
    pub removals: i32,
    /// The slowest of these.
    pub removal_millis: i64,
    /// Pods that finished.
    pub ends: i32,
    /// The slowest of these.
    pub finish_seconds: i64,
    /// Pods that were killed.
    pub kills: i32,
    /// The longest time that was too short.
    pub killed_after_seconds: i64,
}

/// What was seen of all pods that went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// This week, as far as pods went.
    pub(super) current: Option<Week>,
    /// The one before.
    pub(super) earlier: Option<Week>,
    /// The application that was killed; empty when none was.
    pub(super) killed_app: Box<str>,
    /// Whether pods of that application finished, too.
    pub(super) killed_app_finishes: bool,
    /// The application that finished last, and how many of its pods did in a row.
    pub(super) finished: (Box<str>, i32),
}

/// The figures of both weeks together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Pods that left their EndpointSlices.
    pub removals: i32,
    /// The slowest of these.
    pub removal_millis: Option<i64>,
    /// Pods that finished.
    pub ends: i32,
    /// The slowest of these.
    pub finish_seconds: Option<i64>,
    /// Pods that were killed.
    pub kills: i32,
    /// The longest time that was too short.
    pub killed_after_seconds: Option<i64>,
}

impl Week {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, removals: 0, removal_millis: 0, ends: 0, finish_seconds: 0, kills: 0, killed_after_seconds: 0 }
    }
}

impl Evidence {
    /// Takes in one pod that went.
    pub fn take_in(&mut self, departure: &Departure<'_>, now: Timestamp) {
        if departure.removal.is_none() && departure.end.is_none() {
            return;
        }
        if self.current.is_none_or(|week| now.duration_since(week.since) >= WEEK) {
            self.earlier = self.current.take();
        }
        self.note_app(departure);
        let week = self.current.get_or_insert_with(|| Week::new(now));
        if let Some(removal) = departure.removal {
            week.removals = week.removals.saturating_add(1);
            week.removal_millis = week.removal_millis.max(i64::try_from(removal.as_millis()).unwrap_or(i64::MAX));
        }
        match departure.end {
            Some(End::Finished { seconds }) => {
                week.ends = week.ends.saturating_add(1);
                week.finish_seconds = week.finish_seconds.max(seconds);
            }
            Some(End::Killed { after_seconds }) => {
                week.kills = week.kills.saturating_add(1);
                week.killed_after_seconds = week.killed_after_seconds.max(after_seconds);
            }
            None => {}
        }
    }

    /// Kills speak of the application that was killed: once enough pods of another one have finished, and none of them was
    /// killed in between, they are forgotten.
    fn note_app(&mut self, departure: &Departure<'_>) {
        let app = departure.app;
        match departure.end {
            None => {}
            Some(End::Killed { .. }) => {
                if *self.killed_app != *app {
                    self.killed_app = app.into();
                    // After a restart nobody knows which one finished: that it was this one is the safe guess.
                    let may_have = self.finished.0.is_empty() && self.figures().ends > 0;
                    self.killed_app_finishes = may_have || *self.finished.0 == *app && self.finished.1 > 0;
                }
                self.finished = (app.into(), 0);
            }
            Some(End::Finished { .. }) => {
                let before = if *self.finished.0 == *app { self.finished.1 } else { 0 };
                self.finished = (app.into(), before.saturating_add(1));
                if *self.killed_app == *app {
                    self.killed_app_finishes = true;
                } else if self.finished.1 >= ENOUGH && !self.killed_app.is_empty() {
                    self.killed_app = "".into();
                    self.killed_app_finishes = false;
                    for week in self.current.iter_mut().chain(&mut self.earlier) {
                        (week.kills, week.killed_after_seconds) = (0, 0);
                    }
                }
            }
        }
    }

    /// Both weeks together.
    pub fn figures(&self) -> Figures {
        let weeks = || self.current.iter().chain(&self.earlier);
        let count = |of: fn(&Week) -> i32| weeks().fold(0_i32, |sum, week| sum.saturating_add(of(week)));
        let most =
            |of: fn(&Week) -> (i32, i64)| weeks().map(of).filter(|(count, _)| *count > 0).map(|(_, value)| value).max();
        Figures {
            removals: count(|week| week.removals),
            removal_millis: most(|week| (week.removals, week.removal_millis)),
            ends: count(|week| week.ends),
            finish_seconds: most(|week| (week.ends, week.finish_seconds)),
            kills: count(|week| week.kills),
            killed_after_seconds: most(|week| (week.kills, week.killed_after_seconds)),
        }
    }

    /// Whether the application does not end by itself, whatever time it has.
    pub fn ignores_sigterm(&self) -> bool {
        self.figures().kills >= ENOUGH && !self.killed_app_finishes
    }
}
