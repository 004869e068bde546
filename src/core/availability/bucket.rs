//! Sums over a stretch of time, and what one moment adds to them.

use std::ops::Add;

/// What is seen at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nobody can tell: not watched, or the Deployment's status is of another generation.
    #[default]
    Unknown,
    /// Nothing is to be available: no replicas are wanted, or the Deployment is being deleted.
    Excluded,
    /// Replicas are wanted.
    Counted(Count),
}

/// Replicas that are wanted, and what became of them. `available + planned <= desired`, `desired > 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    desired: u32,
    available: u32,
    planned: u32,
    enough: u32,
}

impl Level {
    /// The level while `desired` replicas are wanted. Pods above that hide nothing; of the missing ones `planned` are
    /// somebody's will, the rest are a fault. The moment is good in the time-based figure from `enough` replicas on.
    pub fn of(desired: u32, available: u32, planned: u32, enough: u32) -> Self {
        if desired == 0 {
            return Self::Excluded;
        }
        let available = available.min(desired);
        let planned = planned.min(desired.saturating_sub(available));
        Self::Counted(Count { desired, available, planned, enough: enough.clamp(1, desired) })
    }

    /// Replicas that are missing; 0 when nothing is counted.
    pub fn missing(&self) -> u32 {
        match self {
            Self::Counted(count) => count.desired.saturating_sub(count.available),
            _ => 0,
        }
    }

    /// As numbers, for the encoding.
    pub(super) fn numbers(&self) -> Vec<i64> {
        match self {
            Self::Unknown => vec![0],
            Self::Excluded => vec![1],
            Self::Counted(count) => {
                let numbers = [count.desired, count.available, count.planned, count.enough];
                std::iter::once(2).chain(numbers.map(i64::from)).collect()
            }
        }
    }

    /// From these numbers; `None` when they are no level.
    pub(super) fn from_numbers(numbers: &[i64]) -> Option<Self> {
        match numbers {
            [0] => Some(Self::Unknown),
            [1] => Some(Self::Excluded),
            [2, numbers @ ..] => {
                let numbers: Vec<u32> =
                    numbers.iter().map(|number| u32::try_from(*number).ok()).collect::<Option<_>>()?;
                let [desired, available, planned, enough] = numbers[..] else { return None };
                let is_whole =
                    desired > 0 && available.checked_add(planned)? <= desired && (1..=desired).contains(&enough);
                is_whole.then_some(Self::Counted(Count { desired, available, planned, enough }))
            }
            _ => None,
        }
    }
}

impl Count {
    /// Nothing is wanted; never a level of its own, only for what people read.
    pub(super) const NONE: Self = Self { desired: 0, available: 0, planned: 0, enough: 0 };

    /// Replicas that are wanted.
    pub fn desired(&self) -> u32 {
        self.desired
    }

    /// Of these, available.
    pub fn available(&self) -> u32 {
        self.available
    }

    /// Of these, missing because somebody wants it so.
    pub fn planned(&self) -> u32 {
        self.planned
    }

    /// Of these, missing for another reason.
    pub fn faulty(&self) -> u32 {
        self.desired.saturating_sub(self.available).saturating_sub(self.planned)
    }

    /// Whether the moment is good in the time-based figure.
    pub fn is_good(&self) -> bool {
        self.available >= self.enough
    }

    /// Available replicas from which on the moment is good.
    pub fn enough(&self) -> u32 {
        self.enough
    }
}

/// Sums. The first five are milliseconds and add up to the stretch exactly; the others are milliseconds of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Enough replicas were available.
    pub good: i64,
    /// Fewer, as planned.
    pub planned: i64,
    /// Fewer, and at least one of them by a fault.
    pub fault: i64,
    /// Nobody can tell.
    pub unknown: i64,
    /// Nothing was to be available.
    pub excluded: i64,
    /// Replicas that were wanted, while counted.
    pub desired: i64,
    /// Of these, missing as planned.
    pub missing_planned: i64,
    /// Of these, missing by a fault.
    pub missing_fault: i64,
}

impl Bucket {
    /// What a level adds in so many milliseconds.
    pub fn of(level: &Level, millis: i64) -> Self {
        let mut sums = Self::default();
        match level {
            Level::Unknown => sums.unknown = millis,
            Level::Excluded => sums.excluded = millis,
            Level::Counted(count) => {
                match (count.is_good(), count.faulty()) {
                    (true, _) => sums.good = millis,
                    (false, 0) => sums.planned = millis,
                    (false, _) => sums.fault = millis,
                }
                let times = |replicas: u32| i64::from(replicas).saturating_mul(millis);
                sums.desired = times(count.desired);
                sums.missing_planned = times(count.planned);
                sums.missing_fault = times(count.faulty());
            }
        }
        sums
    }

    /// The stretch, in milliseconds.
    pub fn span(&self) -> i64 {
        let unknown = self.unknown.saturating_add(self.excluded);
        self.counted().saturating_add(unknown)
    }

    /// The part of it in which replicas were wanted and seen, in milliseconds.
    pub fn counted(&self) -> i64 {
        self.good.saturating_add(self.planned).saturating_add(self.fault)
    }

    /// Missing replicas, times milliseconds.
    pub fn missing(&self) -> i64 {
        self.missing_planned.saturating_add(self.missing_fault)
    }

    /// As numbers without zeros at the end, for the encoding.
    pub(super) fn numbers(&self) -> Vec<i64> {
        let all = [
            self.good,
            self.planned,
            self.fault,
            self.unknown,
            self.excluded,
            self.desired,
            self.missing_planned,
            self.missing_fault,
        ];
        let used = all.iter().rposition(|number| *number != 0).map_or(0, |last| last + 1);
        all.into_iter().take(used).collect()
    }

    /// From these numbers; `None` when there are too many, or one is negative.
    pub(super) fn from_numbers(numbers: &[i64]) -> Option<Self> {
        if numbers.len() > 8 || numbers.iter().any(|number| *number < 0) {
            return None;
        }
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        Some(Self {
            good: at(0),
            planned: at(1),
            fault: at(2),
            unknown: at(3),
            excluded: at(4),
            desired: at(5),
            missing_planned: at(6),
            missing_fault: at(7),
        })
    }
}

impl Add for Bucket {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            good: self.good.saturating_add(other.good),
            planned: self.planned.saturating_add(other.planned),
            fault: self.fault.saturating_add(other.fault),
            unknown: self.unknown.saturating_add(other.unknown),
            excluded: self.excluded.saturating_add(other.excluded),
            desired: self.desired.saturating_add(other.desired),
            missing_planned: self.missing_planned.saturating_add(other.missing_planned),
            missing_fault: self.missing_fault.saturating_add(other.missing_fault),
        }
    }
}

impl std::iter::Sum for Bucket {
    fn sum<I: Iterator<Item = Self>>(buckets: I) -> Self {
        buckets.fold(Self::default(), Add::add)
    }
}
