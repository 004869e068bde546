//! Waiting on conditions with a deadline; never on time alone.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(90);
/// How a complaint begins that is about time alone: on a machine that is busy with other things it may not be ours.
pub(crate) const TOO_LATE: &str = "too late: ";

/// Waits until `look` answers; fails when that takes too long.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{TOO_LATE}waited {DEADLINE:?} in vain: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Looks again and again for a while: the claim must hold each time.
pub(crate) async fn stays<F: Future<Output = bool>>(what: &str, time: Duration, look: impl Fn() -> F) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(look().await, "no longer true: {what}");
        sleep(Duration::from_millis(200)).await;
    }
}
