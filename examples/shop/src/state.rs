//! What one running shop knows of itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::ValueEnum;

use crate::settings::{Liveness, Readiness, Serve};

pub(crate) struct State {
    pub(crate) settings: Serve,
    readiness: Mutex<Readiness>,
    liveness: Mutex<Liveness>,
    is_ending: AtomicBool,
    in_flight: AtomicUsize,
}

/// A request from its first byte to the last of its answer, however it ends.
pub(crate) struct InFlight(pub(crate) std::sync::Arc<State>);

impl State {
    pub(crate) fn new(settings: Serve) -> Self {
        Self {
            readiness: Mutex::new(settings.readiness),
            liveness: Mutex::new(settings.liveness),
            is_ending: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            settings,
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        *lock(&self.readiness)
    }

    pub(crate) fn liveness(&self) -> Liveness {
        *lock(&self.liveness)
    }

    /// Changes one switch; None when there is no such switch or value.
    pub(crate) fn switch(&self, name: &str, value: &str) -> Option<()> {
        match name {
            "readiness" => *lock(&self.readiness) = Readiness::from_str(value, true).ok()?,
            "liveness" => *lock(&self.liveness) = Liveness::from_str(value, true).ok()?,
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn begin(self: &std::sync::Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A switch is one word: whoever panicked while holding it left it whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
