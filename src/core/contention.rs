//! Another writer that keeps setting our fields back: stop fighting, name it, try again later.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::workload_health::Contention;

/// Reversals within `WINDOW` after which we stop.
pub const LIMIT: usize = 3;
/// Window in which reversals count together.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Time between two tries once we stopped.
pub const RETRY: SignedDuration = SignedDuration::from_hours(1);

/// Who set what back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// Field manager of the other writer.
    pub manager: String,
    /// Field, as `container/field`.
    pub field: String,
    /// Generation of the Deployment that carries the reversal.
    pub generation: i64,
}

/// Adds a reversal that was just seen. Once `LIMIT` of them lie within `WINDOW`, or when it follows a retry, the next
/// try is due after `RETRY`.
pub fn after_reversal(before: Option<&Contention>, seen: Reversal, now: Timestamp) -> Contention {
    let earlier = before.map(|c| c.reversals.as_slice()).unwrap_or_default();
    let mut reversals: Vec<Time> = earlier.iter().filter(|t| now.duration_since(t.0) < WINDOW).cloned().collect();
    reversals.push(Time(now));
    let keep_from = reversals.len().saturating_sub(8);
    reversals.drain(..keep_from);
    let had_stopped = before.is_some_and(|c| c.retry_after.is_some());
    let stop = had_stopped || reversals.len() >= LIMIT;
    let retry_after = stop.then(|| Time(now.saturating_add(RETRY).unwrap_or(now)));
    Contention { manager: seen.manager, field: seen.field, generation: seen.generation, reversals, retry_after }
}

/// Whether we keep our hands off now.
pub fn stopped(contention: Option<&Contention>, now: Timestamp) -> bool {
    contention.and_then(|c| c.retry_after.as_ref()).is_some_and(|retry| now < retry.0)
}

/// What is left of a contention while our values stand: it is over once they have stood for `WINDOW`.
pub fn while_in_sync(contention: Option<&Contention>, now: Timestamp) -> Option<Contention> {
    let last = contention.and_then(|c| c.reversals.last());
    contention.filter(|_| last.is_some_and(|t| now.duration_since(t.0) < WINDOW)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    fn seen() -> Reversal {
        Reversal { manager: "argocd-controller".into(), field: "app/livenessProbe".into(), generation: 7 }
    }

    #[test]
    fn three_reversals_in_ten_minutes_stop_us_for_an_hour() {
        let first = after_reversal(None, seen(), at(0));
        let second = after_reversal(Some(&first), seen(), at(4));
        assert!(!stopped(Some(&second), at(4)));
        let third = after_reversal(Some(&second), seen(), at(9));
        assert!(stopped(Some(&third), at(9)));
        assert!(stopped(Some(&third), at(68)));
        assert!(!stopped(Some(&third), at(69)), "one try is due");
    }

    #[test]
    fn slow_reversals_are_set_right_each_time() {
        let mut contention = None;
        for minute in [0, 6, 12, 18, 24] {
            contention = Some(after_reversal(contention.as_ref(), seen(), at(minute)));
            assert!(!stopped(contention.as_ref(), at(minute)), "minute {minute}");
        }
    }

    #[test]
    fn a_retry_that_is_set_back_stops_us_for_another_hour_at_once() {
        let mut contention = None;
        for minute in [0, 1, 2] {
            contention = Some(after_reversal(contention.as_ref(), seen(), at(minute)));
        }
        let again = after_reversal(contention.as_ref(), seen(), at(63));
        assert!(stopped(Some(&again), at(122)));
        assert!(!stopped(Some(&again), at(123)));
    }

    #[test]
    fn it_is_forgotten_once_our_values_stood_for_ten_minutes() {
        let contention = after_reversal(None, seen(), at(0));
        assert!(while_in_sync(Some(&contention), at(9)).is_some());
        assert_eq!(while_in_sync(Some(&contention), at(10)), None);
    }

    #[test]
    fn the_list_of_reversals_is_bounded() {
        let mut contention = None;
        for _ in 0..100 {
            contention = Some(after_reversal(contention.as_ref(), seen(), at(0)));
        }
        assert_eq!(contention.unwrap().reversals.len(), 8);
    }
}
