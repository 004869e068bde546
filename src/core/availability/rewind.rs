//! A ledger from a clock that was far ahead.

use super::bucket::Level;
use super::ledger::{DAY, Ledger, MAX_DAYS, pieces};

impl Ledger {
    /// A ledger that is ahead of the clock by more than a day was written while the clock was wrong: it would count
    /// nothing until then. What it counted of days to come is forgotten; today stays closed, so that nothing counts twice.
    pub(super) fn rewind(&mut self, now: i64) {
        if self.as_of <= now.saturating_add(DAY) {
            return;
        }
        let today = now.div_euclid(DAY);
        let end = today.saturating_add(1).saturating_mul(DAY);
        self.as_of = end;
        self.born = self.born.min(end);
        self.checked = self.checked.min(end);
        self.behind_since = None;
        self.days.retain(|day, _| *day <= today);
        self.slots.clear();
        let second = end.div_euclid(1000);
        self.episodes.retain(|episode| episode.start <= second);
        for episode in &mut self.episodes {
            episode.end = episode.end.map(|at| at.min(second));
        }
        self.level = Level::Unknown;
        self.cause = None;
        if let Some(open) = self.open() {
            open.end = Some(second);
        }
        // Days that had to go for those to come are unknown now.
        let first = self.born.max(self.first_day(MAX_DAYS).saturating_mul(DAY));
        for (day, millis) in pieces(first, end, DAY) {
            let sum = self.days.entry(day).or_default();
            sum.unknown = sum.unknown.saturating_add(millis.saturating_sub(sum.span()).max(0));
        }
        self.prune();
    }
}
