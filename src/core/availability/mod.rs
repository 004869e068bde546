//! The availability that was really delivered, integrated on what the watches showed.
//!
//! `D` replicas are wanted, `A = min(available, D)` are there; both are step functions of time. Replica-weighted
//! availability is the integral of `A` over that of `D`; time-based availability is the share of the counted time in
//! which `A` was at least `minAvailable` (`kubernetes-semantics` 10). What nobody watched is unknown, never good.

mod bucket;
mod encoding;
mod episode;
mod figures;
mod ledger;
mod measure;
mod proof;
mod rewind;
mod sight;
mod spender;
mod stored;
mod watched;

pub use self::bucket::{Bucket, Count, Level};
pub use self::encoding::DecodeError;
pub use self::episode::{Cause, Episode, MAX_EPISODES};
pub use self::figures::{Figures, Objective, percent, rounded_down};
pub use self::ledger::{Allowance, DAY, Ledger, MAX_DAYS, SLOT};
pub use self::measure::{Measured, measure};
pub use self::sight::{Sight, enough};
pub use self::spender::Spender;
pub use self::watched::{Gap, Watched};

#[cfg(test)]
mod tests;
