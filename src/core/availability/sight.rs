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
    pub pods: &'a [PodView],
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

    /// What may be missing without being a fault, from now on.
    pub(super) fn allowances(&self, ledger: &Ledger) -> Vec<Allowance> {
        if self.missing() == 0 {
            return Vec::new();
        }
        let mut kept: Vec<Allowance> =
            ledger.allowances().iter().copied().filter(|allowance| allowance.until > self.now).collect();
        let mut allow = |cause, pods: u32| {
            let known = kept.iter().find(|allowance| allowance.cause == cause).map_or(0, |allowance| allowance.pods);
            if pods > known {
                kept.retain(|allowance| allowance.cause != cause);
                kept.push(Allowance { cause, pods, until: self.now.saturating_add(START) });
            }
        };
        let grown = match ledger.level() {
            Level::Counted(before) => self.wanted().saturating_sub(before.desired()),
            Level::Excluded => self.wanted(),
            // First seen: what was made a moment ago starts.
            Level::Unknown if self.is_new() => self.wanted(),
            Level::Unknown => 0,
        };
        if grown > 0 {
            allow(Cause::ScaleUp, grown);
        }
        let evicted =
            self.pods.iter().filter(|pod| pod.evicted && (pod.deleting || pod.phase == Phase::Failed)).count();
        allow(Cause::Drain, u32::try_from(evicted).unwrap_or(u32::MAX));
        kept
    }

    fn is_new(&self) -> bool {
        let created = self.deployment.deployed.created.map(jiff::Timestamp::as_millisecond);
        created.is_some_and(|created| self.now.saturating_sub(created) < START)
    }

    /// The level now, and why replicas are missing.
    pub(super) fn level(&self, allowances: &[Allowance]) -> (Level, Option<Cause>) {
        let missing = self.missing();
        if self.deployment.deleting || self.wanted() == 0 {
            return (Level::Excluded, None);
        }
        let available = self.deployment.deployed.available;
        if missing == 0 {
            return (Level::of(self.wanted(), available, 0, self.enough), None);
        }
        let broken: Vec<Cause> = self.pods.iter().filter_map(broken).collect();
        let blameless = missing.saturating_sub(u32::try_from(broken.len()).unwrap_or(u32::MAX));
        let rollout = self.rollout_allowance();
        let allowed = allowances.iter().fold(rollout, |sum, allowance| sum.saturating_add(allowance.pods));
        let planned = blameless.min(allowed);
        let level = Level::of(self.wanted(), available, planned, self.enough);
        let cause = if planned == missing {
            let cause = allowances.iter().map(|allowance| allowance.cause).next();
            if rollout > 0 { Cause::Rollout } else { cause.unwrap_or(Cause::Rollout) }
        } else if self.has_failed() {
            Cause::FailedRollout
        } else {
            // The most frequent would flap; the first in the order of causes does not.
            let known = Cause::ALL.into_iter().find(|cause| broken.contains(cause));
            known.unwrap_or(if self.pods.iter().any(is_coming) { Cause::NotReady } else { Cause::PodsMissing })
        };
        (level, Some(cause))
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

/// Whether a pod may still become ready.
fn is_coming(pod: &PodView) -> bool {
    !pod.ready && !pod.deleting && matches!(pod.phase, Phase::Pending | Phase::Running)
}
