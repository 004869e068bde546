//! Claims about the repository itself: generated files are up to date, the core is pure, the chart fits the code.
//! `UPDATE=1 cargo test --test repository` rewrites what is generated.

mod repository {
    pub(crate) mod architecture;
    pub(crate) mod generated;
}
