//! Worst-case figures that follow from the template as it will be. `docs/reference/timings.md` explains the formulas.

use super::field::Field;
use super::probe_view::Handler;
use super::workload::{Container, Kind, Workload};
use crate::api::workload_health::ContainerTimings;

/// Time that the kubelet leaves a container after its hook, even when the grace period is used up
/// (`minimumGracePeriodInSeconds`); also the margin that a plan adds to drain + finish.
pub const MINIMUM_STOP_SECONDS: i64 = 2;

/// From the deletion of a pod until the kubelet begins to end it, at most: it first waits for a look at its runtime that is
/// newer than its last work on the pod (`podCache.GetNewerThan`), and it looks once a second. 1.6 s is the most that was
/// seen on a real node (`make e2e`); the pod serves meanwhile.
pub const NOTICE_SECONDS: i64 = 2;

/// Worst-case figures of a rollout, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloutTimings {
    /// `spec.replicas`.
    pub replicas: i64,
    /// Pods that are replaced at the same time, at most: maxSurge + maxUnavailable.
    pub pods_per_step: i64,
    /// From the start of a new pod's containers until it is available.
    pub step_seconds: i64,
    /// All steps, one after the other.
    pub rollout_seconds: i64,
}

/// The figures of one container.
pub(super) fn of_container(workload: &Workload<'_>, container: &Container<'_>) -> ContainerTimings {
    let liveness = container.probe(Field::LivenessProbe);
    let liveness_detection = liveness.map(super::probe_view::ProbeView::detection);
    let grace = effective_grace(workload);
    let kill_grace = liveness.and_then(|probe| probe.grace().filter(|grace| *grace > 0)).unwrap_or(grace);
    ContainerTimings {
        container: container.name.into(),
        startup_budget_seconds: startup_budget(container),
        readiness_detection_seconds: container
            .probe(Field::ReadinessProbe)
            .map(super::probe_view::ProbeView::detection),
        liveness_detection_seconds: liveness_detection,
        liveness_restart_seconds: liveness_detection
            .map(|detection| detection.saturating_add(kill_time(container, kill_grace))),
        drain_seconds: container.sleep().map(|sleep| sleep.min(grace)),
        finish_seconds: Some(finish_time(container, grace)),
        shutdown_seconds: Some(shutdown_time(container, grace)),
    }
}

/// From the deletion of the pod until the container is killed, at most.
fn shutdown_time(container: &Container<'_>, grace: i64) -> i64 {
    let kill = match container.kind {
        // It waits for its turn as long as the grace period lasts, and is then told to stop (KEP-753).
        Kind::Sidecar => grace.saturating_add(MINIMUM_STOP_SECONDS),
        _ => kill_time(container, grace).max(MINIMUM_STOP_SECONDS),
    };
    kill.saturating_add(NOTICE_SECONDS)
}

/// Time that a start may surely take before a probe kills the container; None: no probe does.
pub(super) fn startup_budget(container: &Container<'_>) -> Option<i64> {
    container
        .probe(Field::StartupProbe)
        .or_else(|| container.probe(Field::LivenessProbe))
        .map(super::probe_view::ProbeView::budget)
}

/// The largest startup budget of all containers.
pub(super) fn longest_startup_budget(workload: &Workload<'_>) -> i64 {
    workload.lasting().filter_map(startup_budget).max().unwrap_or(0)
}

/// A negative grace period counts as 1 second.
pub(super) fn effective_grace(workload: &Workload<'_>) -> i64 {
    if workload.grace_after < 0 { 1 } else { workload.grace_after }
}

/// From the decision to kill until the container is gone, when it ignores SIGTERM.
fn kill_time(container: &Container<'_>, grace: i64) -> i64 {
    if grace == 0 {
        return 0; // no hook, no waiting
    }
    match container.pre_stop() {
        None => grace.max(MINIMUM_STOP_SECONDS),
        Some(hook) => {
            // A hook of unknown duration may use the whole grace period.
            let hook = hook.sleep().unwrap_or(grace).min(grace);
            hook.saturating_add((grace - hook).max(MINIMUM_STOP_SECONDS))
        }
    }
}

/// Time after SIGTERM that the container surely has.
pub(super) fn finish_time(container: &Container<'_>, grace: i64) -> i64 {
    if grace == 0 {
        return 0;
    }
    // A sidecar is told to stop when the last main container is gone, from the same budget.
    if container.kind == Kind::Sidecar {
        return MINIMUM_STOP_SECONDS;
    }
    let hook = container.pre_stop().map_or(0, |hook| hook.sleep().unwrap_or(grace)).min(grace);
    (grace - hook).max(MINIMUM_STOP_SECONDS)
}

/// The longest time from a started container to a ready one, by what the probes tolerate.
pub(super) fn readiness_wait(workload: &Workload<'_>) -> i64 {
    let of_probe = |container: &Container<'_>| {
        container.probe(Field::ReadinessProbe).map(|probe| {
            let repeats = (probe.successes() - 1).saturating_mul(probe.period());
            probe.period().saturating_add(probe.timeout()).saturating_add(repeats)
        })
    };
    workload.lasting().filter_map(of_probe).max().unwrap_or(0)
}

/// The figures of a rollout.
pub(super) fn of_rollout(workload: &Workload<'_>) -> RolloutTimings {
    let replicas = workload.replicas().max(0);
    let start = longest_startup_budget(workload).saturating_add(readiness_wait(workload));
    let step = start.saturating_add(workload.min_ready_after.max(0));
    if workload.is_recreate() {
        let whole = if replicas == 0 { 0 } else { step.saturating_add(effective_grace(workload)) };
        return RolloutTimings { replicas, pods_per_step: replicas, step_seconds: step, rollout_seconds: whole };
    }
    let (surge, unavailable) = workload.stride();
    let pods_per_step = surge.saturating_add(unavailable).max(1);
    let steps = replicas / pods_per_step + i64::from(replicas % pods_per_step != 0);
    let rollout_seconds = steps.saturating_mul(step);
    RolloutTimings { replicas, pods_per_step: pods_per_step.min(replicas), step_seconds: step, rollout_seconds }
}

impl Workload<'_> {
    /// maxSurge and maxUnavailable in pods.
    pub(super) fn stride(&self) -> (i64, i64) {
        stride(self.root, self.replicas().max(0))
    }
}

/// maxSurge (rounded up) and maxUnavailable (rounded down) in pods; both 0 makes it one at a time.
pub(super) fn stride(root: &serde_json::Value, replicas: i64) -> (i64, i64) {
    let scaled = |name: &str, up: bool| {
        let value = root.pointer(&format!("/spec/strategy/rollingUpdate/{name}"));
        scale(value, replicas, up).unwrap_or_else(|| scale_percent(25, replicas, up))
    };
    match (scaled("maxSurge", true), scaled("maxUnavailable", false)) {
        (0, 0) => (0, 1),
        stride => stride,
    }
}

/// A number, or a percentage of `whole`.
pub(super) fn scale(value: Option<&serde_json::Value>, whole: i64, up: bool) -> Option<i64> {
    let value = value?;
    match value.as_str() {
        Some(text) => {
            let percent = text.strip_suffix('%')?.parse::<i64>().ok().filter(|percent| *percent >= 0)?;
            Some(scale_percent(percent, whole, up))
        }
        None => value.as_i64().filter(|number| *number >= 0),
    }
}

fn scale_percent(percent: i64, whole: i64, up: bool) -> i64 {
    let product = whole.saturating_mul(percent);
    product / 100 + i64::from(up && product % 100 != 0)
}

/// Whether a hook's duration is unknown.
pub(super) fn is_unknown_hook(container: &Container<'_>) -> bool {
    container.pre_stop().is_some_and(|hook| !matches!(hook.handler(), Handler::Sleep { .. }))
}
