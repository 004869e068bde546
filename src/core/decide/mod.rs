//! Observed -> Decision, for one Deployment. Total: a user's mistake is an outcome with a reason, never an error.

mod outcome;
mod status;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use self::outcome::{Outcome, PendingCause};
use super::contention;
use super::deployment::{Projection, RolloutProgress};
use super::plan::{self, Finding, Plan, Surroundings};
use super::rollout::table;
use crate::api::availability_status::AvailabilityStatus;
use crate::api::gate::{GateState, GateStatus};
use crate::api::workload_health::{Contention, HeldField, TemplateReference};
use crate::api::{HealthPolicySpec, Mode, WorkloadHealthStatus};

/// A policy, as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct PolicyView<'a> {
    /// Name in the Deployment's namespace.
    pub name: &'a str,
    /// Uid.
    pub uid: &'a str,
    /// Generation of its spec.
    pub generation: i64,
    /// Its spec; `None` when the stored object cannot be understood: then nothing is touched.
    pub spec: Option<&'a HealthPolicySpec>,
    /// When its last edit may be acted on; edits that follow one another quickly become one write.
    pub coalesced_at: Timestamp,
}

/// Everything that is known of one Deployment at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Now.
    pub now: Timestamp,
    /// The Deployment.
    pub deployment: &'a Projection,
    /// The policy that owns it, if any.
    pub owner: Option<PolicyView<'a>>,
    /// Names of weaker policies that select it too.
    pub weaker: &'a [String],
    /// What is remembered of it; `None` before the first visit.
    pub health: Option<&'a WorkloadHealthStatus>,
    /// Generation of the WorkloadHealth object, which its conditions speak of.
    pub health_generation: i64,
    /// Whether the policy that last owned it is gone, or on its way.
    pub last_owner_leaves: bool,
    /// PodDisruptionBudgets, autoscalers, observed starts.
    pub surroundings: &'a Surroundings,
    /// Whether one more Deployment may be rolled now.
    pub slot_free: bool,
    /// The plan that the API server refused a short while ago.
    pub refusal: Option<RefusedPlan<'a>>,
    /// Field manager of the writer that set our values back, once it was looked up.
    pub rival: Option<&'a str>,
    /// What the rollout gate remembers after this look.
    pub gate: &'a GateStatus,
    /// What is measured of its availability; `None` when its policy does not ask for it, or not yet.
    pub availability: Option<&'a AvailabilityStatus>,
}

/// A plan that the API server refused.
#[derive(Clone, Copy, Debug)]
pub struct RefusedPlan<'a> {
    /// Hash of the plan: another plan is tried at once.
    pub hash: &'a str,
    /// What the server said.
    pub finding: &'a Finding,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing beyond the status.
    None,
    /// Write the plan to the Deployment.
    Write(Box<Plan>),
    /// Another writer set our values back: find out its name, then decide again with `rival`.
    NameRival,
    /// Nothing governs the Deployment and nothing of ours is left in it: forget it.
    Forget,
}

/// What is to be done, why, and what people are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// Why; its reason and sentence go to the log, the condition and the event alike.
    pub outcome: Outcome,
    /// The status to store, as far as it is known before the action. `None` when there is nothing to remember.
    pub status: Option<WorkloadHealthStatus>,
    /// When to look again even if nothing happens.
    pub look_again: Option<SignedDuration>,
}

/// Time between two looks while we wait for something that sends no event.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Decides.
pub fn decide(observed: &Observed<'_>) -> Decision {
    if observed.deployment.deleting {
        // Its WorkloadHealth goes with it: the garbage collector follows the owner reference.
        return Decision { action: Action::None, outcome: Outcome::Deleting, status: None, look_again: None };
    }
    let deployment = observed.deployment.value();
    let held = observed.health.map(|h| h.held_fields.as_slice()).unwrap_or_default();
    let leaves = !held.is_empty() && observed.last_owner_leaves;
    match observed.owner {
        Some(owner) => match owner.spec {
            Some(spec) if spec.mode == Mode::Enforce => enforce(observed, &deployment, owner, spec),
            _ if leaves => release(observed, &deployment),
            Some(spec) if spec.mode == Mode::Audit => audit(observed, &deployment, owner, spec),
            Some(_) => untouched(observed, owner, Outcome::Suspended { policy: owner.name.into() }),
            None => untouched(observed, owner, Outcome::PolicyInvalid { policy: owner.name.into() }),
        },
        None => release(observed, &deployment),
    }
}

fn input<'a>(
    observed: &Observed<'a>,
    deployment: &'a Value,
    policy: Option<&'a HealthPolicySpec>,
    held: &'a [HeldField],
) -> plan::Input<'a> {
    plan::Input { policy, deployment, held, surroundings: observed.surroundings }
}

fn held<'a>(observed: &Observed<'a>) -> &'a [HeldField] {
    observed.health.map(|h| h.held_fields.as_slice()).unwrap_or_default()
}

/// Nothing owns it any more: give back what was replaced, take out what was filled.
fn release(observed: &Observed<'_>, deployment: &Value) -> Decision {
    let Some(health) = observed.health else {
        return Decision { action: Action::None, outcome: Outcome::NotGoverned, status: None, look_again: None };
    };
    let plan = plan::plan(&input(observed, deployment, None, &health.held_fields));
    if plan.is_empty() && observed.gate.paused_by_us.is_none() {
        return Decision { action: Action::Forget, outcome: Outcome::Released, status: None, look_again: None };
    }
    // A release may not wait for a rollout to settle: a policy on its way out must not hang on a broken Deployment.
    if plan.restarts_pods() && !observed.slot_free {
        let outcome = Outcome::Pending { cause: PendingCause::Slot, policy: String::new() };
        let status = Some(status::releasing(observed, health, &outcome));
        return Decision { action: Action::None, outcome, status, look_again: Some(LOOK_AGAIN) };
    }
    if let Some(refusal) = refused(observed, &plan) {
        let outcome = Outcome::Refused { finding: refusal.clone() };
        let status = Some(status::releasing(observed, health, &outcome));
        return Decision { action: Action::None, outcome, status, look_again: None };
    }
    let status = Some(status::releasing(observed, health, &Outcome::Releasing));
    Decision { action: Action::Write(Box::new(plan)), outcome: Outcome::Releasing, status, look_again: None }
}

fn untouched(observed: &Observed<'_>, owner: PolicyView<'_>, outcome: Outcome) -> Decision {
    let status = status::untouched(observed, owner, &outcome);
    Decision { action: Action::None, outcome, status: Some(status), look_again: None }
}

fn audit(observed: &Observed<'_>, deployment: &Value, owner: PolicyView<'_>, spec: &HealthPolicySpec) -> Decision {
    let plan = plan::plan(&input(observed, deployment, Some(spec), held(observed)));
    let outcome = match plan.blocking_finding() {
        Some(finding) => Outcome::Blocked { finding: finding.clone(), changes: plan.changes.len() },
        None if plan.is_empty() => Outcome::InSync,
        None => Outcome::Planned { changes: plan.changes.len(), restarts_pods: plan.restarts_pods() },
    };
    // The ledger is kept as it is: an audit writes nothing, so what we hold does not change.
    let ledger = held(observed).to_vec();
    let status = status::planned(observed, owner, &plan, &outcome, ledger);
    Decision { action: Action::None, outcome, status: Some(status), look_again: None }
}

fn enforce(observed: &Observed<'_>, deployment: &Value, owner: PolicyView<'_>, spec: &HealthPolicySpec) -> Decision {
    let unsupported = observed.health.map(|h| h.unsupported.as_slice()).unwrap_or_default();
    let plan = plan::plan_without(&input(observed, deployment, Some(spec), held(observed)), unsupported);

    let contention = match reversal(observed, &plan) {
        None => observed.health.and_then(|h| h.contention.clone()),
        Some(field) => match observed.rival {
            None => {
                let outcome = Outcome::Contended { manager: String::new(), field };
                return Decision { action: Action::NameRival, outcome, status: None, look_again: None };
            }
            Some(manager) => {
                let seen =
                    contention::Reversal { manager: manager.into(), field, generation: observed.deployment.generation };
                let before = observed.health.and_then(|h| h.contention.as_ref());
                Some(contention::after_reversal(before, seen, observed.now))
            }
        },
    };
    let (action, outcome, look_again) = write_or_wait(observed, owner, &plan, contention.as_ref());

    // What stands in the ledger is what we hold now; after a write it is what the plan holds (`after_write`).
    let ledger = if plan.is_empty() { plan.held.clone() } else { held(observed).to_vec() };
    let mut status = status::planned(observed, owner, &plan, &outcome, ledger);
    if outcome != Outcome::InSync {
        status.contention = contention;
    }
    if plan.is_empty() {
        status::note_landed(&mut status, observed.deployment.generation);
    }
    Decision { action, outcome, status: Some(status), look_again }
}

/// Whether, and when, the plan is written. The order of the checks is the order of what people should hear first.
fn write_or_wait(
    observed: &Observed<'_>,
    owner: PolicyView<'_>,
    plan: &Plan,
    contention: Option<&Contention>,
) -> (Action, Outcome, Option<SignedDuration>) {
    let pending = |cause: PendingCause| Outcome::Pending { cause, policy: owner.name.into() };
    let restarts = plan.restarts_pods();
    if plan.is_empty() {
        let outcome = match plan.blocking_finding() {
            Some(finding) => Outcome::Blocked { finding: finding.clone(), changes: 0 },
            None => Outcome::InSync,
        };
        return (Action::None, outcome, None);
    }
    if observed.now < owner.coalesced_at {
        let wait = owner.coalesced_at.duration_since(observed.now);
        return (Action::None, pending(PendingCause::Coalescing), Some(wait));
    }
    if let Some(contention) = contention.filter(|c| contention::stopped(Some(c), observed.now)) {
        let wait = contention.retry_after.as_ref().map(|retry| retry.0.duration_since(observed.now));
        let outcome = Outcome::Contended { manager: contention.manager.clone(), field: contention.field.clone() };
        return (Action::None, outcome, wait);
    }
    if let Some(refusal) = refused(observed, plan) {
        return (Action::None, Outcome::Refused { finding: refusal.clone() }, None);
    }
    if restarts && observed.deployment.rollout == RolloutProgress::Moving {
        // The Deployment's own events wake us.
        return (Action::None, pending(PendingCause::Rollout), None);
    }
    // Pods that are watched would be of another template: of one that has none before a pause ends, or in the last bake of
    // one whose faults would be taken for the application's.
    let is_watched = match observed.deployment.rollout {
        RolloutProgress::Paused => table::goes_on_by_itself(observed.gate),
        RolloutProgress::Settled => observed.gate.state == GateState::Baking,
        RolloutProgress::Moving | RolloutProgress::Stuck => false,
    };
    if restarts && is_watched {
        return (Action::None, pending(PendingCause::Rollout), None);
    }
    if restarts && !observed.slot_free {
        return (Action::None, pending(PendingCause::Slot), Some(LOOK_AGAIN));
    }
    let outcome = Outcome::Enforcing { changes: plan.changes.len(), restarts_pods: restarts };
    (Action::Write(Box::new(plan.clone())), outcome, None)
}

fn refused<'a>(observed: &Observed<'a>, plan: &Plan) -> Option<&'a Finding> {
    observed.refusal.filter(|refusal| refusal.hash == plan.hash()).map(|refusal| refusal.finding)
}

/// The first field that held our value after our last write, holds another one now, and is to be set again. It counts
/// once per write of ours.
fn reversal(observed: &Observed<'_>, plan: &Plan) -> Option<String> {
    let health = observed.health?;
    let written = health.last_write.as_ref()?.generation;
    let counted = health.contention.as_ref().map_or(0, |c| c.generation);
    if written <= counted {
        return None;
    }
    plan.changes.iter().find(|change| change.reverses(&health.held_fields)).map(plan::Change::name)
}

/// Status to store before a write, so that a crash at any moment loses neither an original nor what is ours. `None`
/// when nothing can be lost: fields that were absent are known by the marker, which travels in the write itself.
pub fn intent(decision: &Decision, observed: &Observed<'_>) -> Option<WorkloadHealthStatus> {
    let Action::Write(plan) = &decision.action else { return None };
    let known = held(observed);
    let while_writing = plan.held_while_writing();
    let is_safe = |field: &HeldField| {
        let is_first = !known.iter().any(|k| k.container == field.container && k.field == field.field);
        known.contains(field) || is_first && field.original.is_none()
    };
    let needs = while_writing.iter().any(|field| !is_safe(field));
    needs.then(|| status::intended(decision.status.clone().unwrap_or_default(), plan, observed.now))
}

/// What to do and to remember after a write that the API server answered with `stored`.
pub fn after_write(observed: &Observed<'_>, plan: &Plan, stored: &Projection) -> Decision {
    let dropped = plan.dropped_in(&stored.value());
    let remembered = status::after_write(observed, plan, stored, dropped);
    let next = Observed { deployment: stored, health: Some(&remembered), slot_free: false, refusal: None, ..*observed };
    let mut decision = decide(&next);
    if matches!(decision.action, Action::Write(_) | Action::NameRival) {
        decision.action = Action::None; // one write per look
        decision.status.get_or_insert(remembered);
    }
    decision
}

/// What to remember when a dry run shows that the server would not store some values: they are left out from now on.
pub fn after_dry_run(observed: &Observed<'_>, plan: &Plan, answer: &Value) -> Option<WorkloadHealthStatus> {
    let dropped = plan.dropped_in(answer);
    let mut health = observed.health.cloned().unwrap_or_default();
    (!dropped.is_empty()).then(|| {
        status::remember_unsupported(&mut health, dropped);
        health
    })
}

/// The template, by its hashes.
fn template_of(deployment: &Projection) -> TemplateReference {
    TemplateReference {
        hash: deployment.template_hash.to_string(),
        app_hash: deployment.app_hash.to_string(),
        generation: deployment.generation,
    }
}

#[cfg(test)]
mod tests;
