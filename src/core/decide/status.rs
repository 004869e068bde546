//! The status of a WorkloadHealth that follows from a decision. A status that says the same as the stored one is equal
//! to it, times included, so that it is not written again.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Observed, Outcome, PolicyView, contention, template_of};
use crate::api::availability_status::AvailabilityStatus;
use crate::api::conditions::{ConditionStatus, ConditionType, Verdict, merge_conditions};
use crate::api::gate::{GateState, GateStatus};
use crate::api::workload_health::{HeldField, LastWrite, PolicyReference};
use crate::api::{Mode, WorkloadHealthStatus};
use crate::core::availability::Cause;
use crate::core::deployment::Projection;
use crate::core::plan::Plan;

/// Generation of a write that is only intended.
const INTENDED: i64 = 0;

/// Status of a Deployment that is planned for.
pub(super) fn planned(
    observed: &Observed<'_>,
    owner: PolicyView<'_>,
    plan: &Plan,
    outcome: &Outcome,
    ledger: Vec<HeldField>,
) -> WorkloadHealthStatus {
    let mut status = base(observed, owner, outcome);
    let shown = plan.to_status();
    status.plan = (!shown.changes.is_empty() || !shown.findings.is_empty()).then_some(shown);
    status.timings = plan.timings_status();
    status.held_fields = ledger;
    if matches!(outcome, Outcome::InSync) {
        status.contention = contention::while_in_sync(status.contention.as_ref(), observed.now);
    }
    status
}

/// Status of a Deployment that is left alone: what was known of it stays.
pub(super) fn untouched(observed: &Observed<'_>, owner: PolicyView<'_>, outcome: &Outcome) -> WorkloadHealthStatus {
    let mut status = base(observed, owner, outcome);
    if let Some(before) = observed.health {
        status.held_fields.clone_from(&before.held_fields);
        status.plan.clone_from(&before.plan);
        status.timings.clone_from(&before.timings);
    }
    status
}

/// Status of a Deployment that is being released: what was known of it stays until it is done.
pub(super) fn releasing(
    observed: &Observed<'_>,
    health: &WorkloadHealthStatus,
    outcome: &Outcome,
) -> WorkloadHealthStatus {
    let verdicts = verdicts(observed, outcome);
    let generation = observed.health_generation;
    let conditions = merge_conditions(&health.conditions, &verdicts, generation, observed.now);
    let gate = Some(observed.gate.clone());
    let availability = observed.availability.cloned();
    WorkloadHealthStatus { observed_generation: Some(generation), conditions, gate, availability, ..health.clone() }
}

/// The status before a write: both values of each field are ours, and the write is only intended.
pub(super) fn intended(mut status: WorkloadHealthStatus, plan: &Plan, now: Timestamp) -> WorkloadHealthStatus {
    status.held_fields = plan.held_while_writing();
    status.last_write = Some(LastWrite { time: Time(now), generation: INTENDED, fields: fields_of(plan) });
    status
}

/// Nothing is left to write. A write that was intended is done then: whoever sent it died, or never got the answer.
pub(super) fn note_landed(status: &mut WorkloadHealthStatus, generation: i64) {
    if let Some(write) = status.last_write.as_mut().filter(|write| write.generation == INTENDED) {
        write.generation = generation;
    }
}

/// What is remembered right after a write.
pub(super) fn after_write(
    observed: &Observed<'_>,
    plan: &Plan,
    stored: &Projection,
    dropped: Vec<HeldField>,
) -> WorkloadHealthStatus {
    let mut status = observed.health.cloned().unwrap_or_default();
    let fields = fields_of(plan);
    status.last_write = Some(LastWrite { time: Time(observed.now), generation: stored.generation, fields });
    status.held_fields = plan.held.iter().filter(|h| !dropped.iter().any(|d| same_slot(h, d))).cloned().collect();
    remember_unsupported(&mut status, dropped);
    status
}

fn fields_of(plan: &Plan) -> Vec<String> {
    plan.changed_fields().into_iter().take(64).collect()
}

/// Adds values that the server did not store; the newest of a field counts.
pub(super) fn remember_unsupported(status: &mut WorkloadHealthStatus, dropped: Vec<HeldField>) {
    for field in dropped {
        status.unsupported.retain(|u| !same_slot(u, &field));
        status.unsupported.push(field);
    }
    let excess = status.unsupported.len().saturating_sub(64);
    status.unsupported.drain(..excess);
}

fn same_slot(a: &HeldField, b: &HeldField) -> bool {
    a.container == b.container && a.field == b.field
}

fn base(observed: &Observed<'_>, owner: PolicyView<'_>, outcome: &Outcome) -> WorkloadHealthStatus {
    let before = observed.health.cloned().unwrap_or_default();
    let verdicts = verdicts(observed, outcome);
    WorkloadHealthStatus {
        observed_generation: Some(observed.health_generation),
        conditions: merge_conditions(&before.conditions, &verdicts, observed.health_generation, observed.now),
        policy: Some(PolicyReference {
            name: owner.name.into(),
            uid: owner.uid.into(),
            generation: owner.generation,
            mode: owner.spec.map_or(Mode::Suspended, |spec| spec.mode),
        }),
        template: Some(template_of(observed.deployment)),
        plan: None,
        timings: Vec::new(),
        held_fields: Vec::new(),
        unsupported: before.unsupported,
        last_write: before.last_write,
        contention: before.contention,
        gate: Some(observed.gate.clone()),
        availability: observed.availability.cloned(),
        shutdown: observed.surroundings.shutdown.clone(),
    }
}

/// What the state of the gate means for the condition `RolloutHealthy`.
fn rollout_healthy(gate: &GateStatus) -> Verdict {
    let status = match gate.state {
        GateState::Stable | GateState::Rolling | GateState::Baking | GateState::AwaitingApproval => {
            ConditionStatus::True
        }
        GateState::Held | GateState::Restoring | GateState::Restored | GateState::Reverted => ConditionStatus::False,
        GateState::NotGated => ConditionStatus::Unknown,
    };
    let reason = if gate.reason.is_empty() { "NotGated".into() } else { gate.reason.clone() };
    Verdict { type_: ConditionType::RolloutHealthy, status, reason: reason.into(), message: gate.message.clone() }
}

fn verdicts(observed: &Observed<'_>, outcome: &Outcome) -> Vec<Verdict> {
    let mut compliant = outcome.compliant();
    if !observed.weaker.is_empty() {
        let names = observed.weaker.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = observed.weaker.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        compliant.message = format!("{} Weaker policies that select it too: {names}{more}.", compliant.message);
    }
    let healthy = rollout_healthy(observed.gate);
    // A version that is stopped is what people have to hear first.
    let available = available(observed.availability);
    let telling = [&healthy, &available].into_iter().find(|one| one.status == ConditionStatus::False);
    let telling = telling.unwrap_or(&compliant);
    let ready = Verdict { type_: ConditionType::Ready, ..telling.clone() };
    vec![compliant, healthy, available, within_budget(observed.availability), ready]
}

/// What the present level means for the condition `Available`.
fn available(measured: Option<&AvailabilityStatus>) -> Verdict {
    let verdict =
        |status, reason: &'static str, message: String| Verdict::new(ConditionType::Available, status, reason, message);
    let Some(measured) = measured else { return not_measured(ConditionType::Available) };
    match (measured.desired, measured.available, measured.enough) {
        (Some(0), ..) => verdict(ConditionStatus::True, "NoReplicas", "No replicas are wanted.".into()),
        (Some(desired), Some(available), Some(enough)) => {
            let cause = if measured.cause.is_empty() { String::new() } else { format!(" ({})", measured.cause) };
            let are = if available == 1 { "is" } else { "are" };
            let what = format!("{available} of {desired} wanted replicas {are} available{cause}");
            if available >= enough {
                verdict(ConditionStatus::True, "MinimumAvailable", format!("{what}."))
            } else {
                verdict(ConditionStatus::False, "BelowMinimum", format!("{what}; at least {enough} must be."))
            }
        }
        _ if measured.cause == Cause::StatusBehind.as_str() => {
            let message = "The Deployment's status does not speak of its newest generation.";
            verdict(ConditionStatus::Unknown, "StatusBehind", message.into())
        }
        _ => verdict(ConditionStatus::Unknown, "NotWatched", "Nobody watched at that time.".into()),
    }
}

/// What the error budget that is left means for the condition `WithinBudget`.
fn within_budget(measured: Option<&AvailabilityStatus>) -> Verdict {
    let Some(measured) = measured else { return not_measured(ConditionType::WithinBudget) };
    let Some(left) = &measured.budget else { return not_measured(ConditionType::WithinBudget) };
    let (objective, days) = (&measured.objective, measured.window_days);
    let promise = format!("objective {objective} % over {days} d");
    let is_spent = left.parse::<f64>().is_ok_and(|left| left <= 0.0);
    let (status, reason, message) = if is_spent {
        let over = left.trim_start_matches('-');
        let over = if over == "0" { String::new() } else { format!(", and {over} % of it more") };
        (ConditionStatus::False, "BudgetSpent", format!("The whole error budget is spent{over} ({promise})."))
    } else {
        (ConditionStatus::True, "BudgetLeft", format!("{left} % of the error budget is left ({promise})."))
    };
    Verdict::new(ConditionType::WithinBudget, status, reason, message)
}

fn not_measured(type_: ConditionType) -> Verdict {
    let message = "Its policy does not ask for a measured availability, or the first look is still to come.";
    Verdict::new(type_, ConditionStatus::Unknown, "NotMeasured", message.to_owned())
}
