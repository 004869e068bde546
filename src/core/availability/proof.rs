//! What the pods prove of time in which nobody watched: their `lastTransitionTime`s reach back behind it.

use super::watched::Gap;
use crate::core::rollout::{Phase, PodView};

/// Changes within one gap that are told apart.
const MAX_PIECES: usize = 16;
/// API times are whole seconds, rounded down: what they tell is true for sure this much later.
const RESOLUTION: i64 = 1_000;

/// What was wanted all through a gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Replicas.
    pub(super) replicas: u32,
    /// `minReadySeconds`, in milliseconds.
    pub(super) min_ready: i64,
    /// Whether a pod that is not there any more can have been one too many: in a rollout. Then those that are there
    /// prove that nothing was missing, never that something was.
    pub(super) is_moving: bool,
}

/// Available replicas in the pieces of a gap, each with its end; `None` where the pods prove nothing.
pub(super) fn proven(gap: Gap, pods: &[&PodView], wanted: Wanted) -> Vec<(i64, Option<u32>)> {
    if gap.is_jump {
        return vec![(gap.end, None)];
    }
    let proofs: Vec<Proof> = pods.iter().map(|pod| Proof::of(pod, wanted.min_ready)).collect();
    // Whoever is gone by now has a successor that is younger than the gap.
    let is_whole = !wanted.is_moving
        && proofs.len() == wanted.replicas as usize
        && proofs.iter().all(|proof| proof.existed_at(gap.start));
    let mut ends: Vec<i64> =
        proofs.iter().filter_map(|proof| proof.from).filter(|at| gap.start < *at && *at < gap.end).collect();
    ends.sort_unstable();
    ends.dedup();
    // The last changes tell most: from them on all is known.
    ends.drain(..ends.len().saturating_sub(MAX_PIECES));
    ends.push(gap.end);
    let mut pieces: Vec<(i64, Option<u32>)> = Vec::new();
    let mut start = gap.start;
    for end in ends {
        let known = || proofs.iter().filter(|proof| proof.from.is_some_and(|from| from <= start));
        let ready = known().filter(|proof| proof.is_ready).count();
        let ready = u32::try_from(ready).unwrap_or(u32::MAX).min(wanted.replicas);
        let is_known = ready == wanted.replicas || is_whole && known().count() == proofs.len();
        let available = is_known.then_some(ready);
        match pieces.last_mut() {
            Some((last_end, last)) if *last == available => *last_end = end,
            _ => pieces.push((end, available)),
        }
        start = end;
    }
    pieces
}

/// What one pod proves.
struct Proof {
    is_ready: bool,
    /// Since when it is available, or not ready; `None`: it proves nothing.
    from: Option<i64>,
    created: Option<i64>,
}

impl Proof {
    fn of(pod: &PodView, min_ready: i64) -> Self {
        let tells = !pod.deleting && !matches!(pod.phase, Phase::Failed | Phase::Succeeded | Phase::Unknown);
        let since = pod.ready_since.filter(|_| tells).map(jiff::Timestamp::as_millisecond);
        let waits = if pod.ready { min_ready } else { 0 };
        Self {
            is_ready: pod.ready,
            from: since.map(|since| since.saturating_add(RESOLUTION).saturating_add(waits)),
            created: pod.created.map(jiff::Timestamp::as_millisecond),
        }
    }

    fn existed_at(&self, moment: i64) -> bool {
        self.created.is_some_and(|created| created.saturating_add(RESOLUTION) <= moment)
    }
}
