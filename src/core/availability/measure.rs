//! One look: what is seen is taken into the ledger.

use super::bucket::Level;
use super::episode::Cause;
use super::ledger::{Allowance, Ledger};
use super::proof::{Wanted, proven};
use super::sight::Sight;
use super::watched::{Gap, Watched};
use crate::core::deployment::RolloutProgress;

/// How long a status may speak of an older generation before nobody can tell the level.
pub(super) const BEHIND: i64 = 5_000;
/// When to look again while nobody can say whether the clock is right: the next tick tells.
const NEXT_TICK: i64 = 1_000;

/// The ledger after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The ledger.
    pub ledger: Ledger,
    /// Whether it says something that the last one did not: then it is to be stored.
    pub is_new: bool,
    /// When to look again even if nothing happens, in milliseconds since 1970.
    pub look_again: Option<i64>,
}

/// Takes in what is seen. `ledger` is the one of the last look: of this process, or else as it was stored.
pub fn measure(ledger: Option<Ledger>, sight: &Sight<'_>, watched: &Watched) -> Measured {
    let is_first = ledger.is_none();
    let mut ledger = ledger.unwrap_or_else(|| Ledger::begin(sight.now));
    if watched.frozen_since(sight.now).is_some() {
        // An event that came before the tick that says for how long nobody watched.
        return Measured { ledger, is_new: is_first, look_again: Some(sight.now.saturating_add(NEXT_TICK)) };
    }
    let before = said(&ledger);
    ledger.rewind(sight.now);
    close_gaps(&mut ledger, sight, watched);
    let look_again;
    if sight.is_behind() && !sight.deployment.deleting {
        let since = ledger.behind_since.map_or(sight.now, |since| since.min(sight.now));
        ledger.behind_since = Some(since);
        let patience = since.saturating_add(BEHIND);
        look_again = (sight.now < patience).then_some(patience);
        if look_again.is_none() && ledger.cause != Some(Cause::StatusBehind) {
            ledger.advance(since);
            ledger.change(Level::Unknown, Some(Cause::StatusBehind), "");
        }
    } else {
        ledger.behind_since = None;
        ledger.set_template(sight);
        let allowances = sight.allowances(&ledger);
        let (level, cause) = sight.level(&allowances, ledger.template);
        look_again = allowances.iter().map(|allowance| allowance.until).min();
        ledger.set_allowances(allowances);
        ledger.set_generation(sight.deployment.generation);
        ledger.wanted = Some(sight.deployment.deployed.replicas);
        ledger.evicted = sight.evicted();
        if is_first || (level, cause) != (ledger.level, ledger.cause) {
            ledger.advance(sight.now);
            let rollout = sight.gate.rollout.as_ref().map_or("", |rollout| &rollout.version.template_hash);
            ledger.change(level, cause, rollout);
        }
    }
    let is_new = is_first || before != said(&ledger);
    Measured { ledger, is_new, look_again }
}

/// What is worth a write when it changes.
fn said(ledger: &Ledger) -> (i64, Level, Option<Cause>, i64, Vec<Allowance>) {
    (ledger.as_of, ledger.level, ledger.cause, ledger.generation, ledger.allowances.clone())
}

impl Ledger {
    /// Takes note of the template whose rollout is complete. Pods that are missing later are not missing for its sake.
    fn set_template(&mut self, sight: &Sight<'_>) {
        let template = sight.template();
        match sight.deployment.rollout {
            RolloutProgress::Settled => self.template = template,
            _ if template != self.template => self.template = None,
            _ => {}
        }
    }
}

/// Time in which nobody watched is unknown, except where the pods prove what it was.
fn close_gaps(ledger: &mut Ledger, sight: &Sight<'_>, watched: &Watched) {
    let is_stored = std::mem::take(&mut ledger.is_stored);
    if is_stored && !ledger.is_settled {
        // Changes after `as_of` were not stored one by one, and whoever knew them is gone.
        ledger.change(Level::Unknown, Some(Cause::NotWatched), "");
        ledger.advance(sight.now);
    }
    let is_same = ledger.generation == sight.deployment.generation;
    // Whoever watched last may have seen the change of generation, and have waited for the status.
    let margin = if is_stored && !is_same { BEHIND } else { 0 };
    let (level, cause) = (ledger.level, ledger.cause);
    let before_first_look =
        watched.began().filter(|_| is_stored).map(|start| Gap { start, end: sight.now, is_jump: false });
    for gap in watched.gaps_after(ledger.checked).chain(before_first_look) {
        ledger.checked = gap.end;
        let start = gap.start.saturating_sub(margin).max(ledger.as_of);
        let gap = Gap { start, end: gap.end.min(sight.now), ..gap };
        if gap.end <= gap.start {
            continue;
        }
        let pieces = told(ledger, sight, gap, is_same);
        let pieces: Vec<_> =
            pieces.into_iter().map(|(end, piece)| (end, as_before(ledger, level, piece, end))).collect();
        if matches!(pieces[..], [(_, piece)] if piece == ledger.level) {
            continue;
        }
        ledger.advance(gap.start);
        for (end, piece) in pieces {
            let cause = match piece {
                Level::Unknown => Some(Cause::NotWatched),
                _ if piece == level => cause,
                _ if piece.missing() > 0 => Some(Cause::NotReady),
                _ => None,
            };
            let rollout = ledger.open().filter(|open| Some(open.cause) == cause).map(|open| open.rollout.clone());
            ledger.change(piece, cause, &rollout.unwrap_or_default());
            ledger.advance(end);
        }
    }
}

/// Levels within a gap. While the generation is the same, so is what was wanted.
fn told(ledger: &Ledger, sight: &Sight<'_>, gap: Gap, is_same: bool) -> Vec<(i64, Level)> {
    let deployed = &sight.deployment.deployed;
    match ledger.wanted.filter(|_| is_same && !gap.is_jump) {
        Some(_) if ledger.level == Level::Excluded => vec![(gap.end, Level::Excluded)],
        Some(replicas) if replicas > 0 && !sight.deployment.deleting => {
            let min_ready = i64::from(deployed.min_ready_seconds).saturating_mul(1000);
            let pieces = proven(gap, sight.pods, Wanted { replicas, min_ready, is_moving: ledger.template.is_none() });
            let level = |available: Option<u32>| {
                available.map_or(Level::Unknown, |available| Level::of(replicas, available, 0, sight.enough))
            };
            pieces.into_iter().map(|(end, available)| (end, level(available))).collect()
        }
        _ => vec![(gap.end, Level::Unknown)],
    }
}

/// Who was missing as planned before the gap is so in it, if as many are missing and their time is not over.
fn as_before(ledger: &Ledger, before: Level, piece: Level, end: i64) -> Level {
    match (before, piece) {
        (Level::Counted(one), Level::Counted(other))
            if one.desired() == other.desired()
                && one.available() == other.available()
                && one.is_good() == other.is_good()
                && ledger.allowances.iter().all(|allowance| allowance.until >= end) =>
        {
            before
        }
        _ => piece,
    }
}
