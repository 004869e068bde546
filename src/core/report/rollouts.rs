//! Rollouts of the past and the one under way, as the report shows them.

use super::clean;
use crate::api::gate::{GateState, GateStatus, Outcome};

/// How a rollout is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It was stopped, or taken back.
    Stopped,
    /// It is under way.
    UnderWay,
    /// It ended without a verdict.
    Other,
    /// It was proven.
    Completed,
}

/// One rollout. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Hash of its template.
    pub hash: String,
    /// When it was first seen.
    pub started: i64,
    /// When it ended; `None` while it is under way.
    pub ended: Option<i64>,
    /// One word: how it ended, or the gate's state.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// Fewest ready pods that were seen, of so many.
    pub worst: Option<(i32, i32)>,
    /// How it is marked.
    pub mark: Mark,
}

/// The rollouts that a gate remembers, the oldest first.
pub(super) fn of_gate(gate: Option<&GateStatus>) -> Vec<Rollout> {
    let Some(gate) = gate else { return Vec::new() };
    let running = gate.rollout.as_ref();
    // Where a stopped rollout goes on, the gate says more than its last word in the history.
    let is_moving = matches!(gate.state, GateState::Rolling | GateState::Baking | GateState::AwaitingApproval);
    let past = gate.history.iter().filter(|past| !is_moving || running.is_none_or(|now| now.started != past.started));
    let mut rollouts: Vec<Rollout> = past
        .map(|past| {
            let started = past.started.0.as_second();
            Rollout {
                hash: clean(&past.version.template_hash),
                started,
                ended: Some(started.saturating_add(past.seconds.max(0))),
                outcome: format!("{:?}", past.outcome),
                reason: clean(&past.reason),
                worst: past.worst_ready.zip(past.worst_of),
                mark: match past.outcome {
                    Outcome::Completed => Mark::Completed,
                    Outcome::Restored | Outcome::Reverted | Outcome::Held => Mark::Stopped,
                    Outcome::Superseded | Outcome::Overridden | Outcome::Ungated => Mark::Other,
                },
            }
        })
        .collect();
    if let Some(now) = running
        && !rollouts.iter().any(|past| past.started == now.started.0.as_second())
    {
        rollouts.push(Rollout {
            hash: clean(&now.version.template_hash),
            started: now.started.0.as_second(),
            ended: None,
            outcome: format!("{:?}", gate.state),
            reason: clean(&gate.reason),
            worst: now.worst_ready.zip(now.worst_of),
            mark: if is_moving { Mark::UnderWay } else { Mark::Stopped },
        });
    }
    rollouts.sort_by_key(|rollout| rollout.started);
    rollouts
}
