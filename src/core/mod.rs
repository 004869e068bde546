//! What is decided. Pure: no IO, no async, no clock, no logging; time and observations are arguments.

pub mod availability;
pub mod backoff;
pub mod canonical;
pub mod contention;
pub mod decide;
pub mod deployment;
pub mod lease;
pub mod managers;
pub mod ownership;
pub mod plan;
pub mod policy_summary;
pub mod report;
pub mod ride_along;
pub mod rollout;
pub mod selector;
pub mod shutdown;
pub mod slo;
pub mod validate;
