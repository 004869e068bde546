//! From how pods went to what `shutdown` should say.
//!
//! Two times are seen: how long after its deletion a pod stood in its EndpointSlices ([`Departure::removal`]), which is
//! what `drainSeconds` must cover, and how long its containers took after SIGTERM ([`ending`]), which is what
//! `finishSeconds` must cover. Both are the application's and the cluster's, not the settings': a pod is measured by the
//! sleep and the grace period that it had itself, so that evidence survives a change of the policy.
//!
//! Reading order: [`ending`] (how one pod ended), [`evidence`] (what is kept of many), [`advice`] (the arithmetic).

pub mod advice;
pub mod ending;
pub mod evidence;
mod stored;
#[cfg(test)]
mod tests;

pub use ending::{End, Ending, Hook, ended};
pub use evidence::{Departure, Evidence};
