//! `gracekeeper run`: logs, then the operator.

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, RunArgs};
use crate::controller;

/// Runs the operator until it is told to stop.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let settings = args.settings().map_err(anyhow::Error::msg)?;
    // A bare level is meant for our own lines; of the libraries only warnings are of interest.
    let is_bare = args.log_level.chars().all(char::is_alphabetic);
    let directives = if is_bare { format!("warn,gracekeeper={}", args.log_level) } else { args.log_level.clone() };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| anyhow::anyhow!("--log-level {:?} is not understood: {error}", args.log_level))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Text => logs.with_target(false).init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(controller::run(settings))?;
    Ok(())
}
