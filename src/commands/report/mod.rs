//! `gracekeeper report`: availability of each workload over its window.

mod draw;
mod fetch;
mod html;
mod machine;
mod svg;
mod table;
mod words;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::connection::{Connection, WorkloadName, block_on};
use super::run::WrongFlag;
use crate::cli::LeaseArgs;
use crate::controller::clock;
use crate::core::report::{Report, Vigil, report};

/// Reasons for not being measured that are told one by one.
const TOLD: usize = 3;

/// Arguments of `gracekeeper report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Deployments: deploy/NAME, or their names alone; all that a policy governs by default.
    #[arg(value_name = "deploy/NAME", conflicts_with_all = ["all_namespaces", "selector", "policy"])]
    pub workloads: Vec<WorkloadName>,
    /// Namespace; that of the kubeconfig's context by default.
    #[arg(short = 'n', long, conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Labels of the Deployments, such as "tier=web,env!=test".
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Only what this HealthPolicy governs.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Context of the kubeconfig; the current one by default.
    #[arg(long)]
    pub context: Option<String>,
    /// Output format; a table by default.
    #[arg(short = 'o', long, value_enum)]
    pub output: Option<Output>,
    /// Write the picture of the window as an HTML page to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// The same as one SVG image.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// The operator's Lease, which says until when somebody watched.
    #[command(flatten)]
    pub lease: LeaseArgs,
}

/// Output formats.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people, the worst workload first.
    Table,
    /// Everything, for programs.
    Json,
    /// One line for each workload, by RFC 4180.
    Csv,
}

/// A report, and what is to be said about it.
struct Told {
    report: Report,
    /// What it is about: a namespace, or all.
    scope: String,
    /// When somebody watched last, in milliseconds since 1970; `None` when that cannot be told.
    watched_until: Option<i64>,
    /// Sentences on what the figures do not cover.
    notes: Vec<String>,
}

/// The command.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let is_stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    let claims =
        [("--html -", is_stdout(&args.html)), ("--svg -", is_stdout(&args.svg)), ("-o", args.output.is_some())];
    let claims: Vec<&str> = claims.iter().filter(|(_, claims)| *claims).map(|(flag, _)| *flag).collect();
    if let [one, other, ..] = claims[..] {
        return Err(WrongFlag::new(format!(
            "{one} and {other} both write to standard output: give a file for one of them"
        ))
        .into());
    }
    let told = block_on(read(args))?;
    for note in &told.notes {
        let _ = writeln!(anstream::stderr(), "note: {note}");
    }
    let mut shown = None;
    for (path, make) in [(&args.html, html::page as fn(&Told) -> String), (&args.svg, svg::image)] {
        match path {
            None => {}
            Some(path) if path == Path::new("-") => shown = Some(make(&told)),
            Some(path) => {
                std::fs::write(path, make(&told)).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    if let Some(picture) = shown {
        return print(&picture);
    }
    match args.output.unwrap_or(Output::Table) {
        Output::Table => print(&table::render(&told)),
        Output::Json => print(&machine::json(&told)?),
        Output::Csv => print(&machine::csv(&told)?),
    }
}

async fn read(args: &ReportArgs) -> anyhow::Result<Told> {
    let cluster = Connection::open(args.context.as_deref(), args.namespace.as_deref()).await?;
    let subjects = fetch::subjects(&cluster, args).await?;
    let now = clock::now_precise().as_millisecond();
    let vigil = fetch::vigil(&cluster, &args.lease, now).await;
    let report = report(subjects, &vigil, now);
    let scope = if args.all_namespaces { "all namespaces".into() } else { format!("namespace {}", cluster.namespace) };
    let (watched_until, notes) = (watched_until(&vigil), notes(&report, &vigil, &scope));
    Ok(Told { report, scope, watched_until, notes })
}

fn watched_until(vigil: &Vigil) -> Option<i64> {
    match vigil {
        Vigil::Told { last, .. } => Some(*last),
        Vigil::Untold(_) => None,
    }
}

/// What the figures do not cover, in sentences.
fn notes(report: &Report, vigil: &Vigil, scope: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if report.rows.is_empty() && report.unmeasured.is_empty() {
        notes.push(format!("no WorkloadHealth in {scope} was selected: a HealthPolicy must govern a Deployment first"));
        return notes;
    }
    match vigil {
        Vigil::Untold(why) => {
            notes.push(format!("the figures are as of the last stored change of each workload: {why}"));
        }
        Vigil::Told { is_watching: false, last, .. } => notes
            .push(format!("no operator has watched since {}: the time since then is unknown", words::moment(*last))),
        Vigil::Told { .. } => {}
    }
    let unmeasured = &report.unmeasured;
    if !unmeasured.is_empty() {
        let some: Vec<String> = unmeasured
            .iter()
            .take(TOLD)
            .map(|one| format!("{}/{} ({})", one.namespace, one.name, one.reason))
            .collect();
        let more = unmeasured.len().saturating_sub(TOLD);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let are = if unmeasured.len() == 1 { "workload is" } else { "workloads are" };
        notes.push(format!("{} {are} not measured: {}{more}", unmeasured.len(), some.join(", ")));
    }
    notes
}

/// To standard output; a pager that is closed early is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
