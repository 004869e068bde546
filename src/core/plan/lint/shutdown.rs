//! Whether the pods that were seen to go had the time that they needed.

use crate::api::shutdown_status::ShutdownStatus;
use crate::core::plan::findings::{Finding, Reason};
use crate::core::plan::surroundings::Surroundings;
use crate::core::plan::targets::{Targets, main_container};
use crate::core::plan::timings::{effective_grace, finish_time, is_unknown_hook};
use crate::core::plan::workload::{Container, Workload};
use crate::core::shutdown::advice::ENOUGH;

pub(super) fn lint(
    targets: &Targets<'_>,
    workload: &Workload<'_>,
    surroundings: &Surroundings,
    findings: &mut Vec<Finding>,
) {
    let Some(seen) = &surroundings.shutdown else { return };
    let main = main_container(workload).ok().map(|container| container.name);
    // With a hook of unknown duration nobody knows when SIGTERM comes.
    for container in workload.regular().filter(|container| !is_unknown_hook(container)) {
        if targets.contains(container.name) || main == Some(container.name) {
            drain(container, workload, seen, findings);
        }
    }
    finish(workload, seen, findings);
}

/// Only what serves is asked: another container may end at once.
fn drain(container: &Container<'_>, workload: &Workload<'_>, seen: &ShutdownStatus, findings: &mut Vec<Finding>) {
    let sleep = container.sleep().unwrap_or(0).min(effective_grace(workload));
    let (Some(slowest), Some(advised)) = (seen.removal_millis, seen.advised_drain_seconds) else { return };
    if sleep.saturating_mul(1000) < slowest {
        let message = format!(
            "Pods that went stood in their EndpointSlices for up to {}, and SIGTERM may come after {sleep} s: what is sent to them in between is lost. Advised: drainSeconds {advised}.",
            decimal(slowest)
        );
        findings.push(Finding::new(Reason::DrainBelowObserved, container.name, message));
    }
}

/// Evidence of a pod does not say of which container: the one with the least time is held against it.
fn finish(workload: &Workload<'_>, seen: &ShutdownStatus, findings: &mut Vec<Finding>) {
    let grace = effective_grace(workload);
    let known = workload.regular().filter(|container| !is_unknown_hook(container));
    let Some(allowed) = known.map(|container| finish_time(container, grace)).min() else { return };
    if seen.observed_ends.saturating_add(seen.observed_kills) < ENOUGH {
        return;
    }
    let killed = seen.killed_after_seconds.filter(|after| allowed <= *after);
    let Some(advised) = seen.advised_finish_seconds else {
        if let Some(after) = seen.killed_after_seconds {
            let message = format!(
                "Each of the pods that went was killed when its grace period was over, {after} s after SIGTERM: the application does not end by itself."
            );
            findings.push(Finding::new(Reason::SigtermIgnored, "", message));
        }
        return;
    };
    let message = match (killed, seen.finish_seconds.filter(|took| allowed < *took)) {
        (Some(after), _) => format!(
            "Pods that went were killed (exit code 137) {after} s after SIGTERM, before they had finished, and the template gives {allowed} s. Advised: finishSeconds {advised}."
        ),
        (None, Some(took)) => format!(
            "Pods that went took up to {took} s after SIGTERM to finish, and the template gives {allowed} s. Advised: finishSeconds {advised}."
        ),
        (None, None) => return,
    };
    findings.push(Finding::new(Reason::FinishBelowObserved, "", message));
}

/// `0.4 s`, `12 s`.
fn decimal(millis: i64) -> String {
    match millis % 1000 / 100 {
        0 => format!("{} s", millis / 1000),
        tenths => format!("{}.{tenths} s", millis / 1000),
    }
}
