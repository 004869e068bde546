//! The grace period: long enough for every hook and for what the application needs after SIGTERM.

use serde_json::Value;

use super::draft::{After, Draft};
use super::field::Field;
use super::findings::{Finding, Reason};
use super::ledger::Owner;
use super::normal;
use super::settle::{self, Slot};
use super::targets::Targets;
use super::timings::MINIMUM_STOP_SECONDS;
use super::workload::{DEFAULT_GRACE_SECONDS, Workload};
use crate::api::HealthPolicySpec;

/// Settles `terminationGracePeriodSeconds`, once the hooks are settled.
pub(super) fn settle(
    policy: Option<&HealthPolicySpec>,
    targets: &Targets<'_>,
    workload: &mut Workload<'_>,
    draft: &mut Draft<'_>,
) {
    let field = Field::TerminationGracePeriodSeconds;
    let current = workload.current(field);
    let mut need = policy.and_then(|policy| needed(policy, targets, workload));
    if let (Some(wanted), Some((grace, declarer))) = (need, declared(policy, workload, draft)) {
        need = None;
        if grace < wanted {
            let message = format!(
                "terminationGracePeriodSeconds is declared as {grace} by {declarer} and stays; drain and finish of the policy need {wanted}."
            );
            draft.plan.findings.push(Finding::new(Reason::GraceTooShort, "", message));
        }
    }
    let floor = floor(workload);
    let owner = draft.owner_of_needed(field, current, need.map(|need| need.max(floor)));
    let slot = Slot { field, current, absence: None, owner: owner.clone() };
    let settled = settle::raise(slot, need, DEFAULT_GRACE_SECONDS, floor);
    if let After::Becomes(after) = draft.number(field, current, settled, &owner) {
        workload.grace_after = after.as_ref().and_then(Value::as_i64).unwrap_or(DEFAULT_GRACE_SECONDS);
    }
}

/// The grace period that stays because somebody declares it, and who.
pub(super) fn declared(
    policy: Option<&HealthPolicySpec>,
    workload: &Workload<'_>,
    draft: &Draft<'_>,
) -> Option<(i64, String)> {
    let field = Field::TerminationGracePeriodSeconds;
    let current = workload.current(field)?;
    let is_foreign = draft.owner(field, Some(current)) == Owner::Foreign;
    Some((current.as_i64().filter(|_| is_foreign)?, workload.declarer(policy, field)?))
}

/// The grace period that the policy needs; None when it does not care.
fn needed(policy: &HealthPolicySpec, targets: &Targets<'_>, workload: &Workload<'_>) -> Option<i64> {
    match &policy.shutdown {
        Some(shutdown) if targets.drain() => {
            // A hook of unknown duration (exec, httpGet) is taken to last as long as the drain.
            let hooks = longest_sleep(workload).max(shutdown.drain_seconds);
            Some(hooks.saturating_add(shutdown.finish_seconds).saturating_add(MINIMUM_STOP_SECONDS))
        }
        _ => policy_sleep(targets, workload).map(|sleep| sleep.saturating_add(MINIMUM_STOP_SECONDS)),
    }
}

/// The longest sleep that the policy itself asks for and gets, without a `shutdown` section.
fn policy_sleep(targets: &Targets<'_>, workload: &Workload<'_>) -> Option<i64> {
    let sleeps = workload.lasting().filter_map(|container| {
        let wanted = targets.of(container.name).entry?.pre_stop.as_ref()?;
        let wanted = serde_json::to_value(wanted).ok()?;
        let gets = normal::equal(Field::PreStop, container.after(Field::PreStop), Some(&wanted));
        container.sleep().filter(|_| gets)
    });
    sleeps.max()
}

/// The API server refuses a sleep that is longer than the grace period, in any container, also one after the start.
fn floor(workload: &Workload<'_>) -> i64 {
    let after_start = workload.lasting().filter_map(|container| {
        let hook = container.lifecycle()?.get("postStart")?;
        hook.pointer("/sleep/seconds").and_then(Value::as_i64)
    });
    after_start.max().unwrap_or(0).max(longest_sleep(workload))
}

/// The longest preStop sleep, in any container.
fn longest_sleep(workload: &Workload<'_>) -> i64 {
    workload.lasting().filter_map(super::workload::Container::sleep).max().unwrap_or(0)
}
