//! TEMP
#[derive(clap::Args, Debug)]
pub struct PlanArgs {}
pub fn main(_: &PlanArgs) -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
