//! The screen as text.

use std::fmt::Write;

use anstyle::Style;
use jiff::Timestamp;

use super::super::style::{self, BOLD, CYAN, Cell, DIM, GREEN, PLAIN, RED, YELLOW, counted, heads, printable};
use super::next;
use super::screen::{Mark, Screen};
use crate::api::gate::{GateState, GateStatus, Outcome};

/// Rollouts of the past that are shown.
const HISTORY: usize = 5;
/// Pods that are shown.
const PODS: usize = 40;

/// The screen as text with colours.
pub(super) fn render(screen: &Screen) -> String {
    let mut text = String::new();
    heading(screen, &mut text);
    revisions(screen, &mut text);
    pods(screen, &mut text);
    if let Some(gate) = &screen.gate {
        evidence(screen, gate, &mut text);
        rejected(screen, gate, &mut text);
        history(screen, gate, &mut text);
    }
    text
}

fn heading(screen: &Screen, out: &mut String) {
    let replicas = screen.replicas;
    let paused = if screen.paused { format!("  {YELLOW}paused{YELLOW:#}") } else { String::new() };
    field(
        out,
        "Deployment",
        &format!(
            "{BOLD}{}/{}{BOLD:#}  {} of {} ready, {} available, {} updated{paused}",
            printable(&screen.namespace),
            printable(&screen.name),
            replicas.ready,
            replicas.wanted,
            replicas.available,
            replicas.updated
        ),
    );
    let Some(policy) = &screen.policy else {
        field(out, "Policy", "none: no HealthPolicy governs this Deployment, or the operator does not run");
        return;
    };
    field(out, "Policy", &format!("{} ({:?})", printable(&policy.name), policy.mode));
    if let Some(compliant) = &screen.compliant {
        let style = if compliant.status == "True" { GREEN } else { YELLOW };
        let findings = match screen.findings {
            0 => "no findings".into(),
            1 => "1 finding".into(),
            count => format!("{count} findings"),
        };
        let message = if compliant.status == "True" { String::new() } else { printable(&compliant.message) };
        let reason = printable(&compliant.reason);
        field(out, "Compliant", format!("{style}{reason}{style:#}, {findings}  {message}").trim_end());
    }
    shutdown(screen, out);
    if let Some(gate) = &screen.gate {
        let style = colour(gate.state);
        let reason = if gate.reason.is_empty() { String::new() } else { format!(" ({})", printable(&gate.reason)) };
        let since = gate.since.as_ref().map_or_else(String::new, |since| format!("  for {}", age(screen, since.0)));
        field(out, "Gate", &format!("{style}{BOLD}{:?}{BOLD:#}{style:#}{reason}{DIM}{since}{DIM:#}", gate.state));
        if !gate.message.is_empty() {
            field(out, "", &printable(&gate.message));
        }
    }
    if let Some(step) = next::step(screen) {
        field(out, "Step", &step);
    }
    let asked = screen.request.as_ref().filter(|request| {
        let is_done = screen.gate.as_ref().is_some_and(|gate| gate.applied_requests.contains(&request.id));
        !is_done && request.template_hash == screen.template_hash
    });
    if let Some(request) = asked {
        field(out, "Asked", &format!("{:?}; the operator has not taken it up yet", request.action));
    }
    field(out, "Next", &format!("{CYAN}{}{CYAN:#}", next::next(screen)));
}

/// How pods went, what that advises, and what is wrong.
fn shutdown(screen: &Screen, out: &mut String) {
    let Some(seen) = &screen.shutdown else { return };
    let pods = |count: i32| counted(usize::try_from(count).unwrap_or(0), "pod", "pods");
    let mut parts = Vec::new();
    if let Some(millis) = seen.removal_millis {
        let (seconds, tenths) = (millis / 1000, millis % 1000 / 100);
        parts.push(format!("out of its Services in {seconds}.{tenths}s at most ({})", pods(seen.observed_removals)));
    }
    if let Some(seconds) = seen.finish_seconds {
        parts.push(format!("finished in {seconds}s at most ({})", pods(seen.observed_ends)));
    }
    if seen.observed_kills > 0 {
        let after = seen.killed_after_seconds.unwrap_or(0);
        parts.push(format!("{RED}killed after {after}s{RED:#} ({})", pods(seen.observed_kills)));
    }
    field(out, "Shutdown", &parts.join(", "));
    let advice = [("drainSeconds", seen.advised_drain_seconds), ("finishSeconds", seen.advised_finish_seconds)];
    let advice: Vec<String> =
        advice.iter().filter_map(|(name, seconds)| Some(format!("{name} {}", (*seconds)?))).collect();
    if !advice.is_empty() {
        field(out, "", &format!("advised: {}", advice.join(", ")));
    }
    for finding in &screen.shutdown_findings {
        field(out, "", &format!("{YELLOW}{}{YELLOW:#}", printable(finding)));
    }
}

fn revisions(screen: &Screen, out: &mut String) {
    let mut rows = vec![heads(&["REVISION", "", "REPLICAS", "READY", "AVAILABLE"])];
    // Empty old ones are history of the Deployment controller, not of this rollout.
    for row in screen.revisions.iter().filter(|row| row.mark != Mark::Old || row.replicas > 0) {
        let (style, mark) = match row.mark {
            Mark::StableAndCurrent => (GREEN, "stable, current"),
            Mark::Stable => (GREEN, "stable"),
            Mark::Current => (CYAN, "current"),
            Mark::Old => (DIM, "old"),
        };
        let number = |number: u32| (PLAIN, number.to_string());
        rows.push(vec![
            (PLAIN, row.name.clone()),
            (style, mark.into()),
            number(row.replicas),
            number(row.ready),
            number(row.available),
        ]);
    }
    table(out, &rows);
}

fn pods(screen: &Screen, out: &mut String) {
    let mut rows = vec![heads(&["POD", "REVISION", "READY", "RESTARTS", "STATE"])];
    for pod in screen.pods.iter().take(PODS) {
        let style = match pod.state.as_str() {
            "Running" if pod.ready_containers == pod.containers => GREEN,
            "Running" | "Pending" | "Terminating" | "Succeeded" => YELLOW,
            _ => RED,
        };
        let message = if pod.message.is_empty() { String::new() } else { format!(": {}", pod.message) };
        rows.push(vec![
            (PLAIN, pod.name.clone()),
            (PLAIN, pod.revision.clone()),
            (PLAIN, format!("{}/{}", pod.ready_containers, pod.containers)),
            (if pod.restarts > 0 { YELLOW } else { PLAIN }, pod.restarts.to_string()),
            (style, format!("{}{message}", pod.state)),
        ]);
    }
    table(out, &rows);
    let more = screen.pods.len().saturating_sub(PODS);
    if more > 0 {
        let _ = writeln!(out, "  {DIM}and {more} more{DIM:#}");
    }
}

fn evidence(screen: &Screen, gate: &GateStatus, out: &mut String) {
    let mut rows = vec![heads(&["EVIDENCE", "PODS", "SUCH AS", "FIRST SEEN", "MESSAGE"])];
    for one in &gate.evidence {
        let container = if one.container.is_empty() { String::new() } else { format!("/{}", one.container) };
        rows.push(vec![
            (RED, format!("{:?}", one.class)),
            (PLAIN, one.pods.to_string()),
            (PLAIN, format!("{}{container}", one.pod)),
            (DIM, format!("{} ago", age(screen, one.first_seen.0))),
            (PLAIN, one.message.clone()),
        ]);
    }
    table(out, &rows);
    if let Some(blame) = &gate.blame {
        let _ = writeln!(out, "  {BOLD}Blame: {:?}{BOLD:#}, {}", blame.verdict, printable(&blame.rule));
    }
}

fn rejected(screen: &Screen, gate: &GateStatus, out: &mut String) {
    let mut rows = vec![heads(&["REJECTED TEMPLATE", "REASON", "WHEN", ""])];
    for one in gate.rejected.iter().rev() {
        let is_current = one.version.template_hash == screen.template_hash;
        rows.push(vec![
            (PLAIN, one.version.template_hash.clone()),
            (RED, one.reason.clone()),
            (DIM, format!("{} ago", age(screen, one.time.0))),
            (YELLOW, if is_current { "the present template".into() } else { String::new() }),
        ]);
    }
    table(out, &rows);
}

fn history(screen: &Screen, gate: &GateStatus, out: &mut String) {
    let mut rows = vec![heads(&["HISTORY", "OUTCOME", "REASON", "BEGAN", "TOOK", "WORST"])];
    for past in gate.history.iter().rev().take(HISTORY) {
        let style = match past.outcome {
            Outcome::Completed => GREEN,
            Outcome::Restored | Outcome::Reverted | Outcome::Held => RED,
            Outcome::Superseded | Outcome::Overridden | Outcome::Ungated => YELLOW,
        };
        let worst = past.worst_ready.zip(past.worst_of);
        rows.push(vec![
            (PLAIN, past.version.template_hash.clone()),
            (style, format!("{:?}", past.outcome)),
            (PLAIN, past.reason.clone()),
            (DIM, format!("{} ago", age(screen, past.started.0))),
            (PLAIN, style::duration(past.seconds)),
            (PLAIN, worst.map_or_else(|| "-".into(), |(ready, of)| format!("{ready} of {of} ready"))),
        ]);
    }
    table(out, &rows);
}

fn colour(state: GateState) -> Style {
    match state {
        GateState::Stable => GREEN,
        GateState::Rolling | GateState::Baking => CYAN,
        GateState::AwaitingApproval | GateState::NotGated | GateState::Restoring => YELLOW,
        GateState::Held | GateState::Restored | GateState::Reverted => RED,
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{DIM}{name:<12}{DIM:#}{value}");
}

/// Columns, after an empty line; a head without rows is not shown.
fn table(out: &mut String, rows: &[Vec<Cell>]) {
    if rows.len() < 2 {
        return;
    }
    out.push('\n');
    style::columns(out, rows);
}

fn age(screen: &Screen, since: Timestamp) -> String {
    style::duration(screen.now.duration_since(since).as_secs())
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
