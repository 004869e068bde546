//! `gracekeeper run`: logs, then the operator.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, RunArgs};
use crate::controller;

/// Flags that do not fit: exit code 2, as for those that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongFlag(pub String);

/// Runs the operator until it is told to stop.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let settings = args.settings().map_err(WrongFlag)?;
    // A bare level is meant for our own lines; of the libraries only warnings are of interest.
    let is_bare = args.log_level.chars().all(char::is_alphabetic);
    if is_bare && !["off", "error", "warn", "info", "debug", "trace"].contains(&args.log_level.as_str()) {
        let known = "off, error, warn, info, debug or trace";
        return Err(WrongFlag(format!("--log-level {:?} is not understood: it is {known}", args.log_level)).into());
    }
    let directives = if is_bare { format!("warn,gracekeeper={}", args.log_level) } else { args.log_level.clone() };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| WrongFlag(format!("--log-level {:?} is not understood: {error}", args.log_level)))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            logs.with_target(false).with_ansi(colour).init();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(controller::run(settings))?;
    Ok(())
}
