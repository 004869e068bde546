//! Policy + Deployment -> plan: what to change, what to tell, and what follows for the timings.
//!
//! Works on raw JSON and writes by JSON Patch, so that fields which this version does not know survive wherever they
//! are. A plan is total: a mistake of a user becomes a [`Finding`], never an error. It is deterministic: same input,
//! same bytes. And it converges: a second plan on the result is empty.
//!
//! Reading order: [`field`] (what can be set), `targets` (which containers), `wants` (which values), `settle` (keep,
//! fill, replace or give back), `shutdown` and `rollout` (the arithmetic), `patch` (how it is written), `lint`.

mod declared;
mod describe;
mod draft;
pub mod field;
pub mod findings;
mod ledger;
mod lint;
mod normal;
mod patch;
mod probe_view;
mod rollout;
mod settle;
mod shutdown;
mod start;
mod status;
pub mod surroundings;
mod targets;
#[cfg(test)]
mod tests;
pub mod timings;
mod unseen;
mod unsupported;
mod wants;
mod workload;

use serde_json::Value;

pub use declared::declared_hash;
pub use field::Field;
pub use findings::{Finding, Reason};
pub(crate) use ledger::is_original;
pub use start::{Killers, Start, start, stride};
pub use surroundings::{Autoscaler, DisruptionBudget, Surroundings};
pub use timings::RolloutTimings;
pub use unseen::rode_along;

use crate::api::workload_health::{ContainerTimings, FindingStatus, HeldField, PlanStatus};
use crate::api::{HealthPolicySpec, MARKER_ANNOTATION};
use crate::core::canonical;
use draft::Draft;
use ledger::Ledger;
use patch::{Guards, MarkerWrite};
use targets::Targets;
use workload::Workload;

/// Entries of one field that are kept in the ledger besides the one to come.
const LEAVING_LIMIT: usize = 2;
/// Entries that the schema lets the ledger hold.
const LEDGER_LIMIT: usize = 256;

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The policy that owns the Deployment. None lets go of everything that is ours. The mode is not looked at: whether
    /// a plan is written is the caller's business.
    pub policy: Option<&'a HealthPolicySpec>,
    /// The Deployment's raw JSON, a live object or a manifest; the pod template may be a projection.
    pub deployment: &'a Value,
    /// What `WorkloadHealth.status.heldFields` says we hold.
    pub held: &'a [HeldField],
    /// What is known around the Deployment.
    pub surroundings: &'a Surroundings,
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Container, empty for a field of the pod or the Deployment.
    pub container: String,
    /// Field.
    pub field: Field,
    /// JSON pointer of the field.
    pub path: String,
    /// The value now; None when absent.
    pub from: Option<Value>,
    /// The value to be; None when it is removed.
    pub to: Option<Value>,
    span: Span,
}

/// What a change writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// The field alone.
    Field,
    /// The field's parent, which comes or goes with it.
    WithParent,
}

impl Change {
    /// `container/field`, as in the marker.
    pub fn name(&self) -> String {
        format!("{}/{}", self.container, self.field)
    }

    /// Short form of the value now, without secrets.
    pub fn from_text(&self) -> String {
        describe::describe(self.field, self.from.as_ref())
    }

    /// Short form of the value to be, without secrets.
    pub fn to_text(&self) -> String {
        describe::describe(self.field, self.to.as_ref())
    }

    fn container_path(&self) -> Option<String> {
        if self.container.is_empty() {
            return None;
        }
        self.path.strip_suffix(self.field.path()).map(Into::into)
    }
}

/// What to do to one Deployment, and what to say of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Fields that change, in the order of their paths.
    pub changes: Vec<Change>,
    /// Findings, the most severe first.
    pub findings: Vec<Finding>,
    /// Timings of the containers as they will be: those that the policy speaks of first.
    pub timings: Vec<ContainerTimings>,
    /// Timings of a rollout as it will be.
    pub rollout: RolloutTimings,
    /// The ledger after the write. Store it only together with the write, or when there is nothing to write.
    pub held: Vec<HeldField>,
    /// The marker after the write; empty when there is none.
    pub marker: String,
    guards: Guards,
    /// Ledger entries that may be true now and will not be after the write.
    leaving: Vec<HeldField>,
}

/// Makes the plan.
pub fn plan(input: &Input<'_>) -> Plan {
    plan_without(input, &[])
}

/// Makes the plan, but leaves out values that the API server was seen not to store: asking again would never end.
pub fn plan_without(input: &Input<'_>, unsupported: &[HeldField]) -> Plan {
    let Some(mut workload) = Workload::read(input.deployment) else {
        return Plan { held: input.held.to_vec(), ..Plan::default() };
    };
    let annotations = input.deployment.pointer("/metadata/annotations").filter(|value| value.is_object());
    let marker = annotations.and_then(|annotations| annotations.get(MARKER_ANNOTATION));
    let mut draft = Draft::new(Ledger::of(input.held, annotations), unsupported, input.surroundings.rides_along);

    let targets =
        input.policy.map(|policy| Targets::resolve(policy, &workload, &mut draft.plan.findings)).unwrap_or_default();
    draft.containers(input.policy, &targets, &mut workload);
    shutdown::settle(input.policy, &targets, &mut workload, &mut draft);
    rollout::settle(input.policy, &mut workload, &mut draft);

    let Draft { mut plan, stale_marker, ceded, .. } = draft;
    by_slot(&mut plan.held);
    plan.leaving = leaving(input.held, &plan.held);
    plan.guards.uid = workload.uid().map(Into::into);
    set_marker(&mut plan, input.deployment, marker, stale_marker);
    for entry in ceded {
        let is_held = plan.held.iter().any(|held| held.container == entry.container && held.field == entry.field);
        if !is_held && input.policy.is_some() {
            plan.held.push(entry);
        }
    }
    by_slot(&mut plan.held);
    if !plan.is_empty() {
        plan.guards.stale_annotations = ledger::stale_annotations(annotations, &plan.held);
    }
    // In the order of their paths: Deployment, containers by index, init containers, pod.
    plan.changes.sort_by_cached_key(order);

    let (first, rest): (Vec<_>, Vec<_>) = workload.lasting().partition(|container| targets.contains(container.name));
    let containers = first.into_iter().chain(rest);
    plan.timings = containers.map(|container| timings::of_container(&workload, container)).collect();
    plan.rollout = timings::of_rollout(&workload);
    lint::lint(input.policy, &targets, &workload, input.surroundings, &mut plan.findings);
    findings::sort(&mut plan.findings);
    plan
}

fn by_slot(held: &mut [HeldField]) {
    held.sort_by(|one, two| (&one.container, &one.field).cmp(&(&two.container, &two.field)));
}

/// Entries of the ledger that the write makes untrue. Writes that fail again and again, each with another value, must not
/// make the ledger grow: the newest two of a field are enough, one for what is there and one for a write on its way.
fn leaving(before: &[HeldField], after: &[HeldField]) -> Vec<HeldField> {
    let mut leaving: Vec<HeldField> = Vec::new();
    for entry in before.iter().filter(|entry| !after.contains(entry)) {
        let same_field = |each: &&HeldField| each.container == entry.container && each.field == entry.field;
        if leaving.iter().filter(same_field).count() < LEAVING_LIMIT {
            leaving.push(entry.clone());
        }
    }
    leaving.truncate(LEDGER_LIMIT.saturating_sub(after.len()));
    leaving
}

fn order(change: &Change) -> (u8, usize, Field) {
    let index = |list: &str| {
        let rest = change.path.strip_prefix("/spec/template/spec/")?.strip_prefix(list)?.strip_prefix('/')?;
        rest.split('/').next()?.parse::<usize>().ok()
    };
    if let Some(index) = index("containers") {
        return (1, index, change.field);
    }
    match index("initContainers") {
        Some(index) => (2, index, change.field),
        None => (if change.field.is_in_template() { 3 } else { 0 }, 0, change.field),
    }
}

/// A marker that is wrong about a value that is there would make the next plan take a foreign value for ours (or miss
/// ours), so it is put right even when nothing else changes. One that lists fields which are gone harms nobody.
fn set_marker(plan: &mut Plan, deployment: &Value, seen: Option<&Value>, stale: bool) {
    let before = seen.and_then(Value::as_str).unwrap_or_default();
    let after = ledger::marker(&plan.held);
    let due = !plan.changes.is_empty() || !plan.held.is_empty() || stale;
    if !due || before == after {
        plan.marker = before.into();
        return;
    }
    plan.marker = after;
    let annotations = deployment.pointer("/metadata/annotations").and_then(Value::as_object);
    let is_live = plan.guards.uid.is_some();
    plan.guards.marker = match (annotations, seen) {
        (Some(_), Some(seen)) if !plan.marker.is_empty() => Some(MarkerWrite::Set(Some(seen.clone()))),
        (Some(annotations), Some(seen)) if annotations.len() == 1 && !is_live => {
            Some(MarkerWrite::RemoveAnnotations(seen.clone()))
        }
        (Some(_), Some(seen)) => Some(MarkerWrite::Remove(seen.clone())),
        _ if plan.marker.is_empty() => None,
        (Some(_), None) => Some(MarkerWrite::Set(None)),
        (None, _) if deployment.get("metadata").is_none_or(Value::is_null) => Some(MarkerWrite::WithMetadata),
        (None, _) => Some(MarkerWrite::WithAnnotations),
    };
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.guards.marker.is_none()
    }

    /// Whether the write changes the pod template and so starts a rollout.
    pub fn restarts_pods(&self) -> bool {
        self.changes.iter().any(|change| change.field.is_in_template())
    }

    /// The minimal JSON Patch, guarded by `test` operations; empty when the plan is.
    pub fn patch(&self) -> json_patch::Patch {
        patch::build(self)
    }

    /// The Deployment after the patch. An error when the guards do not fit that Deployment.
    pub fn apply_to(&self, deployment: &Value) -> Result<Value, json_patch::PatchError> {
        patch::apply(&self.patch(), deployment)
    }

    /// What of the plan is stored in status.
    pub fn to_status(&self) -> PlanStatus {
        status::of(self)
    }

    /// The timings that are stored in status.
    pub fn timings_status(&self) -> Vec<ContainerTimings> {
        status::timings(self)
    }

    /// The ledger to store before the write begins: the value before and the value after of each field are both ours,
    /// so that a crash at any moment loses nothing.
    pub fn held_while_writing(&self) -> Vec<HeldField> {
        self.held.iter().chain(&self.leaving).cloned().collect()
    }

    /// Changed fields as `container/field`, in the order of their paths.
    pub fn changed_fields(&self) -> Vec<String> {
        self.changes.iter().map(Change::name).collect()
    }

    /// The changes in one line, without secrets: `app/livenessProbe, /terminationGracePeriodSeconds`.
    pub fn summary(&self) -> String {
        match self.changed_fields() {
            fields if !fields.is_empty() => fields.join(", "),
            _ if self.is_empty() => "nothing to change".into(),
            _ => format!("annotation {MARKER_ANNOTATION}"),
        }
    }

    /// The worst severity of the findings.
    pub fn worst(&self) -> Option<crate::api::workload_health::Severity> {
        self.findings.iter().map(Finding::severity).max()
    }

    /// Hash of what is written: equal for equal patches.
    pub fn hash(&self) -> String {
        canonical::hash(&serde_json::to_value(self.patch()).unwrap_or_default())
    }
}

impl Finding {
    /// The finding as it is stored in status.
    pub fn to_status(&self) -> FindingStatus {
        status::finding(self)
    }
}
