//! What the ledger is compared with: it samples every second, adds up, and knows nothing of ledgers.

use super::stage::SECOND;
use crate::core::availability::Bucket;

/// What was true in one second, as far as anybody could see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    Unknown,
    Excluded,
    Counted { desired: u32, available: u32, planned: u32, enough: u32 },
}

/// Pods of one kind that are excused, and until when.
#[derive(Clone, Copy, Debug, Default)]
struct Excuse {
    pods: u32,
    until: i64,
}

/// The Deployment as it is, and what a careful person would have noted of it.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    pub(super) desired: u32,
    pub(super) available: u32,
    pub(super) broken: u32,
    pub(super) evicted: u32,
    pub(super) is_rolling: bool,
    pub(super) unavailable: u32,
    seen_desired: u32,
    seen_evicted: u32,
    growing: Excuse,
    draining: Excuse,
    /// By second since 1970.
    pub(super) samples: Vec<(i64, Sample)>,
}

impl Oracle {
    pub(super) fn new(desired: u32, unavailable: u32) -> Self {
        Self {
            desired,
            available: desired,
            broken: 0,
            evicted: 0,
            is_rolling: false,
            unavailable,
            seen_desired: desired,
            seen_evicted: 0,
            growing: Excuse::default(),
            draining: Excuse::default(),
            samples: Vec::new(),
        }
    }

    fn missing(&self) -> u32 {
        self.desired.saturating_sub(self.available)
    }

    /// Somebody sees what is: new pods of a scale-up and successors of evicted ones are excused for five minutes, until
    /// nothing is missing any more.
    pub(super) fn see(&mut self, now: i64) {
        let excuse = |excuse: &mut Excuse, more: u32| {
            if excuse.until <= now {
                *excuse = Excuse::default();
            }
            if more > 0 {
                *excuse = Excuse { pods: (excuse.pods + more).min(self.desired), until: now + 300 * SECOND };
            }
        };
        let (mut growing, mut draining) = (self.growing, self.draining);
        excuse(&mut growing, self.desired.saturating_sub(self.seen_desired));
        excuse(&mut draining, self.evicted.saturating_sub(self.seen_evicted));
        let none = self.missing() == 0;
        self.growing = if none { Excuse::default() } else { growing };
        self.draining = if none { Excuse::default() } else { draining };
        (self.seen_desired, self.seen_evicted) = (self.desired, self.evicted);
    }

    /// What is, in the second that begins now.
    pub(super) fn state(&self, now: i64, enough: u32) -> Sample {
        if self.desired == 0 {
            return Sample::Excluded;
        }
        let excused = |excuse: Excuse| if excuse.until > now { excuse.pods } else { 0 };
        let rollout = if self.is_rolling { self.unavailable } else { 0 };
        let allowed = rollout + excused(self.growing) + excused(self.draining);
        let planned = self.missing().saturating_sub(self.broken).min(allowed);
        Sample::Counted { desired: self.desired, available: self.available.min(self.desired), planned, enough }
    }

    pub(super) fn note(&mut self, from: i64, to: i64, sample: Sample) {
        let seconds = from.div_euclid(SECOND)..to.div_euclid(SECOND);
        self.samples.extend(seconds.map(|second| (second, sample)));
    }

    /// Sums from this second on.
    pub(super) fn sums(&self, from: i64) -> Bucket {
        self.samples.iter().filter(|(second, _)| *second >= from).map(|(_, sample)| one(*sample)).sum()
    }
}

fn one(sample: Sample) -> Bucket {
    match sample {
        Sample::Unknown => Bucket { unknown: SECOND, ..Bucket::default() },
        Sample::Excluded => Bucket { excluded: SECOND, ..Bucket::default() },
        Sample::Counted { desired, available, planned, enough } => {
            let is_good = available >= enough;
            let faulty = desired - available - planned;
            let when = |condition: bool| if condition { SECOND } else { 0 };
            Bucket {
                good: when(is_good),
                planned: when(!is_good && faulty == 0),
                fault: when(!is_good && faulty > 0),
                desired: i64::from(desired) * SECOND,
                missing_planned: i64::from(planned) * SECOND,
                missing_fault: i64::from(faulty) * SECOND,
                ..Bucket::default()
            }
        }
    }
}
