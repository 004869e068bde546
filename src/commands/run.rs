//! `gracekeeper run`: logs, then the operator.

use std::io::IsTerminal;

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::cli::{LogFormat, RunArgs};
use crate::controller;

/// Flags that do not fit: exit code 2, as for those that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongFlag(pub String);

impl WrongFlag {
    /// What does not fit.
    pub(super) fn new(sentence: String) -> Self {
        Self(sentence)
    }
}

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
    // Spans are for traces: a log line says by itself what it is about.
    let events_only = FilterExt::<Registry>::and(filter, filter_fn(|metadata: &Metadata<'_>| metadata.is_event()));
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            json.with_writer(std::io::stderr).with_filter(events_only).boxed()
        }
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer()
                .with_target(false)
                .with_ansi(colour)
                .with_writer(std::io::stderr)
                .with_filter(events_only)
                .boxed()
        }
    };
    let traces = super::traces::start(&settings.identity).map_err(WrongFlag)?;
    let (layer, guard) = traces.map_or((None, None), |(layer, guard)| (Some(layer), Some(guard)));
    tracing_subscriber::registry().with(logs).with(layer).init();
    if let Some(variable) = super::traces::asked_in_vain() {
        tracing::warn!("{variable} is set, but this build sends no traces; build it with --features otlp");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(controller::run(settings));
    // What was not sent yet goes before the process does.
    drop(guard);
    Ok(result?)
}
