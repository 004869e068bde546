//! What the commands do.

mod connection;
pub mod crd;
pub mod leave;
pub mod plan;
pub mod report;
pub mod request;
pub mod rules;
pub mod run;
pub mod status;
mod style;
mod traces;
