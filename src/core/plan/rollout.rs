//! `minReadySeconds`, and a progress deadline that a healthy pod can meet.

use serde_json::{Value, json};

use super::draft::{After, Draft};
use super::field::Field;
use super::ledger::Owner;
use super::settle::{self, Slot, Want};
use super::timings::longest_startup_budget;
use super::workload::{DEFAULT_PROGRESS_DEADLINE_SECONDS, Workload};
use super::{describe, findings};
use crate::api::rollout::Rollout;
use crate::api::{HealthPolicySpec, WhenAlreadySet};

/// The deployment controller takes this for "no deadline".
pub(super) const NO_DEADLINE: i64 = i32::MAX as i64;

/// Settles both fields, once the probes are settled.
pub(super) fn settle(policy: Option<&HealthPolicySpec>, workload: &mut Workload<'_>, draft: &mut Draft<'_>) {
    min_ready(policy, workload, draft);
    deadline(policy, workload, draft);
}

fn min_ready(policy: Option<&HealthPolicySpec>, workload: &mut Workload<'_>, draft: &mut Draft<'_>) {
    let field = Field::MinReadySeconds;
    let current = workload.current(field);
    let owner = draft.owner(field, current);
    let wanted = policy.and_then(|policy| policy.rollout.as_ref()?.min_ready_seconds).map(|seconds| json!(seconds));
    // A declared deadline stays, and the API server wants it greater than this.
    let deadline = Field::ProgressDeadlineSeconds;
    let limit = workload.current(deadline).and_then(Value::as_i64).filter(|_| {
        draft.owner(deadline, workload.current(deadline)) == Owner::Foreign
            && workload.declarer(policy, deadline).is_some()
    });
    let wanted = wanted.filter(|value| limit.is_none_or(|limit| value.as_i64() < Some(limit)));
    let want = match (&wanted, policy.map(|policy| policy.when_already_set)) {
        (Some(value), Some(WhenAlreadySet::Replace)) => Want::Replace(value.clone()),
        (Some(value), _) => Want::Fill(value.clone()),
        (None, _) => Want::Nothing,
    };
    // 0 and absent mean the same; what was written comes back.
    let slot = Slot { field, current, absence: current.cloned(), owner: owner.clone() };
    let settled = settle::settle(slot, want);
    if settled.kept {
        let [own, wanted] = [current, wanted.as_ref()].map(|value| describe::describe(field, value));
        draft.plan.findings.push(findings::kept_existing("", field, &own, &wanted));
    }
    if let After::Becomes(after) = draft.number(field, current, settled, &owner) {
        workload.min_ready_after = after.as_ref().and_then(Value::as_i64).unwrap_or(0);
    }
}

fn deadline(policy: Option<&HealthPolicySpec>, workload: &mut Workload<'_>, draft: &mut Draft<'_>) {
    let rollout = policy.and_then(|policy| policy.rollout.as_ref());
    let field = Field::ProgressDeadlineSeconds;
    let current = workload.current(field);
    let owner = draft.owner(field, current);
    let declared = owner == Owner::Foreign && workload.declarer(policy, field).is_some();
    let need = rollout.filter(|_| !declared).map(|rollout| needed(rollout, workload).min(NO_DEADLINE));
    // The API server demands a deadline greater than minReadySeconds.
    let floor = workload.min_ready_after.saturating_add(1).min(NO_DEADLINE);
    let owner = draft.owner_of_needed(field, current, need.map(|need| need.max(floor)));
    let slot = Slot { field, current, absence: None, owner: owner.clone() };
    let settled = settle::raise(slot, need, DEFAULT_PROGRESS_DEADLINE_SECONDS, floor);
    if let After::Becomes(after) = draft.number(field, current, settled, &owner) {
        workload.deadline_after = after.as_ref().and_then(Value::as_i64).unwrap_or(DEFAULT_PROGRESS_DEADLINE_SECONDS);
    }
}

/// Time that one new pod may rightly take to become available, and one second more.
fn needed(rollout: &Rollout, workload: &Workload<'_>) -> i64 {
    let patience = &rollout.patience;
    let start = match i64::from(patience.start_seconds) {
        0 => longest_startup_budget(workload),
        seconds => seconds,
    };
    i64::from(patience.schedule_seconds)
        .saturating_add(i64::from(patience.pull_seconds))
        .saturating_add(start)
        .saturating_add(workload.min_ready_after.max(0))
        .saturating_add(1)
}
