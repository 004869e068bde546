//! Tests of whole plans.

mod arithmetic;
mod basics;
mod fixtures;
mod generate;
mod laws;
mod lints;
mod support;
mod targets;
