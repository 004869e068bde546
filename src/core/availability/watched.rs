//! When nobody watched, and what can still be proven of that time.
//!
//! The operator's Lease is renewed every few seconds anyway, and carries the gaps: so a crash, a failover or a
//! partition is known to the second without a write of its own. A gap is unknown time, except where the pods' own
//! `lastTransitionTime`s reach back behind it.

use std::time::Duration;

use serde_json::json;

use super::bucket::Level;
use super::ledger::{DAY, MAX_DAYS};
use crate::core::rollout::{Phase, PodView};

/// Gaps that are kept; of more, the oldest two become one.
const MAX_GAPS: usize = 32;
/// A wall clock that runs ahead of the steady one by more than this was set.
const JUMP: i64 = 2_000;
/// Changes within one gap that are told apart.
const MAX_PIECES: usize = 16;

/// A stretch in which nobody watched, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When somebody last watched.
    pub start: i64,
    /// When somebody watched again.
    pub end: i64,
}

/// When nobody watched, as far back as ledgers reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    gaps: Vec<Gap>,
    /// Since when nobody watches, in this moment.
    open: Option<i64>,
    /// Wall clock and steady clock at the last tick.
    last: Option<(i64, Duration)>,
}

impl Watched {
    /// What the Lease says: its gaps, and when it was last renewed. From then on nobody watches, until a tick says so.
    pub fn resume(stored: Option<&str>, renewed: Option<i64>, now: i64) -> Self {
        let (gaps, open) = stored.and_then(decode).unwrap_or_default();
        let after = gaps.last().map_or(i64::MIN, |last| last.end);
        let since = renewed.into_iter().chain(open).min().unwrap_or(now);
        Self { open: Some(since.max(after).min(now)), gaps, last: None }
    }

    /// The form that the Lease carries.
    pub fn encode(&self) -> String {
        let closed = self.gaps.iter().map(|gap| json!([gap.start, gap.end]));
        let open = self.open.iter().map(|start| json!([start]));
        serde_json::Value::Array(closed.chain(open).collect()).to_string()
    }

    /// A look at the clocks: `is_watching` says whether all watches are up to date and the lease is held. `patience` is
    /// the time after which a process that did not get to look counts as frozen.
    pub fn tick(&mut self, wall: i64, steady: Duration, is_watching: bool, patience: Duration) {
        let last = self.last.replace((wall, steady));
        if let Some((last_wall, last_steady)) = last {
            let passed = steady.saturating_sub(last_steady);
            let expected = last_wall.saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
            let has_jumped = wall.saturating_sub(expected) > JUMP;
            if (has_jumped || passed > patience) && self.open.is_none() {
                self.add(Gap { start: last_wall, end: wall });
            }
        }
        match (is_watching, self.open) {
            (false, None) => self.open = Some(last.map_or(wall, |(last_wall, _)| last_wall.min(wall))),
            (true, Some(start)) => {
                self.open = None;
                self.add(Gap { start, end: wall });
            }
            _ => {}
        }
    }

    /// Whether somebody watches now.
    pub fn is_watching(&self) -> bool {
        self.open.is_none()
    }

    /// Gaps that end after `checked`, the oldest first.
    pub fn gaps_after(&self, checked: i64) -> impl Iterator<Item = Gap> {
        self.gaps.iter().copied().filter(move |gap| gap.end > checked)
    }

    /// Up to when a ledger that has dealt with everything before `checked` may be read at `now`.
    pub fn until(&self, checked: i64, now: i64) -> i64 {
        let first = self.gaps_after(checked).map(|gap| gap.start).next();
        first.into_iter().chain(self.open).fold(now, i64::min)
    }

    fn add(&mut self, gap: Gap) {
        if gap.end <= gap.start {
            return;
        }
        match self.gaps.last_mut() {
            Some(last) if last.end >= gap.start => last.end = last.end.max(gap.end),
            _ => self.gaps.push(gap),
        }
        let oldest = gap.end.saturating_sub(MAX_DAYS.saturating_mul(DAY));
        self.gaps.retain(|gap| gap.end > oldest);
        // Rather too much unknown time than too little.
        while self.gaps.len() > MAX_GAPS {
            let first = self.gaps.remove(0);
            if let Some(second) = self.gaps.first_mut() {
                second.start = first.start;
            }
        }
    }
}

/// Gaps, and since when nobody watched when it was written.
fn decode(text: &str) -> Option<(Vec<Gap>, Option<i64>)> {
    let lists: Vec<Vec<i64>> = serde_json::from_str(text).ok()?;
    let (mut gaps, mut open) = (Vec::new(), None);
    for list in lists.iter().take(MAX_GAPS + 1) {
        match list[..] {
            [start, end] if start < end => gaps.push(Gap { start, end }),
            [start] => open = Some(start),
            _ => return None,
        }
    }
    let is_sorted = gaps.windows(2).all(|two| matches!(two, [one, other] if one.end <= other.start));
    is_sorted.then_some((gaps, open))
}

/// What the pods prove of a gap: levels, each with its end. `wanted` replicas were wanted all the time.
pub(super) fn proven(gap: Gap, pods: &[PodView], wanted: u32, min_ready: i64, enough: u32) -> Vec<(i64, Level)> {
    // API times are whole seconds, rounded down: a pod was ready for sure a second later, and unready from there on.
    let proofs: Vec<Proof> = pods.iter().map(|pod| Proof::of(pod, min_ready)).collect();
    let is_whole = proofs.len() >= wanted as usize && proofs.iter().all(|proof| proof.existed_at(gap.start));
    let mut ends: Vec<i64> = proofs.iter().filter_map(|proof| proof.from).filter(|at| *at < gap.end).collect();
    ends.push(gap.end);
    ends.sort_unstable();
    ends.dedup();
    if ends.len() > MAX_PIECES {
        return vec![(gap.end, Level::Unknown)];
    }
    let mut pieces: Vec<(i64, Level)> = Vec::new();
    let mut start = gap.start;
    for end in ends.into_iter().filter(|end| *end > gap.start) {
        let known = |proof: &&Proof| proof.from.is_some_and(|from| from <= start);
        let ready = proofs.iter().filter(known).filter(|proof| proof.is_ready).count();
        let ready = u32::try_from(ready).unwrap_or(u32::MAX);
        let level = if ready >= wanted || is_whole && proofs.iter().all(|proof| known(&proof)) {
            Level::of(wanted, ready, 0, enough)
        } else {
            Level::Unknown
        };
        match pieces.last_mut() {
            Some((last_end, last)) if *last == level => *last_end = end,
            _ => pieces.push((end, level)),
        }
        start = end;
    }
    pieces
}

/// What one pod proves: since when it is as it is.
struct Proof {
    is_ready: bool,
    /// `None`: it proves nothing.
    from: Option<i64>,
    created: Option<i64>,
}

impl Proof {
    fn of(pod: &PodView, min_ready: i64) -> Self {
        let since = pod.ready_since.map(jiff::Timestamp::as_millisecond);
        let tells = !pod.deleting && !matches!(pod.phase, Phase::Failed | Phase::Succeeded | Phase::Unknown);
        let from =
            since.map(|since| if pod.ready { since.saturating_add(1000).saturating_add(min_ready) } else { since });
        Self {
            is_ready: pod.ready,
            from: from.filter(|_| tells),
            created: pod.created.map(jiff::Timestamp::as_millisecond),
        }
    }

    fn existed_at(&self, moment: i64) -> bool {
        self.created.is_some_and(|created| created.saturating_add(1000) <= moment)
    }
}
