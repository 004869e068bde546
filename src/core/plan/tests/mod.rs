//! Tests of whole plans.

mod arithmetic;
mod basics;
mod fixtures;
mod generate;
mod laws;
mod lints;
mod seen_to_go;
mod support;
mod targets;
