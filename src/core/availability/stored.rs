//! The ledger as it is stored in `WorkloadHealth.status.availability`, with the figures for people beside it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bucket::{Count, Level};
use super::encoding::DecodeError;
use super::episode::{Cause, Episode, MAX_EPISODES};
use super::figures::{Figures, Objective, percent, rounded_down};
use super::ledger::{DAY, Ledger};
use crate::api::availability_status::{AvailabilityStatus, EpisodeStatus, LostTime};

impl Ledger {
    /// The status that carries this ledger; the figures are those of its `as_of`.
    pub fn to_status(&self, objective: &Objective, objective_text: &str) -> AvailabilityStatus {
        let figures = self.figures(objective);
        let text = |share: Option<f64>| share.map(percent);
        let count = match self.level {
            Level::Counted(count) => Some(count),
            // No replicas are wanted: none is missing.
            Level::Excluded => Some(Count::NONE),
            Level::Unknown => None,
        };
        AvailabilityStatus {
            as_of: time(self.as_of),
            objective: objective_text.chars().take(16).collect(),
            window_days: i32::try_from(objective.days()).unwrap_or(90),
            replica_weighted: text(figures.replica_weighted),
            time_based: text(figures.time_based),
            nines: figures.nines.map(|nines| rounded_down(nines, 1)),
            coverage: text(figures.coverage),
            budget: text(Some(figures.budget)),
            burn_rate_1h: figures.burn_1h.map(rounded_up),
            burn_rate_6h: figures.burn_6h.map(rounded_up),
            exhausted_at: figures.exhausted_at.and_then(time),
            desired: count.map(|count| count.desired().into()),
            available: count.map(|count| count.available().into()),
            enough: count.map(|count| count.enough().into()),
            cause: self.cause.map(Cause::as_str).unwrap_or_default().into(),
            lost: Some(lost(&figures)),
            episodes: self.episodes.iter().map(shown).collect(),
            ledger: self.encode(),
        }
    }

    /// The ledger that a status carries; `None` when it carries none.
    pub fn of_status(status: &AvailabilityStatus) -> Result<Option<Self>, DecodeError> {
        if status.ledger.is_empty() {
            return Ok(None);
        }
        let mut ledger = Self::decode(&status.ledger)?;
        ledger.episodes = status.episodes.iter().filter_map(read).collect();
        let excess = ledger.episodes.len().saturating_sub(MAX_EPISODES);
        ledger.episodes.drain(..excess);
        // Only the last one can last: one that seems to, ended when the next one began.
        let mut next = None;
        for episode in ledger.episodes.iter_mut().rev() {
            episode.end = episode.end.or(next);
            next = Some(episode.start);
        }
        Ok(Some(ledger))
    }

    /// When the stored figures should be worked out anew though nothing happened: they move while replicas are missing,
    /// while burn rates fall, and when a bad day leaves the window. `None`: they stay as they are.
    pub fn refresh_at(&self, days: i64) -> Option<i64> {
        if self.level.missing() > 0 {
            // Ever more rarely the longer it lasts.
            let since = self.episodes.last().map_or(self.as_of, |open| open.start.saturating_mul(1000));
            let age = self.as_of.saturating_sub(since).max(0);
            return Some(self.as_of.saturating_add((age / 4).clamp(60_000, 3_600_000)));
        }
        let last_loss = self.slots.iter().rev().find(|(_, (missing, _))| *missing > 0).map(|(slot, _)| *slot);
        let falls = last_loss.and_then(|slot| {
            let end = slot.saturating_add(1).saturating_mul(super::ledger::SLOT);
            [3_600_000, 21_600_000].map(|window| end.saturating_add(window)).into_iter().find(|at| *at > self.as_of)
        });
        let leaves = self
            .days(days)
            .find(|(_, bucket)| bucket.missing() > 0)
            .map(|(day, _)| day.saturating_add(days).saturating_mul(DAY));
        falls.into_iter().chain(leaves).filter(|at| *at > self.as_of).min()
    }
}

/// Burn rates are rounded up: they shall not look better than they are. What binary fractions add does not count.
fn rounded_up(rate: f64) -> String {
    let scaled = (rate * 100.0 * (1.0 - 1e-12)).ceil() / 100.0;
    rounded_down(scaled.max(0.0), 2)
}

fn lost(figures: &Figures) -> LostTime {
    LostTime {
        planned_seconds: figures.planned.div_euclid(1000),
        fault_seconds: figures.fault.div_euclid(1000),
        unknown_seconds: figures.unknown.div_euclid(1000),
    }
}

/// A moment in whole seconds, as the API stores it.
fn time(millis: i64) -> Option<Time> {
    Timestamp::from_second(millis.div_euclid(1000)).ok().map(Time)
}

fn shown(episode: &Episode) -> EpisodeStatus {
    let second = |second: i64| Time(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH));
    EpisodeStatus {
        start: second(episode.start),
        end: episode.end.map(second),
        class: episode.cause.class(),
        reason: episode.cause.as_str().into(),
        missing: episode.missing.into(),
        of: episode.of.into(),
        rollout: episode.rollout.clone(),
    }
}

fn read(episode: &EpisodeStatus) -> Option<Episode> {
    Some(Episode {
        start: episode.start.0.as_second(),
        end: episode.end.as_ref().map(|end| end.0.as_second()),
        cause: Cause::of_name(&episode.reason)?,
        missing: u32::try_from(episode.missing).ok()?,
        of: u32::try_from(episode.of).ok()?,
        rollout: episode.rollout.clone(),
    })
}
