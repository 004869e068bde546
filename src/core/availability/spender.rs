//! How often a ledger may be stored.

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
