//! The `gracekeeper` binary: arguments in, exit code out, nothing else.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use gracekeeper::cli::{Cli, Command};
use gracekeeper::commands;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Plan(args) => return commands::plan::main(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Crd => commands::crd::yaml().map_err(Into::into).and_then(|yaml| print(&yaml)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gracekeeper", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Version => print(&format!("gracekeeper {}\n", env!("CARGO_PKG_VERSION"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            if error.is::<commands::run::WrongFlag>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Writes to standard output; a closed pipe is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
