//! Claims about the repository itself: generated files are up to date, the core is pure, the chart fits the code.
//! `UPDATE=1 cargo test --test repository` rewrites what is generated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods)] // a test may fail

mod repository {
    pub(crate) mod api_reference;
    pub(crate) mod architecture;
    pub(crate) mod dashboard;
    pub(crate) mod generated;
    pub(crate) mod monitoring;
}
