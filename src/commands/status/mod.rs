//! `gracekeeper status`: one Deployment's rollout on one screen.

mod fetch;
mod next;
mod render;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::connection::{Connection, Where, block_on};
use screen::Screen;

/// How often the screen is drawn anew.
const PERIOD: Duration = Duration::from_secs(1);
/// Home, and everything cleared: no flicker as with a scroll.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Arguments of `gracekeeper status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Which Deployment.
    #[command(flatten)]
    pub place: Where,
    /// Draw it anew every second; in a pipe, print it again when it changed.
    #[arg(short = 'w', long)]
    pub watch: bool,
    /// Output format; a screen for people by default.
    #[arg(short = 'o', long, value_enum)]
    pub output: Option<Output>,
}

/// Output formats.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Everything, for programs; with --watch one line for each change.
    Json,
}

/// The command.
pub fn run(args: &StatusArgs) -> anyhow::Result<()> {
    match block_on(show(args)) {
        // A pager that is closed early is no error.
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

async fn show(args: &StatusArgs) -> anyhow::Result<()> {
    let cluster = Connection::open(args.place.context.as_deref(), args.place.namespace.as_deref()).await?;
    let name = &args.place.workload.0;
    let clears = args.watch && args.output.is_none() && io::stdout().is_terminal();
    let mut last: Option<Screen> = None;
    loop {
        let screen = match fetch::screen(&cluster, name).await {
            Ok(screen) => screen,
            // An API server that is away for a moment does not end a watch.
            Err(error) if last.is_some() => {
                let _ = writeln!(anstream::stderr(), "error: {error:#}");
                tokio::time::sleep(PERIOD).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if clears || !last.as_ref().is_some_and(|last| last.says_the_same(&screen)) {
            let mut text = match args.output {
                Some(Output::Json) if args.watch => format!("{}\n", serde_json::to_string(&screen)?),
                Some(Output::Json) => format!("{}\n", serde_json::to_string_pretty(&screen)?),
                None => render::render(&screen),
            };
            if args.watch && !clears && args.output.is_none() {
                text.push_str("---\n");
            }
            let clear = if clears { CLEAR } else { "" };
            let mut out = anstream::stdout();
            out.write_all(format!("{clear}{text}").as_bytes())?;
            out.flush()?;
        }
        if !args.watch {
            return Ok(());
        }
        last = Some(screen);
        tokio::time::sleep(PERIOD).await;
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
