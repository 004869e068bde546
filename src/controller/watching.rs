//! Whether, and since when, this process watches: what the Lease carries for those who come after it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::availability::Watched;

/// When nobody watched, shared by the elector, which stores it, and by whoever measures.
#[derive(Clone)]
pub(crate) struct Watching {
    watched: Arc<Mutex<Option<Watched>>>,
    origin: Instant,
    patience: Duration,
    /// When the lease was last renewed by us, in milliseconds since 1970.
    renewed: Arc<AtomicI64>,
    /// Whether a gap was closed that nobody has been told of.
    news: Arc<AtomicBool>,
}

impl Watching {
    /// Nobody watches yet. A process that does not get to look for `patience` counts as frozen.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            watched: Arc::default(),
            origin: Instant::now(),
            patience,
            renewed: Arc::default(),
            news: Arc::default(),
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Option<Watched>) -> R) -> R {
        work(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on from what the Lease says, unless this process led before: then it knows better.
    pub(crate) fn resume(&self, stored: Option<&str>, renewed: Option<jiff::Timestamp>) {
        let renewed = renewed.map(jiff::Timestamp::as_millisecond);
        self.with(|watched| watched.get_or_insert_with(|| Watched::resume(stored, renewed, now())).is_watching());
    }

    /// Takes note of whether all watches are up to date; true when a gap was closed since the last time, so that
    /// everything is to be looked at. Nothing while another one leads.
    pub(crate) fn tick(&self, is_watching: bool) -> bool {
        self.with(|watched| {
            let Some(watched) = watched else { return false };
            self.look_at_clocks(watched, is_watching);
            watched.is_watching() && self.news.swap(false, Ordering::SeqCst)
        })
    }

    fn look_at_clocks(&self, watched: &mut Watched, is_watching: bool) {
        let before = watched.gaps_after(0).last();
        watched.tick(now(), self.origin.elapsed(), is_watching, self.patience);
        if watched.gaps_after(0).last() != before {
            self.news.store(true, Ordering::SeqCst);
        }
    }

    /// What the Lease is to carry.
    pub(crate) fn encoded(&self) -> Option<String> {
        self.with(|watched| watched.as_ref().map(Watched::encode))
    }

    /// A copy; `None` while another one leads, or nobody can tell what happens now.
    pub(crate) fn current(&self) -> Option<Watched> {
        self.with(|watched| {
            let watched = watched.as_mut()?;
            // Before anything is measured: a clock that was set, or a freeze, must not count as the last level.
            self.look_at_clocks(watched, watched.is_watching());
            Some(watched.clone()).filter(Watched::is_watching)
        })
    }

    /// The same, whether or not it watches in this moment, and when the lease was last renewed.
    pub(crate) fn known(&self) -> Option<(Watched, i64)> {
        let renewed = self.renewed.load(Ordering::SeqCst);
        self.with(|watched| Some((watched.clone()?, renewed)))
    }

    /// The lease was renewed, by a call that was sent then.
    pub(crate) fn renewed(&self, sent: i64) {
        self.renewed.store(sent, Ordering::SeqCst);
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    super::clock::now_precise().as_millisecond()
}
