//! The ledger: what was seen, integrated over time, by day. Bounded, mergeable, and exact to the millisecond.
//!
//! Time is counted when something changes, up to that moment; between two changes the ledger stays as it is, and whoever
//! reads it adds the level that lasts. Nothing is ever counted twice: time before `as_of` is closed.

use std::collections::BTreeMap;

use super::bucket::{Bucket, Level};
use super::episode::{self, Cause, Episode};

/// Milliseconds of a day.
pub const DAY: i64 = 86_400_000;
/// Milliseconds of a slot: burn rates are exact to one of these.
pub const SLOT: i64 = 300_000;
/// Days that are kept: the longest window.
pub const MAX_DAYS: i64 = 90;
/// Slots that are kept: six hours and the one that has begun.
pub(super) const MAX_SLOTS: i64 = 73;
/// Allowances that are kept, one of a kind.
pub(super) const MAX_ALLOWANCES: usize = 2;

/// Pods that may be missing for a while without being a fault: they start after a scale-up, or follow evicted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// ScaleUp or Drain.
    pub cause: Cause,
    /// How many.
    pub pods: u32,
    /// Until when, in milliseconds since 1970.
    pub until: i64,
}

/// Availability of one Deployment. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Up to when time is counted.
    pub(super) as_of: i64,
    /// The level since then.
    pub(super) level: Level,
    /// Why replicas are missing since then, or nobody can tell.
    pub(super) cause: Option<Cause>,
    /// Whether the level lasts for as long as an operator watches. False while changes are not stored one by one: then
    /// nobody but the operator that wrote it knows what came after `as_of`.
    pub(super) is_settled: bool,
    /// Generation of the Deployment at `as_of`.
    pub(super) generation: i64,
    /// When the first look was.
    pub(super) born: i64,
    /// All time since the first look.
    pub(super) life: Bucket,
    /// By day since 1970, UTC.
    pub(super) days: BTreeMap<i64, Bucket>,
    /// Missing and wanted replicas, times milliseconds, by slot since 1970.
    pub(super) slots: BTreeMap<i64, (i64, i64)>,
    /// What may be missing without being a fault.
    pub(super) allowances: Vec<Allowance>,
    /// Replicas that were wanted at the last look; `None` before the first.
    pub(super) wanted: Option<u32>,
    /// Pods on their way out by eviction at the last look.
    pub(super) evicted: u32,
    /// The template whose rollout was seen complete, as a number; `None` while another one rolls out.
    pub(super) template: Option<i64>,
    /// Since when the Deployment's status speaks of an older generation.
    pub(super) behind_since: Option<i64>,
    /// Stretches of lost time, the last ones; one that lasts is the last of them.
    pub(super) episodes: Vec<Episode>,
    /// Gaps that end before this were dealt with. Not stored: what was proven once is proven again, or unknown.
    pub(super) checked: i64,
    /// Whether it comes from a stored status, and no look of this process has gone over it. Not stored.
    pub(super) is_stored: bool,
}

impl Ledger {
    /// A ledger that begins now and knows nothing yet.
    pub fn begin(now: i64) -> Self {
        Self { as_of: now, born: now, checked: now, is_settled: true, ..Self::default() }
    }

    /// Up to when time is counted.
    pub fn as_of(&self) -> i64 {
        self.as_of
    }

    /// The level since then.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Why replicas are missing since then.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Generation of the Deployment at `as_of`.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// When the first look was.
    pub fn born(&self) -> i64 {
        self.born
    }

    /// Whether the level lasts for as long as an operator watches.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Gaps that end before this were dealt with.
    pub fn checked(&self) -> i64 {
        self.checked
    }

    /// The last stretches of lost time.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// What may be missing without being a fault.
    pub fn allowances(&self) -> &[Allowance] {
        &self.allowances
    }

    /// Sets what may be missing.
    pub fn set_allowances(&mut self, mut allowances: Vec<Allowance>) {
        allowances.truncate(MAX_ALLOWANCES);
        self.allowances = allowances;
    }

    /// Takes note of the generation that is looked at.
    pub fn set_generation(&mut self, generation: i64) {
        self.generation = generation;
    }

    /// Says whether the level may be trusted to last.
    pub fn settle(&mut self, is_settled: bool) {
        self.is_settled = is_settled;
    }

    /// All time since the first look, up to `now`: sums that never fall.
    pub fn life_at(&self, now: i64) -> Bucket {
        self.life + Bucket::of(&self.level, self.reach(now).saturating_sub(self.as_of).max(0))
    }

    /// The ledger as it is at `now` if nothing changes until then.
    #[must_use]
    pub fn at(&self, now: i64) -> Self {
        let mut ledger = self.clone();
        ledger.advance(now);
        ledger
    }

    /// Counts the level up to `now`. A clock that was set back counts nothing until it is past `as_of` again.
    pub fn advance(&mut self, now: i64) {
        let now = self.reach(now);
        if now <= self.as_of {
            return;
        }
        self.count(self.as_of, now);
        self.as_of = now;
        self.prune();
    }

    /// Another level from `as_of` on.
    pub fn change(&mut self, level: Level, cause: Option<Cause>, rollout: &str) {
        let second = self.as_of.div_euclid(1000);
        if let Some(open) = self.open() {
            if open.cause_is(cause) && open.rollout == rollout {
                open.deepen(&level);
            } else {
                open.end = Some(second);
            }
        }
        (self.level, self.cause) = (level, cause);
        if let Some(cause) = cause.filter(|_| self.open().is_none()) {
            let mut begun = Episode { start: second, end: None, cause, missing: 0, of: 0, rollout: rollout.into() };
            begun.deepen(&level);
            episode::push(&mut self.episodes, begun);
        }
    }

    /// Both ledgers as one; `later` begins where this one ends, or later: then the time between is unknown. Associative.
    #[must_use]
    pub fn merged(mut self, later: &Self) -> Self {
        if self.as_of < later.born {
            self.change(Level::Unknown, Some(Cause::NotWatched), "");
            self.advance(later.born);
        }
        self.life = self.life + later.life;
        for (day, bucket) in &later.days {
            let sum = self.days.entry(*day).or_default();
            *sum = *sum + *bucket;
        }
        for (slot, (missing, desired)) in &later.slots {
            let sum = self.slots.entry(*slot).or_default();
            *sum = (sum.0.saturating_add(*missing), sum.1.saturating_add(*desired));
        }
        let second = later.born.div_euclid(1000);
        if let Some(open) = self.open() {
            // It ends here, or goes on in the first episode of the later one.
            open.end = Some(second);
        }
        for one in &later.episodes {
            episode::push(&mut self.episodes, one.clone());
        }
        let mut merged = Self {
            born: self.born,
            life: self.life,
            days: self.days,
            slots: self.slots,
            episodes: self.episodes,
            allowances: later.allowances.clone(),
            ..later.bare()
        };
        merged.prune();
        merged
    }

    /// Sums of the window that ends with the day of `as_of`.
    pub fn window(&self, days: i64) -> Bucket {
        let first = self.first_day(days);
        self.days.range(first..).map(|(_, bucket)| *bucket).sum()
    }

    /// Sums of the window that ends with the day of `now` if nothing changes until then: what a ledger that was advanced
    /// would say, without making one.
    pub fn window_at(&self, now: i64, days: i64) -> Bucket {
        let end = self.reach(now).max(self.as_of);
        let first = end.div_euclid(DAY).saturating_sub(days).saturating_add(1);
        let since = self.as_of.max(first.saturating_mul(DAY));
        let closed: Bucket = self.days.range(first..).map(|(_, bucket)| *bucket).sum();
        closed + Bucket::of(&self.level, end.saturating_sub(since))
    }

    /// Buckets of the days in the window, the oldest first.
    pub fn days(&self, days: i64) -> impl Iterator<Item = (i64, Bucket)> {
        self.days.range(self.first_day(days)..).map(|(day, bucket)| (*day, *bucket))
    }

    /// The first day of a window that ends with the day of `as_of`.
    pub fn first_day(&self, days: i64) -> i64 {
        self.as_of.div_euclid(DAY).saturating_sub(days).saturating_add(1)
    }

    /// Missing and wanted replicas, times milliseconds, in about the last `millis` milliseconds.
    pub fn recent(&self, millis: i64) -> (i64, i64) {
        let first = self.as_of.saturating_sub(millis).div_euclid(SLOT);
        let sum = |sum: (i64, i64), slot: &(i64, i64)| (sum.0.saturating_add(slot.0), sum.1.saturating_add(slot.1));
        self.slots.range(first..).map(|(_, slot)| slot).fold((0, 0), sum)
    }

    /// The level since `as_of` holds up to `now`; but once the status lags, only up to then, until it has caught up or
    /// lags for too long.
    fn reach(&self, now: i64) -> i64 {
        self.behind_since.filter(|_| self.level != Level::Unknown).map_or(now, |since| now.min(since))
    }

    /// Everything but sums, lists and the first look.
    fn bare(&self) -> Self {
        Self {
            as_of: self.as_of,
            level: self.level,
            cause: self.cause,
            is_settled: self.is_settled,
            generation: self.generation,
            wanted: self.wanted,
            evicted: self.evicted,
            template: self.template,
            behind_since: self.behind_since,
            checked: self.checked,
            is_stored: self.is_stored,
            ..Self::default()
        }
    }

    /// The episode that lasts.
    pub(super) fn open(&mut self) -> Option<&mut Episode> {
        self.episodes.last_mut().filter(|last| last.end.is_none())
    }

    fn count(&mut self, from: i64, to: i64) {
        let whole = Bucket::of(&self.level, to.saturating_sub(from));
        self.life = self.life + whole;
        let level = self.level;
        let oldest = to.div_euclid(DAY).saturating_sub(MAX_DAYS - 1).saturating_mul(DAY);
        for (day, millis) in pieces(from.max(oldest), to, DAY) {
            let sum = self.days.entry(day).or_default();
            *sum = *sum + Bucket::of(&level, millis);
        }
        let oldest = to.div_euclid(SLOT).saturating_sub(MAX_SLOTS - 1).saturating_mul(SLOT);
        for (slot, millis) in pieces(from.max(oldest), to, SLOT) {
            let piece = Bucket::of(&level, millis);
            if piece.desired == 0 {
                continue;
            }
            let sum = self.slots.entry(slot).or_default();
            *sum = (sum.0.saturating_add(piece.missing()), sum.1.saturating_add(piece.desired));
        }
    }

    /// Forgets what no window reaches any more.
    pub(super) fn prune(&mut self) {
        let first_day = self.first_day(MAX_DAYS);
        let first_slot = self.as_of.div_euclid(SLOT).saturating_sub(MAX_SLOTS - 1);
        self.days = self.days.split_off(&first_day);
        self.slots = self.slots.split_off(&first_slot);
    }
}

impl Episode {
    fn cause_is(&self, cause: Option<Cause>) -> bool {
        cause == Some(self.cause)
    }
}

/// A stretch cut at multiples of `size`: index and length of each piece.
pub(super) fn pieces(from: i64, to: i64, size: i64) -> impl Iterator<Item = (i64, i64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let index = at.div_euclid(size);
        let end = index.saturating_add(1).saturating_mul(size).min(to);
        let piece = (index, end - at);
        at = end;
        Some(piece)
    })
}
