//! Reasons of states, and what a state of a reason asks for.

use super::transition::Wants;
use crate::api::gate::GateState::{
    self, AwaitingApproval, Baking, Held, NotGated, Restored, Restoring, Reverted, Rolling, Stable,
};
use crate::api::gate::{EvidenceClass, GateStatus};

/// What a state wants.
pub fn wants(state: GateState, reason: &str) -> Wants {
    match state {
        Baking if reason == AFTER_COMPLETION => Wants::Flow,
        Baking | AwaitingApproval | Held | Restoring | Restored => Wants::Pause,
        Reverted if reason == REVERTING => Wants::Revert,
        Stable | Rolling | NotGated | Reverted => Wants::Flow,
    }
}

/// Whether a version is stopped in this state, as people count it: held, or its capacity taken back.
pub fn is_held(state: GateState) -> bool {
    matches!(state, Held | Restoring | Restored)
}

/// Whether it is held for something that may pass.
pub(super) fn is_transient(gate: &GateStatus) -> bool {
    gate.state == Held && TRANSIENT.contains(&gate.reason.as_str())
}

/// Whether the gate paused a rollout that is to go on, or back, without anything new in the template: at a step, for what
/// may pass, or on the way back. Not where the policy's own probes may be what holds it.
pub fn goes_on_by_itself(gate: &GateStatus) -> bool {
    match gate.state {
        Baking => gate.reason == AT_STEP,
        AwaitingApproval | Restoring => true,
        Held => is_transient(gate) && !may_be_for_probes(gate),
        _ => false,
    }
}

/// Whether a probe can have made what the version is held for, or no pods are left that would be replaced.
fn may_be_for_probes(gate: &GateStatus) -> bool {
    use EvidenceClass::{LivenessKilled, NotReadyInTime, ReadyFlapping, RestartedAfterReady, StartupFailed};
    let by_probes = [NotReadyInTime, ReadyFlapping, LivenessKilled, StartupFailed, RestartedAfterReady];
    gate.evidence.iter().any(|one| by_probes.contains(&one.class))
        || gate.rollout.as_ref().is_some_and(|record| record.complete)
}

/// Reason of the bake after completion.
pub const AFTER_COMPLETION: &str = "AfterCompletion";
/// Reason of a bake at a step.
pub const AT_STEP: &str = "Step";
/// Reason while the stable template is not in place yet.
pub const REVERTING: &str = "Reverting";
/// Reason once it is.
pub const REVERTED: &str = "Reverted";
/// Reasons of holds that end by themselves.
pub const TRANSIENT: &[&str] = &[ENVIRONMENT, "Undecided"];
/// Reason of a hold for a failure that both versions show.
pub const ENVIRONMENT: &str = "Environment";
/// Reasons of holds in which evidence is not looked at any more.
pub(super) const CLOSED: &[&str] = &[
    BY_REQUEST,
    "RejectedVersion",
    "BudgetSpent",
    "Regressed",
    "AlreadyTakenBack",
    "NoStableRevision",
    STABLE_FAILS,
    "RestoreBlocked",
    "NothingToRevert",
    "RevertRefused",
];
/// Reasons of holds that pods did not cause.
pub const WITHOUT_EVIDENCE: &[&str] = &[BY_REQUEST, "RejectedVersion", "BudgetSpent"];
/// Reason of a hold in the middle of handing back.
pub(super) const STABLE_FAILS: &str = "StableFails";
/// Reason of a person's hold.
pub(super) const BY_REQUEST: &str = "ByRequest";
