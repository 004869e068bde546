//! What monitoring gets: series of every Deployment's availability, a function of what the
//! ledgers say at the moment of a scrape.

mod sample;
mod series;

pub use self::sample::{AvailabilitySample, WorkloadSample};
pub use self::series::{Described, FAMILIES, Family, Kind, Series, series};
