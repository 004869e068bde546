//! What is gathered and carried out. Thin: it decides nothing.

mod availability;
mod carry_out;
pub(crate) mod clock;
mod departures;
mod events;
mod fence;
mod gate;
mod gather;
mod http;
mod lease;
mod memory;
mod metrics;
mod permissions;
mod policies;
mod policy_object;
mod preflight;
mod queue;
mod readiness;
mod ride_along;
mod run;
mod settings;
mod slices;
mod slim;
mod watches;
mod watching;
mod workloads;
mod world;
mod writes;

pub use self::events::REASONS as EVENT_REASONS;
pub use self::metrics::{Metrics, OPERATOR as OPERATOR_METRICS, Source as WorkloadSource};
pub use self::permissions::{RIGHTS, Right};
pub use self::preflight::StartError;
pub use self::run::run;
pub use self::settings::Settings;
