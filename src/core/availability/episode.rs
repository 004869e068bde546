//! Stretches of lost time, each with its class and cause.

use super::bucket::Level;
use crate::api::availability_status::LossClass;

/// Episodes that are kept.
pub const MAX_EPISODES: usize = 20;

/// Why replicas are missing, or nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Planned: a rollout replaces pods, no more at a time than its strategy says.
    Rollout,
    /// Planned: more replicas are wanted, and start.
    ScaleUp,
    /// Planned: pods were evicted, as a drain does it.
    Drain,
    /// Fault: a new version fails, and takes capacity with it.
    FailedRollout,
    /// Fault: containers crash.
    Crash,
    /// Fault: containers are killed for their memory.
    OutOfMemory,
    /// Fault: images or configuration are missing.
    CannotStart,
    /// Fault: pods run, and are not ready.
    NotReady,
    /// Fault: a node does not answer, or its pods are taken away.
    NodeLost,
    /// Fault: pods wait for a node.
    Unschedulable,
    /// Fault: there are fewer pods than wanted.
    PodsMissing,
    /// Unknown: no operator watched.
    NotWatched,
    /// Unknown: the Deployment's status is of another generation for too long.
    StatusBehind,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Rollout,
        Self::ScaleUp,
        Self::Drain,
        Self::FailedRollout,
        Self::Crash,
        Self::OutOfMemory,
        Self::CannotStart,
        Self::NotReady,
        Self::NodeLost,
        Self::Unschedulable,
        Self::PodsMissing,
        Self::NotWatched,
        Self::StatusBehind,
    ];

    /// One CamelCase word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "Rollout",
            Self::ScaleUp => "ScaleUp",
            Self::Drain => "Drain",
            Self::FailedRollout => "FailedRollout",
            Self::Crash => "Crash",
            Self::OutOfMemory => "OutOfMemory",
            Self::CannotStart => "CannotStart",
            Self::NotReady => "NotReady",
            Self::NodeLost => "NodeLost",
            Self::Unschedulable => "Unschedulable",
            Self::PodsMissing => "PodsMissing",
            Self::NotWatched => "NotWatched",
            Self::StatusBehind => "StatusBehind",
        }
    }

    /// The cause of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    /// Its class.
    pub fn class(self) -> LossClass {
        match self {
            Self::Rollout | Self::ScaleUp | Self::Drain => LossClass::Planned,
            Self::NotWatched | Self::StatusBehind => LossClass::Unknown,
            _ => LossClass::Fault,
        }
    }
}

/// A stretch of lost time. Times are whole seconds since 1970, as the API stores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// When it began.
    pub start: i64,
    /// When it ended; `None` while it lasts.
    pub end: Option<i64>,
    /// Why.
    pub cause: Cause,
    /// Most replicas that were missing at once.
    pub missing: u32,
    /// Replicas that were wanted then.
    pub of: u32,
    /// Hash of the template that was rolling out; empty when none was.
    pub rollout: String,
}

impl Episode {
    /// The same episode with what is seen now.
    pub(super) fn deepen(&mut self, level: &Level) {
        if let Level::Counted(count) = level
            && level.missing() > self.missing
        {
            (self.missing, self.of) = (level.missing(), count.desired());
        }
    }

    /// Whether the other one goes on where this one ends.
    pub(super) fn goes_on_in(&self, other: &Self) -> bool {
        self.end == Some(other.start) && self.cause == other.cause && self.rollout == other.rollout
    }

    /// Both as one.
    pub(super) fn joined(self, other: &Self) -> Self {
        let deeper = if other.missing > self.missing { (other.missing, other.of) } else { (self.missing, self.of) };
        Self { end: other.end, missing: deeper.0, of: deeper.1, ..self }
    }
}

/// Adds an episode after those that are known; the last [`MAX_EPISODES`] stay.
pub(super) fn push(episodes: &mut Vec<Episode>, episode: Episode) {
    match episodes.pop() {
        Some(last) if last.goes_on_in(&episode) => episodes.push(last.joined(&episode)),
        Some(last) => episodes.extend([last, episode]),
        None => episodes.push(episode),
    }
    let excess = episodes.len().saturating_sub(MAX_EPISODES);
    episodes.drain(..excess);
}
