//! What a policy wants of the fields of one container, as JSON in the minimal form that the policy gives.

use serde::Serialize;
use serde_json::{Value, json};

use super::field::Field;
use super::findings::{Finding, Reason};
use super::probe_view::{Handler, Port, ProbeView};
use super::settle::Want;
use super::targets::Target;
use super::workload::Container;
use crate::api::{HealthPolicySpec, WhenAlreadySet};

/// The wish for one field of one container.
pub(super) fn of(
    policy: &HealthPolicySpec,
    target: Target<'_>,
    container: &Container<'_>,
    field: Field,
    findings: &mut Vec<Finding>,
) -> Want {
    let probes = target.entry.and_then(|entry| entry.probes.as_ref());
    let value = match field {
        Field::LivenessProbe => probes.and_then(|probes| json_of(probes.liveness.as_ref())),
        Field::ReadinessProbe => probes.and_then(|probes| json_of(probes.readiness.as_ref())),
        Field::StartupProbe => probes.and_then(|probes| json_of(probes.startup.as_ref())),
        Field::PreStop => return pre_stop(policy, target, container, findings),
        _ => None,
    };
    wish(policy.when_already_set, value, container, field, findings)
}

fn pre_stop(
    policy: &HealthPolicySpec,
    target: Target<'_>,
    container: &Container<'_>,
    findings: &mut Vec<Finding>,
) -> Want {
    let explicit = json_of(target.entry.and_then(|entry| entry.pre_stop.as_ref()));
    if explicit.is_some() {
        return wish(policy.when_already_set, explicit, container, Field::PreStop, findings);
    }
    match &policy.shutdown {
        // A hook that the workload has is always kept against a mere drain time: it may do more than sleep.
        Some(shutdown) if target.drains && shutdown.drain_seconds > 0 => {
            Want::Fill(json!({"sleep": {"seconds": shutdown.drain_seconds}}))
        }
        _ => Want::Nothing,
    }
}

fn wish(
    when_already_set: WhenAlreadySet,
    value: Option<Value>,
    container: &Container<'_>,
    field: Field,
    findings: &mut Vec<Finding>,
) -> Want {
    let Some(value) = value else { return Want::Nothing };
    if let Some(name) = unknown_port(&value, container) {
        findings.push(unknown_port_finding(container, field, name, "and the policy's value is not written"));
        return Want::Nothing;
    }
    match when_already_set {
        WhenAlreadySet::Keep => Want::Fill(value),
        WhenAlreadySet::Replace => Want::Replace(value),
    }
}

/// A port name of the probe or hook that the container does not have.
pub(super) fn unknown_port<'v>(value: &'v Value, container: &Container<'_>) -> Option<&'v str> {
    match ProbeView(value).handler() {
        Handler::HttpGet { port: Port::Name(name), .. } | Handler::TcpSocket { port: Port::Name(name) } => {
            container.port_named(name).is_none().then_some(name)
        }
        _ => None,
    }
}

pub(super) fn unknown_port_finding(container: &Container<'_>, field: Field, name: &str, so: &str) -> Finding {
    let names = container.port_names();
    let there = if names.is_empty() { "it names none".into() } else { format!("it names {}", names.join(", ")) };
    let message = format!("{field} uses the port {name}, which the container does not have ({there}), {so}.");
    Finding::new(Reason::UnknownPort, container.name, message)
}

fn json_of(value: Option<&impl Serialize>) -> Option<Value> {
    // The API types hold nothing that JSON cannot say.
    value.and_then(|value| serde_json::to_value(value).ok())
}
