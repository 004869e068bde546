//! Behaviour on a real API server with real controllers. `e2e/rig/control-plane` brings one up for the whole binary, or
//! `USE_EXISTING_CLUSTER=true` takes the one in KUBECONFIG. Each test has a namespace and an operator of its own, which
//! runs as the built binary under the chart's own ServiceAccount and roles.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value
)] // a test may fail

use gracekeeper::api; // generated policies come from the planner's own tests

mod support;

mod availability;
mod bad_input;
mod commands;
mod contention;
mod crash_anywhere;
mod enforcing;
mod guards;
mod other_writers;
mod ownership;
mod process;
mod report;
mod ride_along;
mod rights;
mod rollouts;
mod schema;
mod shutdown;
mod survival;
mod traces;
