//! What is decided. Pure: no IO, no async, no clock, no logging; time and observations are arguments.

pub mod canonical;
pub mod ownership;
pub mod plan;
pub mod selector;
pub mod validate;
