//! A small shop: what a well-behaved application is to Kubernetes, with switches for everything that goes wrong.
//!
//! `shop serve` answers requests, probes and a health page, and ends gracefully on SIGTERM. `shop load` is a client that
//! counts which requests were lost.

mod clock;
mod health;
mod load;
mod serve;
mod settings;
mod state;

use std::process::ExitCode;

use clap::Parser;

use settings::{Cli, Command};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(settings) => serve::run(settings).await,
        Command::Load(settings) => load::run(settings).await,
    }
}

/// One line for whoever reads the log of the pod.
#[allow(clippy::print_stdout)] // this is the log
pub(crate) fn say(words: &str) {
    println!("{words}");
}
