//! The fence: nothing is written unless the lease is surely held at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Until when writes are allowed, on a clock that never jumps. Shared by the elector, which moves it, and by every
/// write, which asks it.
#[derive(Clone)]
pub(crate) struct Fence {
    origin: Instant,
    /// Milliseconds after `origin`.
    open_until: Arc<AtomicU64>,
}

impl Fence {
    /// A fence that lets nothing through.
    pub(crate) fn closed() -> Self {
        Self { origin: Instant::now(), open_until: Arc::new(AtomicU64::new(0)) }
    }

    /// Lets writes through until then.
    pub(crate) fn open_until(&self, until: Instant) {
        let millis = u64::try_from(until.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX);
        self.open_until.store(millis, Ordering::SeqCst);
    }

    /// Lets nothing through any more.
    pub(crate) fn close(&self) {
        self.open_until.store(0, Ordering::SeqCst);
    }

    /// How much time is left for a write that begins now; `None` when the lease is not held. A write must be given a
    /// deadline no longer than this.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let until = self.origin + Duration::from_millis(self.open_until.load(Ordering::SeqCst));
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Whether writes are allowed now.
    pub(crate) fn is_open(&self) -> bool {
        self.time_left().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_frozen_past_its_deadline_writes_nothing_more() {
        let fence = Fence::closed();
        assert!(!fence.is_open());
        fence.open_until(Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(fence.time_left(), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(30)).await; // frozen and thawed
        assert_eq!(fence.time_left(), None);
    }
}
