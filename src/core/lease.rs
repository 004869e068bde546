//! Leader election, without IO and without comparing two clocks.
//!
//! A holder's `renewTime` is never compared with our own clock: what counts is how long *we* have seen the record
//! unchanged, on a clock that never jumps (`reliability-performance` 2.6).

use std::time::Duration;

/// A point on a monotonic clock, as time since an arbitrary origin.
pub type Monotonic = Duration;

/// Timing of the election; lease > renew deadline > retry period.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long others wait for a silent holder.
    pub lease: Duration,
    /// How long after its last successful renewal a holder may write. The gap to `lease` is the safety margin.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry: Duration,
}

/// Annotation of the lease that says when nobody watched (`core::availability::Watched`).
pub const WATCHED_ANNOTATION: &str = "gracekeeper.dev/watched";

/// The lease object, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `spec.holderIdentity`; `None` or empty when released.
    pub holder: Option<String>,
    /// `metadata.resourceVersion`: changes with every renewal.
    pub version: String,
    /// `spec.leaseDurationSeconds` that the holder promised.
    pub duration: Duration,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
    /// `spec.renewTime`, by the holder's clock: for the availability report, never for the election.
    pub renewed: Option<jiff::Timestamp>,
    /// When nobody watched, as its holders wrote it ([`WATCHED_ANNOTATION`]).
    pub watched: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no lease: create it.
    Create,
    /// It is free or its holder is silent for too long: take it, if it is still at this version.
    Acquire {
        /// Version that the write must meet.
        version: String,
        /// Transitions to write.
        transitions: i32,
    },
    /// It is ours: renew it, if it is still at this version.
    Renew {
        /// Version that the write must meet.
        version: String,
        /// Transitions to write: unchanged.
        transitions: i32,
    },
    /// Somebody else holds it.
    Wait {
        /// The holder.
        holder: String,
    },
}

/// What one candidate has seen.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    seen: Option<(String, Monotonic)>,
}

impl Candidate {
    /// A candidate that has seen nothing yet.
    pub fn new(identity: impl Into<String>) -> Self {
        Self { identity: identity.into(), seen: None }
    }

    /// Decides on what was just read. `now` is when the read was answered.
    pub fn step(&mut self, record: Option<&LeaseRecord>, now: Monotonic) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        let since = match &self.seen {
            Some((version, since)) if *version == record.version => *since,
            _ => {
                self.seen = Some((record.version.clone(), now));
                now
            }
        };
        let version = record.version.clone();
        match record.holder.as_deref().filter(|holder| !holder.is_empty()) {
            Some(holder) if holder == self.identity => Step::Renew { version, transitions: record.transitions },
            Some(holder) if now.saturating_sub(since) < record.duration => Step::Wait { holder: holder.into() },
            _ => Step::Acquire { version, transitions: record.transitions.saturating_add(1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: &str) -> LeaseRecord {
        LeaseRecord {
            holder: Some(holder.into()),
            version: version.into(),
            duration: Duration::from_secs(15),
            transitions: 3,
            renewed: None,
            watched: None,
        }
    }

    fn at(seconds: u64) -> Monotonic {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_holder_is_replaced_only_after_its_whole_lease_was_seen_to_pass() {
        let mut b = Candidate::new("b");
        assert!(matches!(b.step(Some(&record("a", "7")), at(100)), Step::Wait { .. }));
        assert!(matches!(b.step(Some(&record("a", "7")), at(114)), Step::Wait { .. }));
        let took = b.step(Some(&record("a", "7")), at(115));
        assert_eq!(took, Step::Acquire { version: "7".into(), transitions: 4 });
    }

    #[test]
    fn a_renewal_restarts_the_wait() {
        let mut b = Candidate::new("b");
        b.step(Some(&record("a", "7")), at(0));
        b.step(Some(&record("a", "8")), at(14));
        assert!(matches!(b.step(Some(&record("a", "8")), at(28)), Step::Wait { .. }));
        assert!(matches!(b.step(Some(&record("a", "8")), at(29)), Step::Acquire { .. }));
    }

    #[test]
    fn a_released_or_missing_lease_is_taken_at_once() {
        let mut b = Candidate::new("b");
        assert_eq!(b.step(None, at(0)), Step::Create);
        assert!(matches!(b.step(Some(&record("", "9")), at(0)), Step::Acquire { .. }));
    }

    #[test]
    fn a_restarted_holder_with_the_same_identity_goes_on() {
        let mut a = Candidate::new("a");
        assert_eq!(a.step(Some(&record("a", "9")), at(0)), Step::Renew { version: "9".into(), transitions: 3 });
    }

    /// Two candidates with clocks that started at different times, a lease that moves: never two holders at once.
    #[test]
    fn two_candidates_never_hold_the_lease_at_the_same_time() {
        let timing = Timing { lease: at(15), renew_deadline: at(10), retry: at(2) };
        for silent_from in 0..40_u64 {
            let mut lease = record("a", "1");
            let (mut b, mut version) = (Candidate::new("b"), 1_u64);
            let mut a_may_write_until = at(0);
            for second in (0..80).step_by(2) {
                if second < silent_from {
                    version += 1;
                    lease.version = version.to_string();
                    a_may_write_until = at(second) + timing.renew_deadline;
                }
                // b's clock started 1000 seconds earlier: only differences count.
                if let Step::Acquire { .. } = b.step(Some(&lease), at(second + 1000)) {
                    assert!(at(second) >= a_may_write_until, "silent from {silent_from}, taken at {second}");
                    break;
                }
            }
        }
    }
}
