//! The only place that reads the wall clock.

/// Now, as RFC 3339 in UTC.
#[allow(clippy::disallowed_methods)] // this is the place
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().to_string()
}
