//! Tests of whole plans.

mod basics;
mod support;
