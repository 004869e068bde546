//! The window by day, with the error budget that was left at the end of each.

use super::Row;
use crate::core::availability::{Bucket, DAY, Figures};

/// One day. The times add up to what the ledger knows of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// Days since 1970, UTC.
    pub day: i64,
    /// The sums.
    pub bucket: Bucket,
    /// Milliseconds in which all wanted replicas would have been there: counted time less what was lost of it.
    pub good: i64,
    /// Milliseconds in which all would have been missing, as planned.
    pub planned: i64,
    /// Milliseconds in which all would have been missing, by a fault.
    pub fault: i64,
    /// Budget left at the end of the day, as a share of it; `None` before the first look.
    pub budget: Option<f64>,
}

/// All days of the window, the oldest first.
pub fn days(row: &Row) -> Vec<Day> {
    let known: Vec<(i64, Bucket)> = row.ledger.days(row.objective.days()).collect();
    let first = row.ledger.first_day(row.objective.days());
    let last = row.ledger.as_of().div_euclid(DAY);
    let mut so_far = Bucket::default();
    (first..=last)
        .map(|day| {
            let bucket = known.iter().find(|(of, _)| *of == day).map(|(_, bucket)| *bucket).unwrap_or_default();
            so_far = so_far + bucket;
            let planned = full(bucket.missing_planned, &bucket);
            let fault = full(bucket.missing_fault, &bucket);
            Day {
                day,
                bucket,
                good: bucket.counted().saturating_sub(planned).saturating_sub(fault).max(0),
                planned,
                fault,
                // The same sum as the figure's, so that the line ends at the figure.
                budget: (so_far.span() > 0).then(|| Figures::of(&so_far, &row.objective).budget),
            }
        })
        .collect()
}

/// Missing replicas, as time in which all would have been missing.
fn full(missing: i64, bucket: &Bucket) -> i64 {
    let product = i128::from(missing) * i128::from(bucket.counted());
    let time = product.checked_div(i128::from(bucket.desired)).unwrap_or(0);
    i64::try_from(time).unwrap_or(i64::MAX).min(bucket.counted())
}
