//! Joins policies, Deployments and what surrounds them, and plans each Deployment.

use serde_json::Value;

use super::input::{Object, Objects};
use crate::api::workload_health::{HeldField, Severity};
use crate::api::{FILLED_BY_ANNOTATION, HealthPolicy, MARKER_ANNOTATION, Mode};
use crate::core::ownership::{self, Contender, owner};
use crate::core::plan::{Input, Plan, Surroundings, plan};

/// Everything that is printed.
pub struct Report {
    pub(super) workloads: Vec<Workload>,
    pub(super) policies: usize,
    pub(super) ignored: usize,
}

/// One Deployment.
pub(super) struct Workload {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) policy: Option<Policy>,
    pub(super) plan: Plan,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// The policy that owns it.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) mode: Mode,
    /// Policies that select it too, and are weaker.
    pub(super) others: Vec<String>,
}

/// Counts for the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) workloads: usize,
    pub(super) to_change: usize,
    pub(super) restarting: usize,
    pub(super) findings: usize,
    pub(super) errors: usize,
    pub(super) warnings: usize,
}

impl Report {
    /// Plans every Deployment, in the order of namespace and name.
    pub(super) fn of(objects: &Objects) -> Self {
        let mut workloads: Vec<Workload> =
            objects.deployments.iter().map(|deployment| Workload::of(deployment, objects)).collect();
        workloads.sort_by(|one, two| (&one.namespace, &one.name).cmp(&(&two.namespace, &two.name)));
        Self { workloads, policies: objects.policies.len(), ignored: objects.ignored }
    }

    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary { workloads: self.workloads.len(), ..Summary::default() };
        for workload in &self.workloads {
            summary.to_change += usize::from(workload.changes());
            summary.restarting += usize::from(workload.changes() && workload.plan.restarts_pods());
            summary.findings += workload.plan.findings.len();
            let of = |severity| workload.plan.findings.iter().filter(|each| each.severity() == severity).count();
            summary.errors += of(Severity::Error);
            summary.warnings += of(Severity::Warning);
        }
        summary
    }
}

impl Workload {
    fn of(deployment: &Object, objects: &Objects) -> Self {
        let Object { namespace, name, value } = deployment;
        let policies = objects.policies.iter().filter(|(of, _)| of == namespace).map(|(_, policy)| policy);
        let policies = policies.filter(|policy| policy.metadata.deletion_timestamp.is_none());
        let ownership = owner(policies.map(|policy| (contender(policy), policy)), &ownership::labels(value));
        let mut surroundings = Surroundings::default();
        for object in objects.around.iter().filter(|object| object.namespace == *namespace) {
            surroundings.add(value, &object.value);
        }
        let health = objects.health.iter().find(|health| health.namespace == *namespace && health.name == *name);
        let held: Vec<HeldField> = health
            .and_then(|health| health.value.pointer("/status/heldFields"))
            .and_then(|held| serde_json::from_value(held.clone()).ok())
            .unwrap_or_default();

        let spec = ownership.winner.map(|policy| &policy.spec);
        // Without a policy in the files nothing is known of what the cluster's policies hold: lint only.
        let unmarked = spec.is_none().then(|| without_marker(value));
        let before = unmarked.as_ref().unwrap_or(value);
        let held = if spec.is_some() { held.as_slice() } else { &[] };
        let plan = plan(&Input { policy: spec, deployment: before, held, surroundings: &surroundings });
        let after = plan.apply_to(before).unwrap_or_else(|_| before.clone());
        let name_of = |policy: &HealthPolicy| policy.metadata.name.clone().unwrap_or_default();
        let policy = ownership.winner.map(|policy| Policy {
            name: name_of(policy),
            mode: policy.spec.mode,
            others: ownership.losers.iter().map(|policy| name_of(policy)).collect(),
        });
        Self { namespace: namespace.clone(), name: name.clone(), policy, before: before.clone(), after, plan }
    }

    /// Whether the policy would change the Deployment (in Audit mode: once it enforces).
    pub(super) fn changes(&self) -> bool {
        !self.plan.is_empty() && self.policy.as_ref().is_some_and(|policy| policy.mode != Mode::Suspended)
    }
}

fn contender(policy: &HealthPolicy) -> Contender<'_> {
    Contender {
        name: policy.metadata.name.as_deref().unwrap_or_default(),
        priority: policy.spec.priority,
        created: policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
        selector: &policy.spec.selector,
    }
}

fn without_marker(deployment: &Value) -> Value {
    let mut copy = deployment.clone();
    if let Some(annotations) = copy.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| ![MARKER_ANNOTATION, FILLED_BY_ANNOTATION].contains(&key.as_str()));
    }
    copy
}
