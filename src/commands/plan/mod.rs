//! `gracekeeper plan`: what policies would do to Deployments, from files, without a cluster.

mod human;
mod input;
mod machine;
mod report;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

pub use input::BadInput;
pub use report::Report;

use crate::api::workload_health::Severity;

/// Arguments of `gracekeeper plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// File, folder (read recursively: *.yaml, *.yml, *.json) or - for standard input; policies, Deployments,
    /// PodDisruptionBudgets, HorizontalPodAutoscalers and WorkloadHealths together.
    #[arg(short = 'f', long = "filename", required = true, value_name = "PATH")]
    pub filename: Vec<String>,

    /// Namespace of objects that name none.
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: String,

    /// Output format; the default is a diff with findings and timings for people.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Diff)]
    pub output: Output,

    /// Least severity of a finding that makes the exit status 1; changes do so too, unless it is `never`.
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,
}

/// Output formats.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Diff, findings and timings of each Deployment.
    Diff,
    /// One line for each Deployment.
    Table,
    /// Everything, for programs.
    Json,
    /// The same as YAML.
    Yaml,
    /// The JSON Patches alone.
    Patch,
}

/// Which findings make the exit status 1.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warning,
    /// All findings.
    Info,
    /// None, and no changes either.
    Never,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to change, and no finding at the level of `--fail-on`.
    Clean,
    /// Changes, or findings at the level of `--fail-on`.
    Work,
    /// Something could not be read; nothing was planned.
    BadInput,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Clean => 0,
            Outcome::Work => 1,
            Outcome::BadInput => 2,
        })
    }
}

/// The command: standard streams in, exit code out.
pub fn main(args: &PlanArgs) -> ExitCode {
    let (mut out, mut err) = (anstream::stdout().lock(), anstream::stderr().lock());
    match run(args, &mut io::stdin().lock(), &mut out, &mut err) {
        Ok(outcome) => outcome.into(),
        // A pager that is closed early is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "error: {error}");
            Outcome::BadInput.into()
        }
    }
}

/// Reads, plans and prints. `stdin` is read only when a file name is `-`. Colours are written always: the writers
/// strip them where nobody can see them (`anstream`).
pub fn run(args: &PlanArgs, stdin: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let objects = match input::read(&args.filename, &args.namespace, stdin) {
        Ok(objects) => objects,
        Err(problems) => {
            for problem in &problems {
                writeln!(err, "error: {problem}")?;
            }
            return Ok(Outcome::BadInput);
        }
    };
    let report = Report::of(&objects);
    match args.output {
        Output::Diff => human::write(&report, out)?,
        Output::Table => human::write_table(&report, out)?,
        Output::Json => machine::write_json(&machine::document(&report), out)?,
        Output::Patch => machine::write_json(&machine::patches(&report), out)?,
        Output::Yaml => machine::write_yaml(&machine::document(&report), out)?,
    }
    let least = match args.fail_on {
        FailOn::Never => return Ok(Outcome::Clean),
        FailOn::Error => Severity::Error,
        FailOn::Warning => Severity::Warning,
        FailOn::Info => Severity::Info,
    };
    let failing = report.workloads.iter().any(|workload| workload.changes() || workload.plan.worst() >= Some(least));
    Ok(if failing { Outcome::Work } else { Outcome::Clean })
}
