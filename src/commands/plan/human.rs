//! Output for people: diff, findings with remedy, timings, and one line at the end.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::super::style::{BOLD, CYAN, DIM, GREEN, PLAIN, RED, YELLOW, counted};
use super::report::{Report, Workload};
use crate::api::Mode;
use crate::api::workload_health::Severity;
use crate::core::plan::timings::NOTICE_SECONDS;

/// Lines of context around a change.
const CONTEXT: usize = 2;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for workload in &report.workloads {
        heading(workload, out)?;
        if workload.changes() {
            diff(workload, out)?;
        }
        findings(workload, out)?;
        timings(workload, out)?;
        writeln!(out)?;
    }
    last_line(report, out)
}

pub(super) fn write_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut table = plain_table();
    table.set_header([
        "NAMESPACE",
        "NAME",
        "POLICY",
        "MODE",
        "CHANGES",
        "RESTARTS PODS",
        "ERRORS",
        "WARNINGS",
        "INFOS",
    ]);
    for workload in &report.workloads {
        let of =
            |severity| workload.plan.findings.iter().filter(|each| each.severity() == severity).count().to_string();
        let changes = if workload.changes() { workload.plan.changes.len() } else { 0 };
        let (policy, mode) = match &workload.policy {
            Some(policy) => (policy.name.clone(), format!("{:?}", policy.mode)),
            None => ("-".into(), "-".into()),
        };
        table.add_row([
            printable(&workload.namespace),
            printable(&workload.name),
            printable(&policy),
            mode,
            changes.to_string(),
            if workload.changes() && workload.plan.restarts_pods() { "yes".into() } else { "no".into() },
            of(Severity::Error),
            of(Severity::Warning),
            of(Severity::Info),
        ]);
    }
    if !report.workloads.is_empty() {
        writeln!(out, "{}\n", trimmed(&table))?;
    }
    last_line(report, out)
}

fn heading(workload: &Workload, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{BOLD}{}/{}{BOLD:#}", printable(&workload.namespace), printable(&workload.name))?;
    let Some(policy) = &workload.policy else {
        return writeln!(out, "  {DIM}no policy selects it{DIM:#}");
    };
    write!(out, "  policy {} ({:?})", printable(&policy.name), policy.mode)?;
    match (workload.changes(), workload.plan.restarts_pods()) {
        (true, true) => write!(out, "  {YELLOW}restarts pods{YELLOW:#}")?,
        (true, false) => write!(out, "  changes, restarts no pods")?,
        (false, _) if policy.mode == Mode::Suspended => write!(out, "  {DIM}suspended, nothing is written{DIM:#}")?,
        (false, _) => write!(out, "  {GREEN}nothing to change{GREEN:#}")?,
    }
    if policy.mode == Mode::Audit && workload.changes() {
        write!(out, "  {DIM}once the mode is Enforce{DIM:#}")?;
    }
    writeln!(out)?;
    if !policy.others.is_empty() {
        let others: Vec<String> = policy.others.iter().map(|name| printable(name)).collect();
        writeln!(out, "  {DIM}also selected by weaker policies: {}{DIM:#}", others.join(", "))?;
    }
    Ok(())
}

fn diff(workload: &Workload, out: &mut dyn Write) -> io::Result<()> {
    let [before, after] = [&workload.before, &workload.after].map(yaml);
    let diff = TextDiff::from_lines(&before, &after);
    for (index, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if index > 0 {
            writeln!(out, "  {CYAN}...{CYAN:#}")?;
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', RED),
                ChangeTag::Insert => ('+', GREEN),
                ChangeTag::Equal => (' ', PLAIN),
            };
            let line = printable(change.value().trim_end_matches('\n'));
            writeln!(out, "  {style}{sign} {line}{style:#}")?;
        }
    }
    Ok(())
}

/// The Deployment as YAML, without what only a server writes.
fn yaml(deployment: &Value) -> String {
    let mut shown = deployment.clone();
    if let Some(map) = shown.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = shown.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    serde_saphyr::to_string(&shown).unwrap_or_else(|_| format!("{shown:#}"))
}

fn findings(workload: &Workload, out: &mut dyn Write) -> io::Result<()> {
    for finding in &workload.plan.findings {
        let (style, severity) = match finding.severity() {
            Severity::Error => (RED, "error"),
            Severity::Warning => (YELLOW, "warning"),
            Severity::Info => (CYAN, "info"),
        };
        let container = match finding.container.as_str() {
            "" => String::new(),
            name => format!(" [{}]", printable(name)),
        };
        writeln!(
            out,
            "  {style}{severity}{style:#} {}{container}: {}",
            finding.reason.as_str(),
            printable(&finding.message)
        )?;
        writeln!(out, "    {DIM}{}{DIM:#}", finding.remedy())?;
    }
    Ok(())
}

fn timings(workload: &Workload, out: &mut dyn Write) -> io::Result<()> {
    let seconds = |value: Option<i64>| value.map_or_else(|| "-".into(), |seconds| format!("{seconds}s"));
    let mut table = plain_table();
    table.set_header([
        "CONTAINER",
        "STARTUP BUDGET",
        "UNREADY AFTER",
        "KILLED AFTER",
        "RESTARTED AFTER",
        "DRAIN",
        "FINISH",
        "GONE AFTER",
    ]);
    for timing in &workload.plan.timings {
        table.add_row([
            printable(&timing.container),
            seconds(timing.startup_budget_seconds),
            seconds(timing.readiness_detection_seconds),
            seconds(timing.liveness_detection_seconds),
            seconds(timing.liveness_restart_seconds),
            drain(timing.drain_seconds),
            seconds(timing.finish_seconds),
            seconds(timing.shutdown_seconds),
        ]);
    }
    if workload.plan.timings.is_empty() {
        return Ok(());
    }
    for line in trimmed(&table).lines() {
        writeln!(out, "  {line}")?;
    }
    let rollout = workload.plan.rollout;
    if rollout.replicas > 0 && rollout.step_seconds > 0 {
        writeln!(
            out,
            "  one rollout step takes up to {}s, the whole rollout up to {}s ({} pods, {} at a time)",
            rollout.step_seconds, rollout.rollout_seconds, rollout.replicas, rollout.pods_per_step
        )?;
    }
    Ok(())
}

/// The sleep lasts as long as it says; SIGTERM comes later than that by as much as the kubelet begins late.
fn drain(sleep: Option<i64>) -> String {
    sleep.map_or_else(|| "-".into(), |sleep| format!("{sleep}-{}s", sleep.saturating_add(NOTICE_SECONDS)))
}

fn last_line(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.ignored > 0 {
        writeln!(
            out,
            "{DIM}{} ignored{DIM:#}",
            counted(report.ignored, "object of another kind", "objects of other kinds")
        )?;
    }
    let summary = report.summary();
    let restarts = if summary.restarting == 1 { "restarts" } else { "restart" };
    let mut findings = counted(summary.findings, "finding", "findings");
    let parts: Vec<String> = [(summary.errors, "error", "errors"), (summary.warnings, "warning", "warnings")]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| counted(count, one, many))
        .collect();
    if !parts.is_empty() {
        findings = format!("{findings} ({})", parts.join(", "));
    }
    let restarting = match summary.restarting {
        0 => String::new(),
        count => format!(" ({count} {restarts} pods)"),
    };
    writeln!(
        out,
        "{BOLD}{}: {} to change{restarting}, {} unchanged; {findings}{BOLD:#}",
        counted(summary.workloads, "Deployment", "Deployments"),
        summary.to_change,
        summary.workloads - summary.to_change,
    )
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Lines without the table's own margins.
fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect();
    lines.join("\n")
}

/// Without control characters: a manifest must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() || *character == '\t').collect()
}
