//! The gate's transitions, as data. The gate carries them out, tests enumerate them, and
//! `docs/reference/rollout-gate.md` is made from them.

pub use super::reasons::{
    AFTER_COMPLETION, AT_STEP, ENVIRONMENT, REVERTED, REVERTING, TRANSIENT, WITHOUT_EVIDENCE, goes_on_by_itself,
    is_held, wants,
};
use super::reasons::{BY_REQUEST, CLOSED, STABLE_FAILS};
pub use super::transition::{Effect, Guard, Reasons, Row, Wants};
use crate::api::gate::GateState::{
    self, AwaitingApproval, Baking, Held, NotGated, Restored, Restoring, Reverted, Rolling, Stable,
};

const ALL: &[GateState] = &[Stable, Rolling, Baking, AwaitingApproval, Held, Restoring, Restored, Reverted, NotGated];
const UNDER_WAY: &[GateState] = &[Rolling, Baking, AwaitingApproval];
const JUDGED: &[GateState] = &[Rolling, Baking, AwaitingApproval, Held];
const WITH_RECORD: &[GateState] = &[Rolling, Baking, AwaitingApproval, Held, Restoring, Restored, Reverted];
const PAUSED: &[GateState] = &[Baking, AwaitingApproval, Held, Restoring, Restored];

const fn row(
    from: &'static [GateState],
    guard: Guard,
    to: GateState,
    reason: &'static str,
    effect: Effect,
    sentence: &'static str,
) -> Row {
    Row { from, with: Reasons::Any, guard, to: Some(to), reason, effect, sentence }
}

const fn stay(from: &'static [GateState], guard: Guard, sentence: &'static str) -> Row {
    Row { from, with: Reasons::Any, guard, to: None, reason: "", effect: Effect::None, sentence }
}

const fn only(with: &'static [&'static str], row: Row) -> Row {
    Row { with: Reasons::In(with), ..row }
}

const fn except(without: &'static [&'static str], row: Row) -> Row {
    Row { with: Reasons::Except(without), ..row }
}

/// The transitions, in the order in which they are tried; the first that fits is taken, one per look.
pub const TABLE: &[Row] = &[
    // What was begun is finished first.
    stay(PAUSED, Guard::PausePending, "The pause is being written."),
    stay(&[Stable, Rolling, Baking, NotGated, Reverted], Guard::ResumePending, "The pause is being ended."),
    // Whether there is a gate at all.
    row(ALL, Guard::GatingOff, NotGated, "", Effect::Ungate, "Rollouts are not gated: {off}."),
    row(
        ALL,
        Guard::Recreate,
        NotGated,
        "Recreate",
        Effect::Ungate,
        "Rollouts are not gated: with the strategy Recreate all pods are replaced at once.",
    ),
    row(
        ALL,
        Guard::ForeignPods,
        NotGated,
        "AdoptedPods",
        Effect::Ungate,
        "Rollouts are not gated: pods that the selector matches belong to something else, so they cannot be counted.",
    ),
    row(
        &[Baking, AwaitingApproval, Held, Restoring, Restored, Reverted],
        Guard::UnpausedByOther,
        NotGated,
        "Overridden",
        Effect::Override,
        "Somebody resumed the Deployment: this version is let pass, and is not held again.",
    ),
    row(
        ALL,
        Guard::PausedByOther,
        NotGated,
        "PausedByUser",
        Effect::YieldPause,
        "Rollouts are not gated: somebody else paused the Deployment.",
    ),
    row(
        &[Stable, Rolling, Baking, AwaitingApproval, Reverted, NotGated],
        Guard::NoReplicas,
        NotGated,
        "NoReplicas",
        Effect::Ungate,
        "Rollouts are not gated while no replicas are wanted.",
    ),
    // The template moved.
    except(
        &[BY_REQUEST],
        row(
            &[Rolling, Baking, AwaitingApproval, Held, Restoring, Restored],
            Guard::TemplateIsStable,
            Stable,
            "Returned",
            Effect::EndAtStable,
            "The template is the proven one again.",
        ),
    ),
    only(
        &[REVERTED],
        row(
            &[Reverted],
            Guard::RevertComplete,
            Stable,
            "Proven",
            Effect::Prove,
            "All pods run the stable application again.",
        ),
    ),
    row(&[NotGated], Guard::TemplateIsStable, Stable, "Proven", Effect::EndAtStable, "The template is the proven one."),
    row(
        &[NotGated],
        Guard::CompleteUngated,
        Stable,
        "Proven",
        Effect::Prove,
        "All pods run this version and are available.",
    ),
    only(&["Overridden", "StableBroken"], stay(&[NotGated], Guard::Overridden, "This version is let pass.")),
    row(
        &[NotGated],
        Guard::Overridden,
        NotGated,
        "Overridden",
        Effect::None,
        "This version is let pass, and is not held again.",
    ),
    row(
        &[NotGated],
        Guard::NothingProven,
        NotGated,
        "NothingProven",
        Effect::None,
        "Rollouts are gated once a first version is complete; there is nothing to compare with, or to go back to.",
    ),
    except(
        &[BY_REQUEST],
        row(
            WITH_RECORD,
            Guard::NewAndRejected,
            Held,
            "RejectedVersion",
            Effect::Begin,
            "This version was rejected before ({rejected}); it is held at once.",
        ),
    ),
    except(
        &[BY_REQUEST],
        row(
            WITH_RECORD,
            Guard::NewAndFrozen,
            Held,
            "BudgetSpent",
            Effect::Begin,
            "The error budget is spent; new rollouts are held.",
        ),
    ),
    except(
        &[BY_REQUEST],
        row(WITH_RECORD, Guard::NewVersion, Rolling, "Rolling", Effect::Begin, "Another version is being let in."),
    ),
    row(
        &[Stable, NotGated],
        Guard::NewAndRejected,
        Held,
        "RejectedVersion",
        Effect::Begin,
        "This version was rejected before ({rejected}); it is held at once.",
    ),
    row(
        &[Stable, NotGated],
        Guard::NewAndFrozen,
        Held,
        "BudgetSpent",
        Effect::Begin,
        "The error budget is spent; new rollouts are held.",
    ),
    row(&[Stable, NotGated], Guard::NewVersion, Rolling, "Rolling", Effect::Begin, "A new version is being let in."),
    // People.
    row(
        &[Stable, Rolling, Baking, AwaitingApproval],
        Guard::AskedHold,
        Held,
        "ByRequest",
        Effect::None,
        "Held because somebody asked for it.",
    ),
    row(
        &[AwaitingApproval],
        Guard::AskedApprove,
        Rolling,
        "StepPassed",
        Effect::PassStep,
        "Step {step} of {steps} was approved.",
    ),
    except(
        &[REVERTED],
        row(
            &[Held, Restoring, Restored, Reverted],
            Guard::AskedRetry,
            Rolling,
            "Retried",
            Effect::Retry,
            "Somebody asked to try this version again.",
        ),
    ),
    only(
        &[BY_REQUEST],
        row(
            &[Held],
            Guard::AskedResumeOfRejected,
            Held,
            "RejectedVersion",
            Effect::Begin,
            "This version was rejected before ({rejected}); it is held at once.",
        ),
    ),
    only(
        &[BY_REQUEST],
        row(
            &[Held],
            Guard::AskedResumeWhileFrozen,
            Held,
            "BudgetSpent",
            Effect::Begin,
            "The error budget is spent; new rollouts are held.",
        ),
    ),
    only(
        &[BY_REQUEST],
        row(&[Held], Guard::AskedResumeOwnHold, Rolling, "Released", Effect::None, "Somebody ended the hold."),
    ),
    except(
        &[REVERTED],
        row(
            &[Held, Restoring, Restored, Reverted, Baking, AwaitingApproval],
            Guard::AskedResume,
            NotGated,
            "Overridden",
            Effect::Override,
            "Somebody asked to let this version pass; it is not held again.",
        ),
    ),
    row(
        UNDER_WAY,
        Guard::AskedSkip,
        Rolling,
        "StepsSkipped",
        Effect::SkipSteps,
        "Somebody asked to skip the steps that were left.",
    ),
    // Evidence.
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstButStableBroken,
            NotGated,
            "StableBroken",
            Effect::Override,
            "Most pods of the stable version fail, and fewer of this one ({evidence}): it is let pass.",
        ),
    ),
    only(
        &["Step", "Approval"],
        row(
            &[Baking, AwaitingApproval],
            Guard::StableBroken,
            Rolling,
            "StepsSkipped",
            Effect::SkipSteps,
            "The stable version is broken; this one is not stopped.",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstEnvironment,
            Held,
            "Environment",
            Effect::None,
            "Held: {evidence}; the stable version shows the same ({rule}).",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstUnknown,
            Held,
            "Undecided",
            Effect::None,
            "Held: {evidence}; it cannot be told whether the version is to blame ({rule}).",
        ),
    ),
    except(CLOSED, row(JUDGED, Guard::AgainstHold, Held, "Failing", Effect::Reject, "Held: {evidence} ({rule}).")),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstTwice,
            Held,
            "AlreadyTakenBack",
            Effect::Reject,
            "Held: {evidence}; this version was taken back once, which is not repeated.",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstNoStable,
            Held,
            "NoStableRevision",
            Effect::Reject,
            "Held: {evidence}; the stable ReplicaSet is gone, so the capacity cannot be handed back.",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstRevertInVain,
            Held,
            "NothingToRevert",
            Effect::Reject,
            "Held: {evidence}; only fields of the policy differ from the stable version, so there is nothing to write back.",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstWorseStable,
            Held,
            "StableBroken",
            Effect::Reject,
            "Held: {evidence}; but the stable version would have fewer ready pods than there are now.",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstRevert,
            Reverted,
            "Reverting",
            Effect::TakeBack,
            "The stable template is written back: {evidence} ({rule}).",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstSaturated,
            Held,
            "Regressed",
            Effect::Reject,
            "Held: {evidence}; the version is whole and all available, so there is nothing to hand back.",
        ),
    ),
    except(
        CLOSED,
        row(
            JUDGED,
            Guard::AgainstRestore,
            Restoring,
            "Restoring",
            Effect::TakeBack,
            "The capacity is handed back to the stable version: {evidence} ({rule}).",
        ),
    ),
    only(
        TRANSIENT,
        row(
            &[Held],
            Guard::ClearAtStep,
            Baking,
            "Step",
            Effect::None,
            "Nothing speaks against the version any more; it bakes at step {step} of {steps}.",
        ),
    ),
    only(
        TRANSIENT,
        row(
            &[Held],
            Guard::Clear,
            Rolling,
            "EvidenceCleared",
            Effect::None,
            "Nothing has spoken against the version for 30 s; it goes on.",
        ),
    ),
    only(
        &["BudgetSpent"],
        row(
            &[Held],
            Guard::BudgetBack,
            Rolling,
            "BudgetBack",
            Effect::None,
            "The error budget allows new rollouts again.",
        ),
    ),
    // Steps.
    only(
        &["Step", "Approval"],
        row(
            &[Baking, AwaitingApproval],
            Guard::StepWithoutPods,
            Rolling,
            "TemplateEdited",
            Effect::None,
            "Fields of the policy changed in the template: the step begins anew with its pods.",
        ),
    ),
    row(
        &[Rolling],
        Guard::StepReached,
        Baking,
        "Step",
        Effect::None,
        "Step {step} of {steps} is reached: the new version has {pods} of the {asked} pods asked for.",
    ),
    row(
        &[Rolling],
        Guard::Complete,
        Baking,
        "AfterCompletion",
        Effect::MarkComplete,
        "Every pod runs the new version; it is watched for {after} s more.",
    ),
    only(
        &[AT_STEP],
        row(
            &[Baking],
            Guard::BakedManual,
            AwaitingApproval,
            "Approval",
            Effect::None,
            "Step {step} of {steps} has baked and waits for approval.",
        ),
    ),
    only(
        &[AT_STEP],
        row(
            &[Baking],
            Guard::BakedAtNext,
            Baking,
            "Step",
            Effect::PassStep,
            "The pods of step {step} of {steps} are there already; they bake again.",
        ),
    ),
    only(
        &[AT_STEP],
        row(
            &[Baking],
            Guard::Baked,
            Rolling,
            "StepPassed",
            Effect::PassStep,
            "Step {step} of {steps} has baked; the rollout goes on.",
        ),
    ),
    only(
        &[AFTER_COMPLETION],
        row(&[Baking], Guard::BakedAfter, Stable, "Proven", Effect::Prove, "The new version is complete and proven."),
    ),
    // Handing back.
    row(
        &[Restoring],
        Guard::Saturated,
        Held,
        "Regressed",
        Effect::None,
        "Held: the version became whole and all available meanwhile, so there is nothing to hand back.",
    ),
    row(
        &[Restoring],
        Guard::StableGone,
        Held,
        "NoStableRevision",
        Effect::None,
        "Held: the stable ReplicaSet is gone, so the capacity cannot be handed back.",
    ),
    row(
        &[Restoring],
        Guard::CapacityBack,
        Restored,
        "Restored",
        Effect::EndRestored,
        "The stable version has the whole capacity; the template still names the rejected one, and a corrected one rolls out by itself.",
    ),
    row(
        &[Restoring],
        Guard::StuckOnBroken,
        Held,
        STABLE_FAILS,
        Effect::None,
        "Held: pods of the stable version fail too, so no more capacity is handed back until they do not.",
    ),
    only(
        &[STABLE_FAILS],
        row(
            &[Held],
            Guard::Freed,
            Restoring,
            "Restoring",
            Effect::None,
            "Pods of the stable version do not fail any more: handing back goes on.",
        ),
    ),
    row(
        &[Restoring],
        Guard::Blocked,
        Held,
        "RestoreBlocked",
        Effect::None,
        "Held: every change of sizes would go below the ready pods that the strategy asks for, or be undone by the Deployment controller.",
    ),
    row(
        &[Restored],
        Guard::CandidateBack,
        Restoring,
        "CandidateBack",
        Effect::None,
        "Pods of the rejected version are back after a scale from zero; the capacity is handed back again.",
    ),
    only(
        &[REVERTING],
        row(
            &[Reverted],
            Guard::StableGone,
            Held,
            "NoStableRevision",
            Effect::None,
            "Held: the stable ReplicaSet is gone, so its template cannot be written back.",
        ),
    ),
    only(
        &[REVERTING],
        row(
            &[Reverted],
            Guard::RevertRefused,
            Held,
            "RevertRefused",
            Effect::KeepNotTaken,
            "Held: the stable template was refused: {refused}",
        ),
    ),
    only(
        &[REVERTING],
        row(
            &[Reverted],
            Guard::TemplateReverted,
            Reverted,
            REVERTED,
            Effect::EndReverted,
            "The stable application's template is in place.",
        ),
    ),
];
