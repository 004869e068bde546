//! From what the watches show to a level and its cause.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::bucket::Level;
use super::episode::Cause;
use super::ledger::{Allowance, Ledger};
use crate::api::gate::{GateState, GateStatus};
use crate::core::deployment::{Projection, RolloutProgress};
use crate::core::rollout::{Phase, PodView};

/// How long pods may take to start after a scale-up or an eviction before their absence is a fault.
pub(super) const START: i64 = 300_000;

/// What is seen of a Deployment at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// The Deployment.
    pub deployment: &'a Projection,
    /// Its rollout gate.
    pub gate: &'a GateStatus,
    /// Its pods.
    pub pods: &'a [&'a PodView],
    /// Available replicas from which on a moment is good.
    pub enough: u32,
}

/// Available replicas from which on a moment is good: the number, or the percentage of the wanted ones, rounded up;
/// at least one, at most all.
pub fn enough(min_available: &IntOrString, wanted: u32) -> u32 {
    let pods = match min_available {
        IntOrString::Int(number) => u32::try_from(*number).unwrap_or(1),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<u64>().ok()).unwrap_or(100).min(100);
            u32::try_from((u64::from(wanted) * percent).div_ceil(100)).unwrap_or(u32::MAX)
        }
    };
    pods.clamp(1, wanted.max(1))
}

impl Sight<'_> {
    fn wanted(&self) -> u32 {
        self.deployment.deployed.replicas
    }

    fn missing(&self) -> u32 {
        self.wanted().saturating_sub(self.deployment.deployed.available)
    }

    /// Whether the status speaks of an older generation.
    pub(super) fn is_behind(&self) -> bool {
        let deployed = &self.deployment.deployed;
        deployed.observed_generation < deployed.generation
    }

    /// The template, as a number; `None` when its hash is none.
    pub(super) fn template(&self) -> Option<i64> {
        // 60 of 64 bits: enough to tell two templates of one Deployment apart.
        self.deployment.deployed.version.template_hash.get(..15).and_then(|hash| i64::from_str_radix(hash, 16).ok())
    }

    /// Pods on their way out by eviction.
    pub(super) fn evicted(&self) -> u32 {
        let is_leaving = |pod: &&&PodView| pod.evicted && (pod.deleting || pod.phase == Phase::Failed);
        u32::try_from(self.pods.iter().filter(is_leaving).count()).unwrap_or(u32::MAX)
    }

    /// What may be missing without being a fault, from now on. It is given once: a pod that is on its way out for an
    /// hour, or never starts, is excused for as long as another one.
    pub(super) fn allowances(&self, ledger: &Ledger) -> Vec<Allowance> {
        if self.missing() == 0 {
            return Vec::new();
        }
        let fresh = self.now.saturating_add(START);
        // A clock that was set back gives nobody more time.
        let mut kept: Vec<Allowance> = (ledger.allowances().iter())
            .map(|allowance| Allowance { until: allowance.until.min(fresh), ..*allowance })
            .filter(|allowance| allowance.until > self.now)
            .collect();
        let mut allow = |cause, more: u32| {
            let known = kept.iter().find(|allowance| allowance.cause == cause).map_or(0, |allowance| allowance.pods);
            if more > 0 {
                kept.retain(|allowance| allowance.cause != cause);
                kept.push(Allowance { cause, pods: known.saturating_add(more).min(self.wanted()), until: fresh });
            }
        };
        let grown = match ledger.wanted {
            Some(before) => self.wanted().saturating_sub(before),
            // First seen: what was made a moment ago starts.
            None if self.is_new() => self.wanted(),
            None => 0,
        };
        allow(Cause::ScaleUp, grown);
        allow(Cause::Drain, self.evicted().saturating_sub(ledger.evicted));
        kept
    }

    fn is_new(&self) -> bool {
        let created = self.deployment.deployed.created.map(jiff::Timestamp::as_millisecond);
        created.is_some_and(|created| self.now.saturating_sub(created) < START)
    }

    /// The level now, and why replicas are missing. `complete` is the template whose rollout is complete.
    pub(super) fn level(&self, allowances: &[Allowance], complete: Option<i64>) -> (Level, Option<Cause>) {
        let missing = self.missing();
        if self.deployment.deleting || self.wanted() == 0 {
            return (Level::Excluded, None);
        }
        let available = self.deployment.deployed.available;
        if missing == 0 {
            return (Level::of(self.wanted(), available, 0, self.enough), None);
        }
        let broken: Vec<(Cause, bool)> =
            self.pods.iter().filter_map(|pod| Some((broken(pod)?, !self.is_past(pod)))).collect();
        let failing = broken.iter().filter(|(_, counts)| *counts).count();
        let blameless = missing.saturating_sub(u32::try_from(failing).unwrap_or(u32::MAX));
        let rollout = if complete.is_some() { 0 } else { self.rollout_allowance() };
        let allowed = allowances.iter().fold(rollout, |sum, allowance| sum.saturating_add(allowance.pods));
        let planned = blameless.min(allowed);
        let level = Level::of(self.wanted(), available, planned, self.enough);
        let cause = if planned == missing {
            let cause = allowances.iter().map(|allowance| allowance.cause).next();
            if rollout > 0 { Cause::Rollout } else { cause.unwrap_or(Cause::Rollout) }
        } else if self.has_failed() {
            Cause::FailedRollout
        } else {
            // The most frequent would flap; the first in the order of causes does not. Pods that count come first.
            let first = |counting: bool| Cause::ALL.into_iter().find(|cause| broken.contains(&(*cause, counting)));
            let live = self.pods.iter().filter(|pod| is_live(pod)).count();
            let rest = if live >= self.wanted() as usize { Cause::NotReady } else { Cause::PodsMissing };
            first(true).or_else(|| first(false)).unwrap_or(rest)
        };
        (level, Some(cause))
    }

    /// Whether a pod left so long ago that others have taken its place: it stays in the list, failed or on a node that
    /// does not answer, and says nothing of those that are missing now.
    fn is_past(&self, pod: &PodView) -> bool {
        let since = pod.ready_since.map(jiff::Timestamp::as_millisecond);
        !is_live(pod) && since.is_some_and(|since| self.now.saturating_sub(since) > START)
    }

    /// Whether the gate stopped the rollout for what its pods show.
    fn has_failed(&self) -> bool {
        let by_evidence = !matches!(self.gate.reason.as_str(), "ByRequest" | "BudgetSpent" | "RejectedVersion");
        match self.gate.state {
            GateState::Held => by_evidence,
            GateState::Restoring | GateState::Restored => true,
            _ => self.deployment.rollout == RolloutProgress::Stuck,
        }
    }

    /// Pods that a rollout may take away.
    fn rollout_allowance(&self) -> u32 {
        let deployed = &self.deployment.deployed;
        let is_under_way = match self.deployment.rollout {
            RolloutProgress::Moving => true,
            RolloutProgress::Paused => self.gate.rollout.is_some(),
            RolloutProgress::Settled | RolloutProgress::Stuck => false,
        };
        match is_under_way && !self.has_failed() {
            true if deployed.recreate => deployed.replicas,
            true => deployed.max_unavailable,
            false => 0,
        }
    }
}

/// Why a pod is not available, when that is nobody's will.
fn broken(pod: &PodView) -> Option<Cause> {
    if pod.ready || pod.evicted {
        return None;
    }
    if pod.disrupted || pod.phase == Phase::Unknown || pod.is_cut_off() {
        return Some(Cause::NodeLost);
    }
    if pod.deleting {
        return None;
    }
    let waits = |container: &crate::core::rollout::ContainerView| {
        let reason = container.waiting.as_ref().map_or("", |waiting| &*waiting.reason);
        let ended = container.terminated.as_ref().or(container.last.as_ref());
        match reason {
            "CrashLoopBackOff" if ended.is_some_and(|ended| &*ended.reason == "OOMKilled") => Some(Cause::OutOfMemory),
            "CrashLoopBackOff" => Some(Cause::Crash),
            "ImagePullBackOff"
            | "ErrImagePull"
            | "InvalidImageName"
            | "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError" => Some(Cause::CannotStart),
            _ => container
                .terminated
                .as_ref()
                .filter(|ended| ended.exit != 0)
                .map(|ended| if &*ended.reason == "OOMKilled" { Cause::OutOfMemory } else { Cause::Crash }),
        }
    };
    let worst = pod.containers.iter().filter_map(waits).min_by_key(|cause| cause.as_str());
    let lost = pod.was_ready.then_some(if pod.restarts() > 0 { Cause::Crash } else { Cause::NotReady });
    let homeless = (!pod.unschedulable.is_empty()).then_some(Cause::Unschedulable);
    worst.or(lost).or(homeless)
}

/// Whether a pod is one of those that its ReplicaSet counts.
fn is_live(pod: &PodView) -> bool {
    !pod.deleting && !matches!(pod.phase, Phase::Failed | Phase::Succeeded)
}
