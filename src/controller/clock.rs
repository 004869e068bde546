//! The only place that reads a clock. Everything that is decided takes the time as an argument.

use jiff::Timestamp;

/// Wall clock: for what people read and for stored times. Deadlines use `tokio::time::Instant`, which never jumps.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    // Whole seconds: what the API stores, so that a stored time compares equal to what was meant.
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Wall clock with microseconds, for the lease and for events.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now_precise() -> Timestamp {
    Timestamp::now()
}
