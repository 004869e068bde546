//! One look: what is seen is taken into the ledger.

use super::bucket::Level;
use super::episode::Cause;
use super::ledger::Ledger;
use super::sight::Sight;
use super::watched::{Gap, Watched, proven};

/// How long a status may speak of an older generation before nobody can tell the level.
const BEHIND: i64 = 5_000;

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
    let before = (ledger.as_of, ledger.level, ledger.cause, ledger.generation);
    close_gaps(&mut ledger, sight, watched);
    let mut look_again = None;
    if sight.is_behind() && !sight.deployment.deleting {
        let since = *ledger.behind_since.get_or_insert(sight.now);
        if sight.now.saturating_sub(since) >= BEHIND {
            ledger.advance(since);
            ledger.change(Level::Unknown, Some(Cause::StatusBehind), "");
        } else {
            look_again = Some(since.saturating_add(BEHIND));
        }
    } else {
        ledger.behind_since = None;
        let allowances = sight.allowances(&ledger);
        let (level, cause) = sight.level(&allowances);
        look_again = allowances.iter().map(|allowance| allowance.until).min();
        ledger.set_allowances(allowances);
        ledger.set_generation(sight.deployment.generation);
        if is_first || (level, cause) != (ledger.level, ledger.cause) {
            ledger.advance(sight.now);
            let rollout = sight.gate.rollout.as_ref().map_or("", |rollout| &rollout.version.template_hash);
            ledger.change(level, cause, rollout);
        }
    }
    let is_new = is_first || before != (ledger.as_of, ledger.level, ledger.cause, ledger.generation);
    Measured { ledger, is_new, look_again }
}

/// Time in which nobody watched is unknown, except where the pods prove what it was.
fn close_gaps(ledger: &mut Ledger, sight: &Sight<'_>, watched: &Watched) {
    let stored = ledger.is_stored;
    if stored && !ledger.is_settled {
        // Changes after `as_of` were not stored one by one, and whoever knew them is gone.
        ledger.change(Level::Unknown, Some(Cause::NotWatched), "");
        ledger.advance(sight.now);
    }
    for gap in watched.gaps_after(ledger.checked) {
        ledger.checked = gap.end.min(sight.now);
        let gap = Gap { start: gap.start.max(ledger.as_of), end: gap.end.min(sight.now) };
        if gap.end <= gap.start {
            continue;
        }
        let deployed = &sight.deployment.deployed;
        let pieces = match ledger.level {
            Level::Excluded if ledger.generation == deployed.generation => vec![(gap.end, Level::Excluded)],
            Level::Counted(count) if ledger.generation == deployed.generation => {
                let min_ready = i64::from(deployed.min_ready_seconds).saturating_mul(1000);
                proven(gap, sight.pods, count.desired(), min_ready, sight.enough)
            }
            _ => vec![(gap.end, Level::Unknown)],
        };
        if matches!(pieces[..], [(_, level)] if level == ledger.level) {
            continue;
        }
        ledger.advance(gap.start);
        for (end, level) in pieces {
            let cause = match level {
                Level::Unknown => Some(Cause::NotWatched),
                _ if level.missing() > 0 => {
                    Some(ledger.cause.filter(|_| level == ledger.level).unwrap_or(Cause::NotReady))
                }
                _ => None,
            };
            ledger.change(level, cause, "");
            ledger.advance(end);
        }
    }
    ledger.is_stored = false;
}

/// How many writes a flapping workload may cause: a few at once, then one in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spender {
    /// Writes that are left.
    left: u32,
    /// When the last one was given back, in milliseconds since 1970.
    at: i64,
}

/// Writes that may follow one another at once.
const BURST: u32 = 10;
/// Time after which one more is given, in milliseconds: at most 120 an hour.
const REFILL: i64 = 30_000;

impl Spender {
    /// All writes left.
    pub fn new(now: i64) -> Self {
        Self { left: BURST, at: now }
    }

    /// Takes one write. `Ok` says whether another one is left, that is whether the next change can be stored at once;
    /// `Err` when none is left: when the next one is given.
    pub fn spend(&mut self, now: i64) -> Result<bool, i64> {
        // A clock that was set back must not stop us for long.
        self.at = self.at.min(now);
        let given = now.saturating_sub(self.at).div_euclid(REFILL).max(0);
        self.at = self.at.saturating_add(given.saturating_mul(REFILL));
        self.left = self.left.saturating_add(u32::try_from(given).unwrap_or(BURST)).min(BURST);
        if self.left == 0 {
            return Err(self.at.saturating_add(REFILL));
        }
        self.left -= 1;
        Ok(self.left > 0)
    }

    /// When one more write than now is left, for a ledger that is to be settled.
    pub fn next(&self) -> i64 {
        self.at.saturating_add(REFILL.saturating_mul(2))
    }
}
