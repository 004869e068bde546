//! Seen -> Verdict: one transition, and at most one write, per look.
//!
//! The memory carries the intent and is stored before the write; every write has preconditions; and what is to be
//! written follows from the state alone. So a crash between any two writes ends in the same place: the next look finds
//! the intent, and writes again what is not there yet.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::assess::sooner;
use super::facts::{Paused, Revision};
use super::reasons::is_transient;
use super::restore;
use super::situation::{CLEAR, Gating, MAX_SWAPS, Off, Seen, Situation, assessment, pods_of, way_back};
use super::table::{AT_STEP, Guard, Reasons, Row, TABLE, WITHOUT_EVIDENCE, Wants, wants};
use super::{memory, wording};
use crate::api::gate::{Blame, GateState, GateStatus, PausedByUs};
use crate::api::rollout::OnFailure;
use crate::api::workload_health::Action as Asked;

/// The one write to make, with its preconditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// None.
    None,
    /// Set `spec.paused`, if the Deployment still has this generation and is not paused.
    Pause {
        /// `metadata.generation`.
        generation: i64,
    },
    /// Remove `spec.paused`, if the Deployment still has this generation and is paused.
    Resume {
        /// `metadata.generation`.
        generation: i64,
    },
    /// Set `spec.replicas` of a ReplicaSet, if it still has this uid, size and resource version. The version matters: the
    /// new revision may become saturated at this moment, and then the controller empties the stable one.
    ScaleReplicaSet {
        /// Uid.
        uid: String,
        /// Name.
        name: String,
        /// Size that was seen.
        from: u32,
        /// Size to write.
        to: u32,
        /// `metadata.resourceVersion` that was seen.
        resource_version: String,
        /// Names and sizes of the other ReplicaSets that count. They are read anew before the write: the view of them may be
        /// older than that of the Deployment, and a larger one makes the controller take from the wrong side. Empty where
        /// there is no time for that.
        others: Vec<(String, u32)>,
    },
    /// Write the stable ReplicaSet's application template, with today's policy fields, into `spec.template` and remove
    /// `spec.paused`, in one patch, if the Deployment still has this generation.
    RevertTemplate {
        /// `metadata.generation`.
        generation: i64,
        /// Uid of the stable ReplicaSet.
        uid: String,
        /// Its name.
        name: String,
    },
}

/// An event to create, once per transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateEvent {
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Reason, from a fixed set.
    pub reason: &'static str,
}

/// What is to be done, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What to remember: stored before the action, if it differs from what is stored.
    pub memory: GateStatus,
    /// The write.
    pub action: Action,
    /// The event, if the state or its reason changed; its note is `memory.message`.
    pub event: Option<GateEvent>,
    /// When to look again even if nothing happens; zero: at once.
    pub look_again: Option<SignedDuration>,
}

impl Verdict {
    /// State.
    pub fn state(&self) -> GateState {
        self.memory.state
    }

    /// One CamelCase word.
    pub fn reason(&self) -> &str {
        &self.memory.reason
    }

    /// Whether the write is a pause because of what pods show, and not because a person or a step asked for it.
    pub fn stops_for_evidence(&self) -> bool {
        let by_evidence = match self.memory.state {
            GateState::Restoring | GateState::Reverted => true,
            GateState::Held => !WITHOUT_EVIDENCE.contains(&self.memory.reason.as_str()),
            _ => false,
        };
        by_evidence && matches!(self.action, Action::Pause { .. })
    }

    /// One sentence.
    pub fn sentence(&self) -> &str {
        &self.memory.message
    }
}

/// Time between two looks while we wait for something that sends no event.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Shortest time between two looks that only time asks for.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);

/// Decides.
pub fn decide(seen: &Seen<'_>) -> Verdict {
    decide_by_row(seen).1
}

/// Decides, and tells which row was taken.
pub(super) fn decide_by_row(seen: &Seen<'_>) -> (Option<&'static Row>, Verdict) {
    if !is_current(seen) {
        return (None, Verdict { memory: seen.memory.clone(), action: Action::None, event: None, look_again: None });
    }
    let mut next = seen.memory.clone();
    memory::note(&mut next, seen);
    let assessment = assessment(seen, &next);
    let restore = way_back(seen, &next, &assessment);
    memory::track(&mut next, seen, &assessment, &restore);
    let before = next.clone();
    let situation = Situation { seen, memory: &before, assessment, restore };
    let row = TABLE.iter().find(|row| fits(row, &situation));
    if let Some(row) = row {
        carry_out(row, &situation, &mut next);
    }
    take_up_request(row, &situation, &mut next);
    let has_moved = (before.state, &before.reason) != (next.state, &next.reason);
    if has_moved {
        next.since = Some(Time(seen.now));
    }
    let action = act(&situation, has_moved, &mut next);
    let event = (has_moved && seen.memory.since.is_some()).then(|| wording::event(next.state));
    let look_again = look_again(&situation, has_moved, &action);
    (row, Verdict { memory: next, action, event, look_again })
}

/// Nothing is decided on a view that is known to be old.
fn is_current(seen: &Seen<'_>) -> bool {
    let deployment = seen.deployment;
    let known = seen.memory.paused_by_us.as_ref().map_or(0, |pause| pause.generation);
    let known = known.max(seen.unseen_pause(seen.memory).unwrap_or(0));
    seen.is_fresh && deployment.observed_generation >= deployment.generation && deployment.generation >= known
}

/// Whether a row is the one to take.
fn fits(row: &Row, situation: &Situation<'_>) -> bool {
    let memory = situation.memory;
    let reason = memory.reason.as_str();
    let has_reason = match row.with {
        Reasons::Any => true,
        Reasons::In(some) => some.contains(&reason),
        Reasons::Except(some) => !some.contains(&reason),
    };
    row.from.contains(&memory.state) && has_reason && holds(row.guard, situation)
}

fn holds(guard: Guard, s: &Situation<'_>) -> bool {
    let deployment = s.seen.deployment;
    match guard {
        Guard::PausePending => s.is_pause_pending(),
        Guard::ResumePending => s.is_resume_pending(),
        Guard::GatingOff => matches!(s.seen.gating, Gating::Off(_)),
        Guard::Recreate => deployment.recreate,
        Guard::ForeignPods => s.seen.has_foreign_pods,
        // Who writes another version whole, pause and all, says nothing of the one that was held.
        Guard::UnpausedByOther => s.is_unpaused_by_other() && !s.is_new(),
        Guard::PausedByOther => s.is_paused_by_other(),
        Guard::NoReplicas => deployment.replicas == 0,
        Guard::TemplateIsStable => s.is_template_stable(),
        Guard::RevertComplete => s.is_app_stable() && s.seen.is_complete(),
        Guard::CompleteUngated => s.seen.is_complete(),
        Guard::Overridden => s.is_overridden(),
        Guard::NothingProven => s.memory.stable.is_none(),
        Guard::NewAndRejected => s.is_new() && s.rejected().is_some(),
        Guard::NewAndFrozen => s.is_new() && s.is_frozen(),
        Guard::NewVersion => s.is_new(),
        Guard::AskedHold => s.asked() == Some(Asked::Hold),
        Guard::AskedApprove => s.asked() == Some(Asked::Approve),
        Guard::AskedRetry => s.asked() == Some(Asked::Retry),
        Guard::AskedResumeOfRejected => s.asked() == Some(Asked::Resume) && s.is_new() && s.rejected().is_some(),
        Guard::AskedResumeWhileFrozen => s.asked() == Some(Asked::Resume) && s.is_new() && s.is_frozen(),
        Guard::AskedResumeOwnHold | Guard::AskedResume => s.asked() == Some(Asked::Resume),
        Guard::AskedSkip => s.asked() == Some(Asked::Skip),
        Guard::StableBroken => s.is_stable_broken(),
        Guard::AgainstButStableBroken => s.is_against() && s.is_stable_broken(),
        Guard::AgainstEnvironment => s.blames(Blame::Environment),
        Guard::AgainstUnknown => s.blames(Blame::Unknown),
        Guard::AgainstHold => s.releases_to(OnFailure::Hold),
        Guard::AgainstTwice => s.is_to_be_taken_back() && s.was_taken_back(),
        Guard::AgainstNoStable => s.is_to_be_taken_back() && s.stable_revision().is_none(),
        Guard::AgainstWorseStable => s.is_to_be_taken_back() && s.is_stable_worse(),
        Guard::AgainstRevertInVain => s.releases_to(OnFailure::Revert) && s.is_app_stable(),
        Guard::AgainstRevert => s.releases_to(OnFailure::Revert),
        Guard::AgainstSaturated => s.releases_to(OnFailure::Restore) && s.is_saturated(),
        Guard::AgainstRestore => s.releases_to(OnFailure::Restore),
        Guard::ClearAtStep => s.is_clear() && s.is_step_reached(),
        Guard::Clear => s.is_clear(),
        Guard::BudgetBack => !s.is_frozen(),
        Guard::StepReached => s.is_step_reached(),
        Guard::Complete => s.seen.is_complete() && s.memory.rollout.is_some(),
        Guard::BakedManual => s.is_baked() && s.is_manual(),
        Guard::BakedAtNext => s.is_baked() && s.is_next_reached(),
        Guard::Baked => s.is_baked(),
        // Another template may have come meanwhile, by a policy that waited: what is proven must be whole.
        Guard::BakedAfter => s.is_baked() && s.seen.is_complete(),
        Guard::CapacityBack => s.restore == restore::Step::Done,
        Guard::Saturated => s.restore == restore::Step::Saturated,
        Guard::StableGone => s.stable_revision().is_none(),
        Guard::StuckOnBroken => s.is_stuck_on_broken(),
        Guard::Freed => s.is_freed(),
        Guard::StepWithoutPods => s.is_step_without_pods(),
        Guard::RevertRefused => s.seen.refused_revert.is_some() && !s.is_app_stable(),
        Guard::Blocked => s.is_blocked(),
        Guard::CandidateBack => s.is_candidate_back(),
        Guard::TemplateReverted => s.is_template_reverted(),
    }
}

fn carry_out(row: &Row, situation: &Situation<'_>, next: &mut GateStatus) {
    let seen = situation.seen;
    let Some(to) = row.to else { return };
    memory::apply(row.effect, row.reason, situation, next);
    next.state = to;
    next.reason = match (row.reason, seen.gating) {
        ("", Gating::Off(off)) => wording::off_reason(off).into(),
        (reason, _) => reason.into(),
    };
    next.message = wording::fill(row.sentence, situation, next);
}

/// A request counts once, whether or not it had an effect; but not before the writes under way are done.
fn take_up_request(row: Option<&Row>, situation: &Situation<'_>, next: &mut GateStatus) {
    let Some(request) = situation.seen.request else { return };
    let is_asked = |guard| {
        matches!(
            guard,
            Guard::AskedHold
                | Guard::AskedApprove
                | Guard::AskedRetry
                | Guard::AskedResume
                | Guard::AskedResumeOwnHold
                | Guard::AskedResumeOfRejected
                | Guard::AskedResumeWhileFrozen
                | Guard::AskedSkip
        )
    };
    let is_over = match row {
        None => true,
        Some(row) => is_asked(row.guard) || row.to.is_some() && Some(next.state) == Some(situation.memory.state),
    };
    if is_over {
        memory::remember_request(next, &request.id);
    }
}

/// The write that the state wants and that is not done.
fn act(situation: &Situation<'_>, has_moved: bool, next: &mut GateStatus) -> Action {
    let seen = situation.seen;
    let deployment = seen.deployment;
    let generation = deployment.generation;
    let is_paused = deployment.paused != Paused::No;
    match wants(next.state, &next.reason) {
        Wants::Revert if situation.is_app_stable() => {}
        // First of all the version is stopped: the template may be refused, or take its time.
        Wants::Pause | Wants::Revert if !is_paused => {
            next.paused_by_us = Some(PausedByUs {
                template_hash: deployment.version.template_hash.clone(),
                reason: next.reason.clone(),
                generation,
                seen: false,
            });
            return Action::Pause { generation };
        }
        Wants::Flow if is_paused && seen.is_pause_ours(next) => {
            return match restore::before_resume(deployment, seen.revisions) {
                restore::Step::Write(stride) => resize(situation, &stride, Reads::OtherSizes),
                restore::Step::Wait => Action::None,
                _ => Action::Resume { generation },
            };
        }
        _ => {}
    }
    if let Some(pause) = next.paused_by_us.as_mut().filter(|_| has_moved && is_paused) {
        pause.reason.clone_from(&next.reason);
    }
    if wants(next.state, &next.reason) == Wants::Revert && !situation.is_app_stable() {
        let stable = next.stable.as_ref().filter(|_| !situation.is_new());
        return stable.map_or(Action::None, |stable| Action::RevertTemplate {
            generation,
            uid: stable.replica_set_uid.clone(),
            name: stable.replica_set.clone(),
        });
    }
    if next.state == GateState::Restoring && situation.memory.state == GateState::Restoring {
        return scale(situation, next);
    }
    Action::None
}

fn scale(situation: &Situation<'_>, next: &mut GateStatus) -> Action {
    let stride = match &situation.restore {
        restore::Step::Write(stride) => stride,
        // A race against the Deployment controller: who loses it has lost nothing.
        restore::Step::FinishSwap(stride) => return resize(situation, stride, Reads::Nothing),
        restore::Step::BeginSwap(stride) => {
            if let Some(record) = next.rollout.as_mut() {
                record.swaps = record.swaps.saturating_add(1).min(MAX_SWAPS);
            }
            stride
        }
        _ => return Action::None,
    };
    resize(situation, stride, Reads::OtherSizes)
}

/// What is read anew before a size is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Nothing,
    OtherSizes,
}

fn resize(situation: &Situation<'_>, stride: &restore::Stride, reads: Reads) -> Action {
    let seen = situation.seen;
    let Some(revision) = seen.revisions.get(stride.index) else { return Action::None };
    let current = seen.current().map(|current| &current.uid);
    let counts = |other: &&Revision| other.replicas > 0 || Some(&other.uid) == current;
    let others = seen.revisions.iter().filter(|other| reads == Reads::OtherSizes && other.uid != revision.uid);
    Action::ScaleReplicaSet {
        uid: revision.uid.to_string(),
        name: revision.name.to_string(),
        from: revision.replicas,
        to: stride.to,
        resource_version: revision.resource_version.to_string(),
        others: others.filter(counts).map(|other| (other.name.to_string(), other.replicas)).collect(),
    }
}

fn look_again(situation: &Situation<'_>, has_moved: bool, action: &Action) -> Option<SignedDuration> {
    // After the first half of a swap there is a race to win against the Deployment controller.
    if has_moved || matches!(situation.restore, restore::Step::BeginSwap(_)) && *action != Action::None {
        return Some(SignedDuration::ZERO);
    }
    if *action != Action::None {
        return Some(LOOK_AGAIN);
    }
    let now = situation.seen.now;
    let memory = situation.memory;
    let mut wait = situation.assessment.look_again;
    // After completion, pods that are away come back with an event.
    let bakes = memory.reason == AT_STEP || situation.seen.is_complete();
    if memory.state == GateState::Baking && bakes {
        let left = situation.bake_ends().map(|end| end.duration_since(now).max(MOMENT));
        wait = sooner(wait, left);
    }
    if is_transient(memory) {
        let since = memory.rollout.as_ref().and_then(|record| record.clear_since.as_ref());
        let left = since.map(|since| (CLEAR - now.duration_since(since.0)).max(MOMENT));
        wait = sooner(wait, left);
    }
    if memory.state == GateState::Restoring || situation.is_resume_pending() {
        let left = situation.stuck_ends().map(|end| end.duration_since(now).max(MOMENT));
        wait = sooner(sooner(wait, left), Some(LOOK_AGAIN));
    }
    wait
}

/// Whether the pods of the step under way are ready.
pub(super) fn is_step_ready(seen: &Seen<'_>, memory: &GateStatus, ready: u32) -> bool {
    let Some(rollout) = seen.rollout().filter(|_| memory.state == GateState::Baking && memory.reason == AT_STEP) else {
        return false;
    };
    let passed = memory.rollout.as_ref().and_then(|record| usize::try_from(record.steps_passed).ok());
    let size = seen.current().map_or(0, |current| current.replicas);
    let step = passed.and_then(|passed| rollout.steps.get(passed));
    // A scale-down may have taken pods below the step's number: then those that are left are watched.
    step.is_none_or(|step| ready >= pods_of(step, seen.deployment.replicas).min(size))
}

/// Why rollouts are not gated, in words.
pub(super) fn off_words(off: Off) -> &'static str {
    match off {
        Off::NoPolicy => "no policy owns the Deployment",
        Off::NoRolloutSection => "the policy has no rollout section",
        Off::Audit => "the policy only audits",
        Off::Suspended => "the policy is suspended",
    }
}
