//! What a transition consists of: a guard, an effect, and what the state after it wants.

use crate::api::gate::GateState;

/// A condition on what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// A pause of ours is intended, and not seen yet.
    PausePending,
    /// A pause of ours is to end, and is still seen.
    ResumePending,
    /// The policy does not gate: Audit, Suspended, deleted, no rollout section.
    GatingOff,
    /// The strategy is Recreate.
    Recreate,
    /// Pods of the Deployment were adopted, or taken away by their labels.
    ForeignPods,
    /// A pause of ours was ended by somebody else.
    UnpausedByOther,
    /// Somebody else paused it.
    PausedByOther,
    /// No replicas are wanted.
    NoReplicas,
    /// The template is the proven one.
    TemplateIsStable,
    /// The template carries the proven application, and its rollout is complete.
    RevertComplete,
    /// A person let this version pass, or none is proven yet, and it is complete.
    CompleteUngated,
    /// A person let this version pass.
    Overridden,
    /// No revision is proven yet.
    NothingProven,
    /// Another version than that of the record, and it was rejected before.
    NewAndRejected,
    /// Another version than that of the record, and the error budget is spent (`Freeze`).
    NewAndFrozen,
    /// Another version than that of the record.
    NewVersion,
    /// Hold was asked for.
    AskedHold,
    /// Approve was asked for.
    AskedApprove,
    /// Retry was asked for.
    AskedRetry,
    /// Resume was asked for; meanwhile the template became a version that was rejected before.
    AskedResumeOfRejected,
    /// Resume was asked for; meanwhile the template became another version, and the error budget is spent (`Freeze`).
    AskedResumeWhileFrozen,
    /// Resume was asked for, and nothing else than a person's Hold stops the rollout.
    AskedResumeOwnHold,
    /// Resume was asked for.
    AskedResume,
    /// Skip was asked for.
    AskedSkip,
    /// The stable version is broken.
    StableBroken,
    /// More fails than is tolerated, but the stable version is broken, and worse.
    AgainstButStableBroken,
    /// The evidence speaks against the environment.
    AgainstEnvironment,
    /// The evidence does not say against whom it speaks.
    AgainstUnknown,
    /// The evidence speaks against the version; the policy says Hold.
    AgainstHold,
    /// The evidence speaks against the version, but the stable one would have fewer ready pods than there are now.
    AgainstWorseStable,
    /// The evidence speaks against the version; the policy says Revert, and that can be done.
    AgainstRevert,
    /// The evidence speaks against the version; the policy says Revert, and only policy fields differ.
    AgainstRevertInVain,
    /// The evidence speaks against the version, and it was taken back once.
    AgainstTwice,
    /// The evidence speaks against the version; the stable revision is gone.
    AgainstNoStable,
    /// The evidence speaks against the version; the policy says Restore, and it is whole and all available.
    AgainstSaturated,
    /// The evidence speaks against the version; the policy says Restore, and that can be done.
    AgainstRestore,
    /// Nothing has spoken against the version for 30 s, and a step is reached.
    ClearAtStep,
    /// Nothing has spoken against the version for 30 s.
    Clear,
    /// The error budget allows new rollouts again.
    BudgetBack,
    /// The new version has reached the next step's number of pods.
    StepReached,
    /// Every pod runs the new version and is available.
    Complete,
    /// The bake is over, and the step waits for a person.
    BakedManual,
    /// The bake is over, and the next step's number of pods is reached already.
    BakedAtNext,
    /// The bake is over.
    Baked,
    /// The bake after completion is over.
    BakedAfter,
    /// The capacity is with the stable version.
    CapacityBack,
    /// The new version became whole and all available meanwhile.
    Saturated,
    /// The stable revision is gone.
    StableGone,
    /// The stable version's own pods have failed for as long as a start may take, and nothing else can be moved.
    StuckOnBroken,
    /// The stable version's pods do not fail any more.
    Freed,
    /// A policy edit reached the template while a step paused the rollout: no pods of it exist.
    StepWithoutPods,
    /// The API server refuses the stable template.
    RevertRefused,
    /// No write brings the stable version forward.
    Blocked,
    /// Pods of the rejected version are back: the Deployment was scaled from zero.
    CandidateBack,
    /// The stable template is in place.
    TemplateReverted,
}

/// What a transition does to the memory besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// The record ends: gating stops.
    Ungate,
    /// A pause of somebody else's is not ours; the record ends.
    YieldPause,
    /// The record ends: a person let the version pass.
    Override,
    /// The record ends: another template came. A new one starts.
    Begin,
    /// The record ends; the stable revision stays.
    EndAtStable,
    /// The current revision is proven; the record ends.
    Prove,
    /// One step more is passed.
    PassStep,
    /// All steps are passed.
    SkipSteps,
    /// The version is tried again.
    Retry,
    /// The version is complete.
    MarkComplete,
    /// The version is rejected.
    Reject,
    /// The version is rejected, and the capacity taken back from it.
    TakeBack,
    /// The version stays rejected, but nothing was taken back from it.
    KeepNotTaken,
    /// The record ends: the stable version has the capacity.
    EndRestored,
    /// The record ends: the stable version's template is back.
    EndReverted,
}

/// What the state wants of the Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Paused.
    Pause,
    /// Not paused by us.
    Flow,
    /// Paused, until the stable template is written back: the same write ends the pause.
    Revert,
}

/// Reasons that a row starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasons {
    /// Any.
    Any,
    /// One of these.
    In(&'static [&'static str]),
    /// Any but these.
    Except(&'static [&'static str]),
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// States that it starts from.
    pub from: &'static [GateState],
    /// Reasons that it starts from.
    pub with: Reasons,
    /// Condition.
    pub guard: Guard,
    /// State after it; None: it stays.
    pub to: Option<GateState>,
    /// Reason after it; empty: the policy gives it.
    pub reason: &'static str,
    /// Effect on the memory.
    pub effect: Effect,
    /// Sentence; what stands in braces is filled in.
    pub sentence: &'static str,
}
