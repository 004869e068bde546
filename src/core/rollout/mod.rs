//! Lets a new version in only while the evidence says that it is healthy, and takes it back without touching Git when it
//! is not.
//!
//! Reading order: [`table`] (the transitions, as data), [`gate`] (one look: transition, memory, one write),
//! `situation` (what the transitions ask), [`evidence`], `assess` and [`blame`] (what speaks against a version, and
//! whether it is to blame), [`restore`] and [`sizes`] (handing capacity back against the controller's rules).

mod assess;
pub mod blame;
pub mod document;
pub mod evidence;
pub mod facts;
pub mod gate;
mod memory;
pub mod pod;
mod reasons;
pub mod restore;
mod situation;
pub mod sizes;
pub mod table;
#[cfg(test)]
mod tests;
mod transition;
mod wording;

pub use facts::{Deployed, Paused, Revision};
pub use gate::{Action, GateEvent, Verdict, decide};
pub use pod::{ContainerView, Phase, PodView};
pub use situation::{Gating, Off, Seen};
pub use wording::EVENTS;
