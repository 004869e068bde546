//! What the commands do.

pub mod crd;
pub mod plan;
pub mod run;
