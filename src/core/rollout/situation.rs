//! What is seen of one Deployment, and what of it the transitions ask for.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::assess::{Assessment, Held, Material, assess};
use super::evidence::{Measure, Patience};
use super::facts::{Deployed, Paused, Revision};
use super::pod::PodView;
use super::reasons::is_transient;
use super::restore;
use super::table::{AFTER_COMPLETION, ENVIRONMENT, REVERTING, Wants, wants};
use crate::api::gate::{Blame, GateState, GateStatus, Proven, Rejected, RolloutRecord, Version};
use crate::api::rollout::{Approval, OnFailure, Rollout, Step, WhenBudgetSpent};
use crate::api::workload_health::{Action as Asked, Request};

/// How long nothing must speak against a version before a hold ends by itself.
pub(super) const CLEAR: SignedDuration = SignedDuration::from_secs(30);
/// How often a swap of sizes in two writes is tried.
pub(super) const MAX_SWAPS: i32 = 5;

/// Whether a policy gates rollouts.
#[derive(Clone, Copy, Debug)]
pub enum Gating<'a> {
    /// It does, so.
    On(&'a Rollout),
    /// It does not.
    Off(Off),
}

/// Why rollouts are not gated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// No policy selects the Deployment, or it is on its way out.
    NoPolicy,
    /// The policy has no rollout section.
    NoRolloutSection,
    /// The policy only audits.
    Audit,
    /// The policy is suspended.
    Suspended,
}

/// Everything that is known at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Now, on our clock.
    pub now: Timestamp,
    /// Whether watches are in sync and show our own last write, and the lease is held.
    pub is_fresh: bool,
    /// The Deployment.
    pub deployment: &'a Deployed,
    /// ReplicaSets that its uid controls.
    pub revisions: &'a [Revision],
    /// Pods that these control.
    pub pods: &'a [PodView],
    /// Whether pods that the selector matches are controlled by something else, or by nothing.
    pub has_foreign_pods: bool,
    /// Whether a policy gates it.
    pub gating: Gating<'a>,
    /// Whether the error budget is spent.
    pub is_budget_spent: bool,
    /// What is remembered.
    pub memory: &'a GateStatus,
    /// What a person asks for.
    pub request: Option<&'a Request>,
    /// What the API server said when it refused the stable template.
    pub refused_revert: Option<&'a str>,
    /// Generation that the Deployment got by our last pause, once the API server has answered it; `None` when this process
    /// wrote none. It tells a resume by others from a pause that is not yet written.
    pub paused_at: Option<i64>,
}

impl<'a> Seen<'a> {
    /// Generation that the pause in memory brought, while it has not been looked at.
    pub(super) fn unseen_pause(&self, memory: &GateStatus) -> Option<i64> {
        let pause = memory.paused_by_us.as_ref().filter(|pause| !pause.seen)?;
        self.paused_at.filter(|generation| *generation > pause.generation)
    }

    /// The revision of the template, once it exists. Of several equal ones the controller takes the oldest.
    pub fn current(&self) -> Option<&'a Revision> {
        let same = |revision: &&Revision| revision.version.template_hash == self.deployment.version.template_hash;
        self.revisions.iter().filter(same).min_by_key(|revision| (revision.created, &revision.name))
    }

    /// The policy's section.
    pub fn rollout(&self) -> Option<&'a Rollout> {
        match self.gating {
            Gating::On(rollout) => Some(rollout),
            Gating::Off(_) => None,
        }
    }

    /// Ready pods of all revisions.
    pub fn ready(&self) -> u32 {
        self.revisions.iter().fold(0, |sum, revision| sum.saturating_add(revision.ready))
    }

    /// Whether every pod runs the template and is available, as `kubectl rollout status` says it.
    pub fn is_complete(&self) -> bool {
        let wanted = self.deployment.replicas;
        self.current().is_some_and(|current| {
            let is_whole = current.replicas == wanted && current.pods == wanted && current.available == wanted;
            is_whole && self.revisions.iter().all(|other| other.uid == current.uid || other.replicas + other.pods == 0)
        })
    }

    /// Whether a pause that is seen is ours.
    pub fn is_pause_ours(&self, memory: &GateStatus) -> bool {
        match self.deployment.paused {
            Paused::No | Paused::ByOther => false,
            Paused::ByUs => true,
            Paused::BySomebody => memory.paused_by_us.is_some(),
        }
    }
}

/// Answers to the questions of the transitions.
pub(super) struct Situation<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) memory: &'a GateStatus,
    pub(super) assessment: Assessment,
    pub(super) restore: restore::Step,
}

impl<'a> Situation<'a> {
    /// The record of the version that the template has.
    fn record(&self) -> Option<&'a RolloutRecord> {
        self.memory.rollout.as_ref()
    }

    pub(super) fn wants(&self) -> Wants {
        wants(self.memory.state, &self.memory.reason)
    }

    pub(super) fn is_pause_pending(&self) -> bool {
        let is_intended = self.memory.paused_by_us.as_ref().is_some_and(|pause| !pause.seen);
        self.wants() == Wants::Pause && self.seen.deployment.paused == Paused::No && is_intended
    }

    pub(super) fn is_resume_pending(&self) -> bool {
        self.wants() == Wants::Flow && self.seen.is_pause_ours(self.memory)
    }

    pub(super) fn is_unpaused_by_other(&self) -> bool {
        let was_seen = self.memory.paused_by_us.as_ref().is_some_and(|pause| pause.seen);
        let is_to_be_paused = self.wants() == Wants::Pause || self.wants() == Wants::Revert && !self.is_app_stable();
        is_to_be_paused && self.seen.deployment.paused == Paused::No && was_seen
    }

    pub(super) fn is_paused_by_other(&self) -> bool {
        self.seen.deployment.paused != Paused::No && !self.seen.is_pause_ours(self.memory)
    }

    pub(super) fn is_template_stable(&self) -> bool {
        let version = &self.seen.deployment.version;
        self.memory.stable.as_ref().is_some_and(|stable| stable.version.template_hash == version.template_hash)
    }

    pub(super) fn is_app_stable(&self) -> bool {
        let version = &self.seen.deployment.version;
        self.memory.stable.as_ref().is_some_and(|stable| stable.version.app_hash == version.app_hash)
    }

    /// Whether the template is another version than the one that the memory speaks of.
    pub(super) fn is_new(&self) -> bool {
        let version = &self.seen.deployment.version;
        let stable = self.memory.stable.as_ref();
        match self.record() {
            Some(record) => {
                let is_reverted = self.memory.state == GateState::Reverted && self.is_app_stable();
                !is_same(&record.version, version, stable) && !is_reverted
            }
            None if self.memory.state == GateState::Reverted => !self.is_app_stable(),
            None => !self.is_template_stable() && stable.is_some(),
        }
    }

    pub(super) fn rejected(&self) -> Option<&'a Rejected> {
        find_rejected(self.memory, &self.seen.deployment.version)
    }

    pub(super) fn is_overridden(&self) -> bool {
        let stable = self.memory.stable.as_ref();
        let version = &self.seen.deployment.version;
        self.memory.overridden.as_ref().is_some_and(|passed| is_same(passed, version, stable))
    }

    pub(super) fn is_frozen(&self) -> bool {
        let freezes = self.seen.rollout().is_some_and(|rollout| rollout.when_budget_spent == WhenBudgetSpent::Freeze);
        freezes && self.seen.is_budget_spent
    }

    /// What is asked for, once, of this template.
    pub(super) fn asked(&self) -> Option<Asked> {
        let request = self.seen.request?;
        let is_done = self.memory.applied_requests.contains(&request.id);
        let is_meant = request.template_hash == self.seen.deployment.version.template_hash;
        (!is_done && is_meant).then_some(request.action)
    }

    /// More fails than is tolerated, and the policy acts on it.
    pub(super) fn is_against(&self) -> bool {
        let acts = self.seen.rollout().is_some_and(|rollout| rollout.on_failure != OnFailure::Observe);
        self.assessment.is_against && acts
    }

    fn on_failure(&self) -> OnFailure {
        self.seen.rollout().map_or(OnFailure::Observe, |rollout| rollout.on_failure)
    }

    pub(super) fn blames(&self, whom: Blame) -> bool {
        self.is_against() && self.assessment.blame.as_ref().is_some_and(|blame| blame.verdict == whom)
    }

    pub(super) fn releases_to(&self, how: OnFailure) -> bool {
        self.blames(Blame::Release) && self.on_failure() == how
    }

    /// Restore or Revert is asked for.
    pub(super) fn is_to_be_taken_back(&self) -> bool {
        self.releases_to(OnFailure::Restore) || self.releases_to(OnFailure::Revert)
    }

    pub(super) fn was_taken_back(&self) -> bool {
        self.rejected().is_some_and(|rejected| rejected.taken_back)
    }

    pub(super) fn is_stable_broken(&self) -> bool {
        self.record().is_some_and(|record| record.stable_broken)
    }

    /// Never restore when the stable side would have fewer ready pods than there are now.
    pub(super) fn is_stable_worse(&self) -> bool {
        let Some(stable) = self.stable_revision() else { return false };
        let failed = u64::from(self.assessment.stable_failed);
        let pods = u64::from(stable.replicas.max(stable.pods)).max(failed);
        if failed == 0 {
            return false;
        }
        let wanted = u64::from(self.seen.deployment.replicas);
        let would_be = wanted * (pods - failed) / pods;
        would_be < u64::from(self.seen.ready()).min(wanted) || failed == pods
    }

    pub(super) fn stable_revision(&self) -> Option<&'a Revision> {
        stable_revision(self.seen, self.memory)
    }

    /// The template's own revision is whole and available: the controller empties the others, paused or not. A pod that
    /// is not ready any more says so before the status of its ReplicaSet does.
    pub(super) fn is_saturated(&self) -> bool {
        let wanted = self.seen.deployment.replicas;
        let is_current_stable = self.is_template_stable();
        !is_current_stable
            && self.assessment.candidate_ready >= wanted
            && self.seen.current().is_some_and(|current| current.replicas == wanted && current.available == wanted)
    }

    pub(super) fn is_clear(&self) -> bool {
        let since = self.record().and_then(|record| record.clear_since.as_ref());
        since.is_some_and(|since| self.seen.now.duration_since(since.0) >= CLEAR)
    }

    pub(super) fn steps(&self) -> &'a [Step] {
        self.seen.rollout().map(|rollout| rollout.steps.as_slice()).unwrap_or_default()
    }

    /// The step under way and its number, from 0.
    pub(super) fn step(&self) -> Option<(usize, &'a Step)> {
        let passed = usize::try_from(self.record()?.steps_passed).ok()?;
        self.steps().get(passed).map(|step| (passed, step))
    }

    fn is_reached(&self, step: &Step) -> bool {
        let size = self.seen.current().map_or(0, |current| current.replicas);
        let is_complete = self.record().is_some_and(|record| record.complete) || self.seen.is_complete();
        size >= pods_of(step, self.seen.deployment.replicas) && !is_complete && !self.is_stable_broken()
    }

    pub(super) fn is_step_reached(&self) -> bool {
        self.step().is_some_and(|(_, step)| self.is_reached(step))
    }

    pub(super) fn is_next_reached(&self) -> bool {
        self.step().and_then(|(number, _)| self.steps().get(number + 1)).is_some_and(|next| self.is_reached(next))
    }

    /// When the bake is over, once its pods are ready.
    pub(super) fn bake_ends(&self) -> Option<Timestamp> {
        let since = self.record()?.bake_since.as_ref()?.0;
        let rollout = self.seen.rollout()?;
        let seconds = if self.memory.reason == AFTER_COMPLETION {
            rollout.bake_after_seconds
        } else {
            self.step().map_or(0, |(_, step)| step.bake_seconds)
        };
        let is_slow = rollout.when_budget_spent == WhenBudgetSpent::Slow && self.seen.is_budget_spent;
        let seconds = i64::from(seconds) * if is_slow { 2 } else { 1 };
        since.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    pub(super) fn is_baked(&self) -> bool {
        self.bake_ends().is_some_and(|end| self.seen.now >= end) && !self.is_against()
    }

    pub(super) fn is_manual(&self) -> bool {
        self.step().is_some_and(|(_, step)| step.approval == Approval::Manual)
    }

    /// Pods of the stable version have failed for as long as a start may take, and nothing else can be moved.
    pub(super) fn is_stuck_on_broken(&self) -> bool {
        self.stuck_ends().is_some_and(|end| self.seen.now >= end)
    }

    /// When a way back that is stuck has been so for too long.
    pub(super) fn stuck_ends(&self) -> Option<Timestamp> {
        let since = self.record()?.stuck_since.as_ref()?.0;
        let patience = Patience::of(self.seen.rollout()?, &self.seen.deployment.start);
        since.checked_add(patience.start).ok()
    }

    /// The stable version's pods do not fail any more, so that the way back can go on.
    pub(super) fn is_freed(&self) -> bool {
        self.assessment.stable_failed == 0 && self.stable_revision().is_some()
    }

    /// The template has no revision yet, though a step paused its rollout: somebody changed fields of the policy in it.
    pub(super) fn is_step_without_pods(&self) -> bool {
        self.seen.deployment.paused != Paused::No && self.seen.current().is_none()
    }

    pub(super) fn is_blocked(&self) -> bool {
        let is_out_of_swaps = self.record().is_none_or(|record| record.swaps >= MAX_SWAPS);
        match self.restore {
            restore::Step::Blocked => true,
            restore::Step::BeginSwap(_) => is_out_of_swaps,
            _ => false,
        }
    }

    pub(super) fn is_candidate_back(&self) -> bool {
        let stable = self.memory.stable.as_ref().map(|stable| stable.replica_set_uid.as_str()).unwrap_or_default();
        self.seen.revisions.iter().any(|revision| *revision.uid != *stable && revision.replicas > 0)
    }

    pub(super) fn is_template_reverted(&self) -> bool {
        self.memory.reason == REVERTING && self.is_app_stable()
    }
}

/// The next step of handing back, where that is what goes on.
pub(super) fn way_back(seen: &Seen<'_>, memory: &GateStatus, assessment: &Assessment) -> restore::Step {
    let (GateState::Restoring | GateState::Restored, Some(stable)) = (memory.state, &memory.stable) else {
        return restore::Step::NotYet;
    };
    match restore::next(seen.deployment, seen.revisions, &stable.replica_set_uid) {
        // Pods say that it is not: the ReplicaSet's status follows in a moment.
        restore::Step::Saturated if assessment.candidate_ready < seen.deployment.replicas => restore::Step::Wait,
        step => step,
    }
}

/// What speaks for and against the version that the memory speaks of.
pub(super) fn assessment(seen: &Seen<'_>, memory: &GateStatus) -> Assessment {
    let (Some(rollout), Some(record)) = (seen.rollout(), memory.rollout.as_ref()) else { return Assessment::default() };
    let start = &seen.deployment.start;
    let stable = stable_revision(seen, memory);
    let candidate = seen.current().filter(|current| stable.is_none_or(|stable| stable.uid != current.uid));
    assess(&Material {
        pods: seen.pods,
        candidate,
        stable,
        measure: Measure {
            now: seen.now,
            // What came before a person asked to try again is forgiven.
            since: record.retried.as_ref().map_or(record.started.0, |retried| retried.0.max(record.started.0)),
            patience: Patience::of(rollout, start),
            start,
            is_complete: record.complete,
        },
        tolerate: &rollout.tolerate,
        retried: record.retried.as_ref().map(|time| time.0),
        held: memory
            .since
            .as_ref()
            .filter(|_| is_transient(memory))
            .map(|since| Held { since: since.0, is_shared: memory.reason == ENVIRONMENT }),
        before: &memory.evidence,
    })
}

/// The proven revision, while its ReplicaSet exists.
pub(super) fn stable_revision<'a>(seen: &Seen<'a>, memory: &GateStatus) -> Option<&'a Revision> {
    let stable = memory.stable.as_ref()?;
    seen.revisions.iter().find(|revision| *revision.uid == *stable.replica_set_uid)
}

/// Whether two templates are the same version: a policy edit changes the template, but neither the application nor what
/// the workload declares of its own probes. Where the application is the stable one, only the template can tell.
pub(super) fn is_same(one: &Version, other: &Version, stable: Option<&Proven>) -> bool {
    let is_stable_app = stable.is_some_and(|stable| stable.version.app_hash == other.app_hash);
    let [own, others] = [one, other].map(|version| version.declared_hash.as_str());
    let is_declared_alike = own == others || own.is_empty() || others.is_empty();
    one.template_hash == other.template_hash || one.app_hash == other.app_hash && is_declared_alike && !is_stable_app
}

pub(super) fn find_rejected<'a>(memory: &'a GateStatus, version: &Version) -> Option<&'a Rejected> {
    memory.rejected.iter().rev().find(|rejected| is_same(&rejected.version, version, memory.stable.as_ref()))
}

/// Pods of a step; never more than there are to be.
pub(super) fn pods_of(step: &Step, replicas: u32) -> u32 {
    let pods = match &step.pods {
        IntOrString::Int(pods) => u32::try_from(*pods).unwrap_or(1),
        IntOrString::String(text) => {
            let percent = text.trim_end_matches('%').parse::<u64>().unwrap_or(100).min(100);
            u32::try_from((u64::from(replicas) * percent).div_ceil(100)).unwrap_or(replicas)
        }
    };
    pods.clamp(1, replicas.max(1))
}
