//! When nobody watched.
//!
//! The operator's Lease is renewed every few seconds anyway, and carries the gaps: so a crash, a failover or a
//! partition is known to the second without a write of its own. A gap is unknown time, except where the pods prove
//! what it was (`proof`). What cannot be told here counts as not watched.

use std::time::Duration;

use serde_json::json;

use super::ledger::{DAY, MAX_DAYS};

/// Gaps that are kept; of more, the oldest two become one.
const MAX_GAPS: usize = 32;
/// A wall clock that runs ahead of the steady one by more than this was set.
const JUMP: i64 = 2_000;
/// Clocks of two nodes that differ by more than this cannot be compared.
const SKEW: i64 = 5_000;

/// A stretch in which nobody watched, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When somebody last watched.
    pub start: i64,
    /// When somebody watched again.
    pub end: i64,
    /// Whether the clock was set forward in it: such time never was, and pods prove nothing of it. Not stored: by then
    /// the ledgers have it.
    pub(super) is_jump: bool,
}

/// When nobody watched, as far back as ledgers reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Sorted; none overlaps another one.
    gaps: Vec<Gap>,
    /// Since when nobody watches, in this moment.
    open: Option<i64>,
    /// Whether the clock was set forward since then.
    has_jumped: bool,
    /// When this process began to watch.
    began: Option<i64>,
    /// Wall clock and steady clock at the last tick.
    last: Option<(i64, Duration)>,
    /// What the last tick was told.
    patience: Duration,
}

impl Watched {
    /// What the Lease says: its gaps, and when it was last renewed. From then on nobody watches, until a tick says so.
    /// Where it says nothing, or speaks of times to come, nobody watched since the last gap that it tells.
    pub fn resume(stored: Option<&str>, renewed: Option<i64>, now: i64) -> Self {
        let reach = now.saturating_sub(MAX_DAYS.saturating_mul(DAY));
        let is_past = |at: &i64| *at <= now.saturating_add(SKEW);
        let (mut gaps, open) = stored.and_then(decode).unwrap_or((Vec::new(), Some(reach)));
        let told = renewed.filter(|renewed| open.iter().chain([renewed]).all(is_past));
        let mut since = told.into_iter().chain(open).min().filter(|_| told.is_some()).unwrap_or(reach);
        // Of another clock: where it ends cannot be said in ours.
        while let Some(gap) = gaps.pop_if(|gap| gap.end > now) {
            since = since.min(gap.start);
        }
        let after = gaps.last().map_or(i64::MIN, |last| last.end);
        Self { open: Some(since.max(after).min(now)), gaps, ..Self::default() }
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
        self.patience = patience;
        if let Some((last_wall, last_steady)) = last {
            let passed = steady.saturating_sub(last_steady);
            let expected = last_wall.saturating_add(millis(passed));
            let has_jumped = wall.saturating_sub(expected) > JUMP;
            // A clock that was set back: what began after the present moment begins now.
            self.open = self.open.map(|start| start.min(wall));
            self.has_jumped |= has_jumped && self.open.is_some();
            if (has_jumped || passed > patience) && self.open.is_none() {
                let start = last_wall.min(wall.saturating_sub(millis(passed)));
                self.add(Gap { start, end: wall, is_jump: has_jumped });
            }
        }
        match (is_watching, self.open) {
            (false, None) => self.open = Some(last.map_or(wall, |(last_wall, _)| last_wall.min(wall))),
            (true, Some(start)) => {
                self.open = None;
                self.began.get_or_insert(wall);
                let is_jump = std::mem::take(&mut self.has_jumped);
                self.add(Gap { start, end: wall, is_jump });
            }
            _ => {}
        }
    }

    /// When this process began to watch; what changed before its first look at a ledger was seen by nobody.
    pub(super) fn began(&self) -> Option<i64> {
        self.began
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
        first.into_iter().chain(self.open).chain(self.frozen_since(now)).fold(now, i64::min)
    }

    /// The last tick, if it is so long ago that the process was frozen, or the clock set, and no tick has said so yet.
    pub(super) fn frozen_since(&self, now: i64) -> Option<i64> {
        let (last, _) = self.last?;
        (now.saturating_sub(last) > millis(self.patience)).then_some(last)
    }

    fn add(&mut self, mut gap: Gap) {
        if gap.end <= gap.start {
            return;
        }
        let is_one =
            |last: &Gap, gap: &Gap| last.end > gap.start || last.end == gap.start && last.is_jump == gap.is_jump;
        while let Some(last) = self.gaps.pop_if(|last| is_one(last, &gap)) {
            // Time that is lived through again, because the clock was set back. Whoever has dealt with the earlier gap
            // has to deal with this one too, so it ends later.
            let end = if last.end > gap.start { last.end.saturating_add(1) } else { last.end };
            let (start, is_jump) = (gap.start.min(last.start), gap.is_jump || last.is_jump);
            gap = Gap { start, end: gap.end.max(end), is_jump };
        }
        self.gaps.push(gap);
        let oldest = gap.end.saturating_sub(MAX_DAYS.saturating_mul(DAY));
        self.gaps.retain(|gap| gap.end > oldest);
        // Rather too much unknown time than too little.
        while self.gaps.len() > MAX_GAPS {
            let first = self.gaps.remove(0);
            if let Some(second) = self.gaps.first_mut() {
                (second.start, second.is_jump) = (first.start, second.is_jump || first.is_jump);
            }
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Gaps, and since when nobody watched when it was written.
fn decode(text: &str) -> Option<(Vec<Gap>, Option<i64>)> {
    let lists: Vec<Vec<i64>> = serde_json::from_str(text).ok()?;
    let (mut gaps, mut open) = (Vec::new(), None);
    for list in &lists {
        match list[..] {
            [start, end] if start < end && open.is_none() => gaps.push(Gap { start, end, is_jump: false }),
            [start] if open.is_none() => open = Some(start),
            _ => return None,
        }
    }
    let is_sorted = gaps.windows(2).all(|two| matches!(two, [one, other] if one.end <= other.start));
    (is_sorted && gaps.len() <= MAX_GAPS).then_some((gaps, open))
}
