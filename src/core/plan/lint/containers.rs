//! Checks on the probes and the hook of one container.

use crate::core::plan::field::Field;
use crate::core::plan::findings::{Finding, Reason};
use crate::core::plan::normal;
use crate::core::plan::probe_view::{Handler, Port, ProbeView};
use crate::core::plan::surroundings::Surroundings;
use crate::core::plan::timings::{MINIMUM_STOP_SECONDS, effective_grace, startup_budget};
use crate::core::plan::wants::{unknown_port, unknown_port_finding};
use crate::core::plan::workload::{Container, Workload};

/// Period below which a process per probe is worth a word (EKS best practices: exec probes scale badly).
const HEAVY_EXEC_PERIOD: i64 = 10;
/// Initial delay or detection from which on liveness looks stretched to cover the start.
const STRETCHED_DELAY: i64 = 15;
const STRETCHED_DETECTION: i64 = 90;

pub(super) fn lint(
    workload: &Workload<'_>,
    container: &Container<'_>,
    surroundings: &Surroundings,
    findings: &mut Vec<Finding>,
) {
    let mut add = |reason, message: String| findings.push(Finding::new(reason, container.name, message));
    let [liveness, readiness, startup] = Field::PROBES.map(|field| container.probe(field));

    if let (Some(liveness), Some(readiness)) = (liveness, readiness) {
        let (kills, leaves) = (liveness.detection(), readiness.detection());
        if kills < leaves {
            add(
                Reason::LivenessFasterThanReadiness,
                format!(
                    "Liveness restarts the container after {kills} s at worst, readiness takes the pod out of its Services after {leaves} s."
                ),
            );
        } else if kills == leaves && same_handler(liveness, readiness) {
            add(
                Reason::LivenessEqualsReadiness,
                format!("Liveness and readiness ask the same question and both answer after {kills} s at worst."),
            );
        }
    }
    if let (Some(liveness), None) = (liveness, startup) {
        let (delay, detection) = (liveness.initial_delay(), liveness.detection());
        if delay >= STRETCHED_DELAY || detection >= STRETCHED_DETECTION {
            add(
                Reason::NoStartupProbe,
                format!(
                    "Liveness waits {delay} s and takes up to {detection} s to notice a hang, and there is no startup probe."
                ),
            );
        }
    }
    if let (Some(budget), Some(seen)) = (startup_budget(container), surroundings.longest_start_seconds)
        && seen > budget
    {
        add(
            Reason::StartupBudgetBelowObserved,
            format!("A start took {seen} s, and the probes surely allow only {budget} s."),
        );
    }
    for (field, probe) in Field::PROBES.into_iter().filter_map(|field| Some((field, container.probe(field)?))) {
        of_probe(container, field, probe, findings);
    }
    of_hook(workload, container, findings);
}

fn same_handler(one: ProbeView<'_>, two: ProbeView<'_>) -> bool {
    let handler = |probe: ProbeView<'_>| {
        let mut value = normal::normal(Field::LivenessProbe, Some(probe.0)).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.retain(|_, part| part.is_object());
        }
        value
    };
    handler(one) == handler(two)
}

fn of_probe(container: &Container<'_>, field: Field, probe: ProbeView<'_>, findings: &mut Vec<Finding>) {
    if let Some(name) = unknown_port(probe.0, container) {
        findings.push(unknown_port_finding(container, field, name, "so it will neither pass nor fail, for ever"));
    }
    let mut add = |reason, message: String| findings.push(Finding::new(reason, container.name, message));
    let is_exec = matches!(probe.handler(), Handler::Exec);
    let throttled = container.value.pointer("/resources/limits/cpu").is_some();
    if probe.timeout() <= 1 && (is_exec || throttled && field == Field::LivenessProbe) {
        let why = if is_exec { "it starts a process each time" } else { "the container has a CPU limit" };
        add(Reason::TimeoutTooTight, format!("{field} gives up after 1 s, and {why}."));
    }
    if is_exec && probe.period() < HEAVY_EXEC_PERIOD {
        let period = probe.period();
        add(Reason::ExecProbeHeavy, format!("{field} starts a process in the container every {period} s."));
    }
    match probe.handler() {
        Handler::TcpSocket { .. } if field == Field::ReadinessProbe => add(
            Reason::TcpOnlyProvesPort,
            "Readiness is a TCP connection: it proves that the port is open, not that requests are answered.".into(),
        ),
        Handler::Grpc { port: Port::Number(number), tls: false, .. } => {
            if let Some(name) = tls_port(container, number) {
                add(
                    Reason::GrpcToTlsPort,
                    format!("{field} speaks plaintext gRPC to the port {number}{name}, which looks like TLS."),
                );
            }
        }
        _ => {}
    }
}

/// Whether a port looks like TLS, by its number or by its name.
fn tls_port(container: &Container<'_>, number: i64) -> Option<String> {
    let name = container.port_names().into_iter().find(|name| container.port_named(name) == Some(number));
    let telling =
        name.filter(|name| name.split('-').any(|part| matches!(part, "https" | "tls" | "grpcs" | "mtls" | "ssl")));
    match telling {
        Some(name) => Some(format!(" ({name})")),
        None => matches!(number, 443 | 6443 | 8443 | 9443).then(String::new),
    }
}

fn of_hook(workload: &Workload<'_>, container: &Container<'_>, findings: &mut Vec<Finding>) {
    if let Some(hook) = container.after(Field::PreStop)
        && let Some(name) = unknown_port(hook, container)
    {
        findings.push(unknown_port_finding(container, Field::PreStop, name, "so the hook always fails"));
    }
    let Some(hook) = container.pre_stop() else { return };
    let grace = effective_grace(workload);
    let mut add = |reason, message: String| findings.push(Finding::new(reason, container.name, message));
    if grace == 0 {
        let message = "The grace period is 0: the container is killed at once and its preStop hook never runs.";
        add(Reason::PreStopLongerThanGrace, message.into());
    }
    let Some(sleep) = hook.sleep() else { return };
    if grace > 0 && sleep.saturating_add(MINIMUM_STOP_SECONDS) > grace {
        add(
            Reason::PreStopLongerThanGrace,
            format!("The preStop sleep takes {sleep} s of a grace period of {grace} s: no time is left for SIGTERM."),
        );
    }
    for field in [Field::LivenessProbe, Field::StartupProbe] {
        if let Some(own) = container.probe(field).and_then(ProbeView::grace).filter(|own| *own < sleep) {
            add(
                Reason::DrainCutByLiveness,
                format!("{field} kills with a grace period of {own} s, which cuts off the preStop sleep of {sleep} s."),
            );
        }
    }
}
