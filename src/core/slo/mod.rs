//! What monitoring gets: series of every Deployment's availability, and rules that alert on them.
//!
//! The series are a function of what the ledgers say at the moment of a scrape. The rules are made from thresholds that
//! are data, so that the plain file, the chart and `gracekeeper rules` cannot differ.

mod rules;
mod sample;
mod series;
mod thresholds;

pub use self::rules::{ALERTS, Group, Rule, Rules};
pub use self::sample::{AvailabilitySample, WorkloadSample};
pub use self::series::{Described, FAMILIES, Family, Kind, Series, series};
pub use self::thresholds::{Burn, Numbers, Severity, Span, Thresholds};

#[cfg(test)]
mod tests;
