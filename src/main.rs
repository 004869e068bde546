//! The `gracekeeper` binary.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gracekeeper::commands::plan::{self, PlanArgs};

#[derive(Parser)]
#[command(name = "gracekeeper", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what policies would do to Deployments, from files, without a cluster
    Plan(PlanArgs),
}

fn main() -> ExitCode {
    let Command::Plan(args) = Cli::parse().command;
    let (mut out, mut err) = (anstream::stdout().lock(), anstream::stderr().lock());
    match plan::run(&args, &mut io::stdin().lock(), &mut out, &mut err) {
        Ok(outcome) => outcome.into(),
        // The reader of a pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}
