//! How long to wait before the next try of one object.

use std::time::Duration;

/// Shape of a back-off.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

/// For errors that pass by themselves: a timeout, a conflict, an overloaded API server.
pub const TRANSIENT: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(30) };
/// For errors that somebody has to fix: at most 6 tries in the first 10 minutes.
pub const PERMANENT: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_secs(600) };

impl Backoff {
    /// Wait before try `attempt` + 1, doubling each time. `seed` spreads objects that failed together over the last
    /// fifth of the wait.
    pub fn after(&self, attempt: u32, seed: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX));
        let wait = doubled.min(self.longest);
        let spread = u32::try_from(seed % 1000).unwrap_or(0);
        wait.mul_f64(1.0 + f64::from(spread) / 5000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_overflow() {
        let waits: Vec<u64> = (0..8).map(|n| PERMANENT.after(n, 0).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(PERMANENT.after(u32::MAX, u64::MAX).as_secs(), 673);
    }

    #[test]
    fn an_object_that_fails_for_ever_is_tried_at_most_six_times_in_ten_minutes() {
        for seed in [0, 1, 500, 999] {
            let mut at = Duration::ZERO;
            let tries = (0..100).take_while(|n| {
                let due = at <= Duration::from_secs(600);
                at += PERMANENT.after(*n, seed);
                due
            });
            assert!(tries.count() <= 6);
        }
    }
}
