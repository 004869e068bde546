//! Until when a stored ledger may be read: as long as an operator watched, what it did not write down did not happen.

use jiff::Timestamp;
use serde_json::Value;

use crate::core::availability::{Cause, Ledger, Level, Watched};
use crate::core::lease::WATCHED_ANNOTATION as WATCHED;

/// Clocks of two machines that differ by more than this cannot be compared.
const SKEW: i64 = 5_000;
/// Time in which an operator that watches again has looked at every workload, and stored what it could not prove of the
/// gap before.
const LOOKED: i64 = 300_000;

/// When operators watched, as far as a report can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vigil {
    /// It cannot be told; why.
    Untold(String),
    /// The Lease tells.
    Told {
        /// When nobody watched.
        watched: Watched,
        /// When somebody watched last, in milliseconds since 1970.
        last: i64,
        /// Whether somebody watches now.
        is_watching: bool,
    },
}

impl Vigil {
    /// What the operator's Lease says at `now`.
    pub fn of_lease(lease: &Value, now: i64) -> Self {
        let annotations = lease.pointer("/metadata/annotations").and_then(Value::as_object);
        let Some(stored) = annotations.and_then(|all| all.get(WATCHED)).and_then(Value::as_str) else {
            return Self::Untold(format!("the Lease carries no annotation {WATCHED}"));
        };
        let renewed = lease.pointer("/spec/renewTime").and_then(Value::as_str);
        let Some(renewed) = renewed.and_then(|text| text.parse::<Timestamp>().ok()) else {
            return Self::Untold("the Lease says no renewTime".into());
        };
        let renewed = renewed.as_millisecond();
        if renewed > now.saturating_add(SKEW) {
            return Self::Untold("the Lease was renewed in times to come: this machine's clock is behind".into());
        }
        let watched = Watched::resume(Some(stored), Some(renewed), now.max(renewed));
        if !is_whole(stored, &watched) {
            return Self::Untold(format!("the Lease's annotation {WATCHED} is damaged, or of another clock"));
        }
        let last = watched.until(i64::MAX, now);
        let is_held =
            lease.pointer("/spec/holderIdentity").and_then(Value::as_str).is_some_and(|held| !held.is_empty());
        let patience = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_i64).unwrap_or(15);
        let is_watching = is_held && now.saturating_sub(last) <= patience.saturating_mul(1000);
        Self::Told { watched, last, is_watching }
    }

    /// The ledger as far as it may be read at `now`. While nobody watches, the time since then is unknown; while
    /// somebody does, it is that operator's to say, and the figures are a moment old.
    pub(super) fn current(&self, stored: &Ledger, now: i64) -> Ledger {
        let Self::Told { watched, last, is_watching } = self else { return stored.clone() };
        let checked = stored.checked().max(last.saturating_sub(LOOKED));
        let mut ledger = if stored.is_settled() { stored.at(watched.until(checked, now)) } else { stored.clone() };
        if !is_watching && ledger.as_of() < now {
            ledger.change(Level::Unknown, Some(Cause::NotWatched), "");
            ledger.advance(now);
        }
        ledger
    }
}

/// Whether every gap of the stored form was understood: one that was not would be taken for watched time.
fn is_whole(stored: &str, watched: &Watched) -> bool {
    let lists: Result<Vec<Vec<i64>>, _> = serde_json::from_str(stored);
    lists.is_ok_and(|lists| {
        let closed = lists.iter().filter(|list| list.len() == 2).count();
        let open = lists.iter().filter(|list| list.len() == 1).count();
        closed.saturating_add(open) == lists.len() && open < 2 && watched.gaps_after(i64::MIN).count() == closed
    })
}
