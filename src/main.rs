//! The `gracekeeper` binary: arguments in, exit code out, nothing else.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use gracekeeper::cli::{Cli, Command};
use gracekeeper::commands;

fn main() -> ExitCode {
    let command = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli.command,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Some((action, args)) = command.asks() {
        return commands::request::main(action, args);
    }
    let result = match command {
        Command::Status(args) => commands::status::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Leave(args) => commands::leave::run(&args),
        Command::Plan(args) => return commands::plan::main(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Crd => commands::crd::yaml().map_err(Into::into).and_then(|yaml| print(&yaml)),
        Command::Rules(args) => match commands::rules::yaml(&args) {
            Ok(text) => print(&text),
            Err(wrong) => Err(commands::run::WrongFlag(wrong).into()),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gracekeeper", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        // Answered above.
        Command::Approve(_) | Command::Retry(_) | Command::Skip(_) | Command::Hold(_) | Command::Resume(_) => Ok(()),
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
