//! Checks on the pod, the Deployment and what surrounds it.

use serde_json::Value;

use crate::api::HealthPolicySpec;
use crate::core::plan::findings::{Finding, Reason};
use crate::core::plan::probe_view::PreStopView;
use crate::core::plan::rollout::NO_DEADLINE;
use crate::core::plan::surroundings::Surroundings;
use crate::core::plan::targets::{Targets, main_container};
use crate::core::plan::timings::{effective_grace, is_unknown_hook, of_rollout, scale};
use crate::core::plan::workload::Workload;

/// Grace period from which on a Recreate rollout is a long outage.
const LONG_RECREATE_GRACE: i64 = 60;

/// Proxies that applications reach the network through.
const PROXIES: [&str; 8] = [
    "istio-proxy",
    "linkerd-proxy",
    "envoy",
    "envoy-sidecar",
    "consul-dataplane",
    "kuma-sidecar",
    "cloud-sql-proxy",
    "cloudsql-proxy",
];

pub(super) fn lint(
    policy: Option<&HealthPolicySpec>,
    targets: &Targets<'_>,
    workload: &Workload<'_>,
    surroundings: &Surroundings,
    findings: &mut Vec<Finding>,
) {
    shape(workload, surroundings, findings);
    deadline(policy, workload, findings);
    readiness_gates(workload, findings);
    mesh(targets, workload, findings);
    around(workload, surroundings, findings);
}

fn add(findings: &mut Vec<Finding>, reason: Reason, message: String) {
    findings.push(Finding::new(reason, "", message));
}

fn shape(workload: &Workload<'_>, surroundings: &Surroundings, findings: &mut Vec<Finding>) {
    let replicas = workload.replicas();
    let grace = effective_grace(workload);
    if workload.is_recreate() {
        if grace > LONG_RECREATE_GRACE {
            let message = format!(
                "The strategy is Recreate and the grace period {grace} s: a rollout may serve nothing for that long before it even starts new pods."
            );
            add(findings, Reason::GraceVersusRecreate, message);
        }
    } else if replicas > 0 {
        let (_, unavailable) = workload.stride();
        if unavailable >= replicas {
            let message = format!("maxUnavailable comes to {unavailable} of {replicas} replicas.");
            add(findings, Reason::MaxUnavailableAll, message);
        }
    }
    if replicas == 1 && surroundings.autoscalers.is_empty() {
        add(findings, Reason::SingleReplica, "The Deployment has one replica.".into());
    }
}

fn deadline(policy: Option<&HealthPolicySpec>, workload: &Workload<'_>, findings: &mut Vec<Finding>) {
    let deadline = workload.deadline_after;
    // With a rollout section the plan has raised it already, by the section's own patience.
    let raised = policy.is_some_and(|policy| policy.rollout.is_some());
    let step = of_rollout(workload).step_seconds;
    if !raised && deadline != NO_DEADLINE && deadline <= step {
        let message = format!(
            "progressDeadlineSeconds is {deadline}, and a new pod may take {step} s to become available, scheduling and image pull not counted."
        );
        add(findings, Reason::DeadlineBelowStep, message);
    }
}

fn readiness_gates(workload: &Workload<'_>, findings: &mut Vec<Finding>) {
    let gates = workload.root.pointer("/spec/template/spec/readinessGates").and_then(Value::as_array);
    let names: Vec<&str> =
        gates.into_iter().flatten().filter_map(|gate| gate.get("conditionType").and_then(Value::as_str)).collect();
    if !names.is_empty() {
        let message = format!("No new pod becomes ready without {}.", names.join(", "));
        add(findings, Reason::ReadinessGateOwner, message);
    }
}

/// Only regular containers: a native sidecar stops after the main ones by itself.
fn mesh(targets: &Targets<'_>, workload: &Workload<'_>, findings: &mut Vec<Finding>) {
    let main = main_container(workload).map(|container| container.name).unwrap_or_default();
    let drains = |name: &str, hook: Option<PreStopView<'_>>| {
        (targets.contains(name) || name == main) && hook.is_some_and(|hook| hook.sleep() != Some(0))
    };
    let draining = workload.regular().find(|container| drains(container.name, container.pre_stop()));
    let Some(draining) = draining else { return };
    let needed = draining.sleep().unwrap_or(0);
    for proxy in workload.regular().filter(|each| each.name != draining.name && PROXIES.contains(&each.name)) {
        if !is_unknown_hook(proxy) && proxy.sleep().unwrap_or(0) < needed.max(1) {
            let message = format!(
                "The proxy {} stops at once or too soon, while {} still drains through it.",
                proxy.name, draining.name
            );
            findings.push(Finding::new(Reason::MeshOrdering, proxy.name, message));
        }
    }
}

fn around(workload: &Workload<'_>, surroundings: &Surroundings, findings: &mut Vec<Finding>) {
    let replicas = workload.replicas();
    for budget in &surroundings.budgets {
        let name = &budget.name;
        // Both percentages round up (Kubernetes documentation of PodDisruptionBudget).
        let minimum = scale(budget.min_available.as_ref(), replicas, true);
        let blocked = minimum.is_some_and(|minimum| minimum >= replicas)
            || scale(budget.max_unavailable.as_ref(), replicas, true) == Some(0);
        if replicas > 0 && blocked {
            let message = format!("PodDisruptionBudget {name} allows no eviction with {replicas} replicas.");
            add(findings, Reason::PdbBlocksDrain, message);
            continue;
        }
        for autoscaler in &surroundings.autoscalers {
            let least = autoscaler.min_replicas;
            let minimum = scale(budget.min_available.as_ref(), least, true);
            if least > 0 && minimum.is_some_and(|minimum| minimum >= least) {
                let message = format!(
                    "PodDisruptionBudget {name} allows no eviction when {} is at its minimum of {least} replicas.",
                    autoscaler.name
                );
                add(findings, Reason::PdbVersusHpaMin, message);
            }
        }
    }
    for autoscaler in surroundings.autoscalers.iter().filter(|autoscaler| autoscaler.min_replicas <= 1) {
        let message = format!("{} may go down to {} replicas.", autoscaler.name, autoscaler.min_replicas);
        add(findings, Reason::HpaMinOne, message);
    }
}
