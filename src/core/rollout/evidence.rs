//! What speaks against a pod: one class, with the pod's own words. `docs/reference/rollout-gate.md` lists the classes.
//!
//! Events are not read, so two things cannot be told apart for sure. A container that ends with 137 or 143 was killed
//! by a signal: by a probe, by the node, or by somebody in the pod. It counts as the work of a probe only where such a
//! probe exists, and as the startup probe's only when the start took at least that probe's budget. And a program that
//! ends with 0, or a code of its own, on SIGTERM looks like one that ended by itself: that is `Crash`, or
//! `RestartedAfterReady` when the pod had been ready.

use jiff::{SignedDuration, Timestamp};

use super::pod::{ContainerView, Phase, PodView, Pull, Terminated, printable};
use crate::api::gate::EvidenceClass;
use crate::api::rollout::Rollout;
use crate::core::plan::Start;

/// Time for a start when no probe bounds it.
const START_WITHOUT_PROBES: i64 = 300;
/// Shortest time for a start that is derived from probes, and what is added for the kubelet's own delays.
const SHORTEST_START: i64 = 60;
const KUBELET_DELAY: i64 = 10;
/// Time after which a pod that lost its readiness counts as flapping even if it loses it only once.
const LOST_READINESS: SignedDuration = SignedDuration::from_secs(30);
/// A container that has run, in a ready pod, for so long after a restart is well again: that restart says nothing more.
const RECOVERED: SignedDuration = SignedDuration::from_secs(60);

/// How long each phase of a start may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until there is a node.
    pub schedule: SignedDuration,
    /// Until the containers are made.
    pub pull: SignedDuration,
    /// From there to ready.
    pub start: SignedDuration,
}

impl Patience {
    /// The policy's numbers; 0 for the start derives it from the probes: what the startup (or else liveness) probe
    /// grants, what readiness takes, and 10 s for the kubelet; not under 60 s; 300 s when no probe bounds a start.
    pub fn of(rollout: &Rollout, start: &Start) -> Self {
        let derived = start.budget_seconds.map_or(START_WITHOUT_PROBES, |budget| {
            let ready = budget.saturating_add(start.readiness_seconds).saturating_add(KUBELET_DELAY);
            ready.max(SHORTEST_START)
        });
        let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
        let asked = rollout.patience.start_seconds;
        Self {
            schedule: seconds(rollout.patience.schedule_seconds),
            pull: seconds(rollout.patience.pull_seconds),
            start: if asked > 0 { seconds(asked) } else { SignedDuration::from_secs(derived) },
        }
    }
}

/// What speaks against one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What it is.
    pub class: EvidenceClass,
    /// The container; empty for the pod.
    pub container: Box<str>,
    /// The pod's own words.
    pub message: String,
    /// Whether it is about restarts, of which some may be tolerated.
    pub is_restart: bool,
    /// When it happened, where it is an event and not a state that lasts.
    pub happened: Option<Timestamp>,
}

/// What evidence is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Measure<'a> {
    /// Now.
    pub now: Timestamp,
    /// No phase began before: our own clock for this template. Restarts that ended before do not count.
    pub since: Timestamp,
    /// How long phases may take.
    pub patience: Patience,
    /// Probes of the template.
    pub start: &'a Start,
    /// Whether the rollout is complete, and no pods of the old version are left.
    pub is_complete: bool,
}

/// What speaks against a pod, and how long until time alone may say something.
pub fn of_pod(pod: &PodView, measure: &Measure<'_>) -> (Option<Evidence>, Option<SignedDuration>) {
    if pod.is_excluded() {
        return (None, None);
    }
    if let Some(found) = pod.containers.iter().find_map(|container| of_container(pod, container, measure)) {
        return (Some(found), None);
    }
    if let Some((found, left)) = pod.containers.iter().find_map(|container| of_last_run(pod, container, measure)) {
        return (Some(found), left);
    }
    if pod.phase == Phase::Failed {
        let message = format!("the pod failed: {}", pod.reason);
        return (Some(whole_pod(EvidenceClass::Crash, &message)), None);
    }
    of_time(pod, measure)
}

/// Evidence of a pod, not of one of its containers.
fn whole_pod(class: EvidenceClass, message: &str) -> Evidence {
    Evidence { class, container: "".into(), message: printable(message), is_restart: false, happened: None }
}

/// How a container ended, as evidence.
fn of_end(pod: &PodView, container: &ContainerView, ended: &Terminated, start: &Start) -> Evidence {
    let (class, message) = (class_of_end(pod, container, ended, start), describe(container, ended));
    Evidence { happened: ended.finished, ..found(container, class, &message) }
}

fn found(container: &ContainerView, class: EvidenceClass, message: &str) -> Evidence {
    let is_restart = matches!(
        class,
        EvidenceClass::Crash
            | EvidenceClass::OOMKilled
            | EvidenceClass::LivenessKilled
            | EvidenceClass::StartupFailed
            | EvidenceClass::RestartedAfterReady
    );
    let message = printable(message);
    Evidence { class, container: container.name.clone(), message, is_restart, happened: None }
}

/// What is evidence at once, and as long as it lasts.
fn of_container(pod: &PodView, container: &ContainerView, measure: &Measure<'_>) -> Option<Evidence> {
    let found = |class, message: String| Some(found(container, class, &message));
    if let Some(waiting) = &container.waiting {
        let said = if waiting.message.is_empty() { &waiting.reason } else { &waiting.message };
        let said = format!("{}: {said}", waiting.reason);
        match &*waiting.reason {
            // A registry that does not answer may just have hiccuped: that is no fault of the version.
            "ImagePullBackOff" | "ErrImagePull" if waiting.pull == Pull::Refused => {
                return found(EvidenceClass::ImagePull, said);
            }
            "ImagePullBackOff" if waiting.pull == Pull::Unexplained => return found(EvidenceClass::ImagePull, said),
            "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => return found(EvidenceClass::ImagePull, said),
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError" => return found(EvidenceClass::Config, said),
            "CrashLoopBackOff" => {
                let ended = container.last.as_ref().or(container.terminated.as_ref());
                return ended.map_or_else(
                    || found(EvidenceClass::Crash, said.clone()),
                    |ended| Some(of_end(pod, container, ended, measure.start)),
                );
            }
            _ => {}
        }
    }
    // A container that ended badly and is about to be started again; an init container that ended well has done its work.
    let ended = container.terminated.as_ref().filter(|_| container.is_to_restart())?;
    Some(of_end(pod, container, ended, measure.start))
}

/// A restart that is over, and how long it counts yet.
fn of_last_run(
    pod: &PodView,
    container: &ContainerView,
    measure: &Measure<'_>,
) -> Option<(Evidence, Option<SignedDuration>)> {
    let ended = container.last.as_ref().filter(|_| container.restarts > 0)?;
    let counts = ended.finished.is_none_or(|finished| finished >= measure.since);
    if !counts || container.init && ended.exit == 0 {
        return None;
    }
    let since = pod.ready_since.max(container.running_since).filter(|_| pod.ready);
    let left = since.map(|since| RECOVERED - measure.now.duration_since(since));
    if left.is_some_and(|left| left <= SignedDuration::ZERO) {
        return None;
    }
    let happened = ended.finished.or(container.running_since);
    Some((Evidence { happened, ..of_end(pod, container, ended, measure.start) }, left))
}

fn class_of_end(pod: &PodView, container: &ContainerView, ended: &Terminated, start: &Start) -> EvidenceClass {
    if &*ended.reason == "OOMKilled" {
        return EvidenceClass::OOMKilled;
    }
    if &*ended.reason == "ContainerCannotRun" || &*ended.reason == "StartError" {
        return EvidenceClass::Config;
    }
    let killers = start.killers.iter().find(|killers| killers.container == container.name);
    let ran = ended.finished.zip(ended.started).map(|(end, begin)| end.duration_since(begin).as_secs());
    let budget = killers.and_then(|killers| killers.startup_seconds);
    let outlived = !pod.was_ready && ran.zip(budget).is_some_and(|(ran, budget)| ran >= budget);
    // A program that heeds SIGTERM ends with 0: after its budget that is the answer to the startup probe's kill.
    if outlived && matches!(ended.exit, 0 | 137 | 143) {
        return EvidenceClass::StartupFailed;
    }
    // With a startup probe, liveness begins only after the start; whether that came is known from readiness.
    let is_past_start = pod.was_ready || budget.is_none();
    let is_watched = killers.is_some_and(|killers| killers.liveness) && is_past_start;
    if is_watched && matches!(ended.exit, 137 | 143) {
        return EvidenceClass::LivenessKilled;
    }
    if pod.was_ready { EvidenceClass::RestartedAfterReady } else { EvidenceClass::Crash }
}

fn describe(container: &ContainerView, ended: &Terminated) -> String {
    let restarts =
        if container.restarts == 1 { "1 restart".into() } else { format!("{} restarts", container.restarts) };
    let said = if ended.message.is_empty() { String::new() } else { format!(": {}", ended.message) };
    let reason = if ended.reason.is_empty() { "ended" } else { &*ended.reason };
    printable(&format!("{reason}, exit code {}, {restarts}{said}", ended.exit))
}

/// What is evidence when it lasts.
fn of_time(pod: &PodView, measure: &Measure<'_>) -> (Option<Evidence>, Option<SignedDuration>) {
    let since = |moment: Option<Timestamp>| moment.unwrap_or(measure.since).max(measure.since);
    let judge = |class, begun: Timestamp, patience: SignedDuration, container: &str, message: String| {
        let left = patience - measure.now.duration_since(begun);
        if left > SignedDuration::ZERO {
            return (None, Some(left));
        }
        (Some(Evidence { container: container.into(), ..whole_pod(class, &message) }), None)
    };
    if !pod.scheduled {
        let why = if pod.unschedulable.is_empty() { "no node was chosen" } else { &pod.unschedulable };
        return judge(EvidenceClass::Unschedulable, since(pod.created), measure.patience.schedule, "", why.to_owned());
    }
    if pod.ready {
        let left = pod.ready_since.map(|since| RECOVERED - measure.now.duration_since(since));
        if pod.ready_losses >= 2 && left.is_none_or(|left| left > SignedDuration::ZERO) {
            let message = format!("lost its readiness {} times", pod.ready_losses);
            let flapped = whole_pod(EvidenceClass::ReadyFlapping, &message);
            return (Some(Evidence { happened: pod.ready_since, ..flapped }), left);
        }
        return (None, None);
    }
    if let Some(container) = pod.containers.iter().find(|container| container.waiting.is_some()) {
        let waiting = container.waiting.clone().unwrap_or_default();
        let message = format!("{}: {}", waiting.reason, waiting.message);
        let class = match &*waiting.reason {
            "ErrImagePull" | "ImagePullBackOff" => EvidenceClass::ImagePull,
            _ => EvidenceClass::NotReadyInTime,
        };
        let whole = measure.patience.pull;
        // Main containers wait (PodInitializing) for as long as init containers take.
        let initializing = &*waiting.reason == "PodInitializing";
        let allowed = if initializing { whole.saturating_add(measure.patience.start) } else { whole };
        return judge(class, since(pod.created), allowed, &container.name, message);
    }
    let regular = || pod.containers.iter().filter(|container| !container.init);
    let Some(running) = regular().filter_map(|container| container.running_since).max() else {
        let allowed = measure.patience.pull.saturating_add(measure.patience.start);
        return judge(EvidenceClass::NotReadyInTime, since(pod.created), allowed, "", "no container runs".into());
    };
    if pod.ready_losses >= 2 {
        let message = format!("lost its readiness {} times", pod.ready_losses);
        return judge(EvidenceClass::ReadyFlapping, running, SignedDuration::ZERO, "", message);
    }
    // The condition turned after the last container had begun to run: so the pod had been ready in this run.
    let lost = pod.ready_losses > 0 || pod.ready_since.is_some_and(|turned| turned > running);
    if lost && pod.was_ready {
        let message = "lost its readiness and did not get it back".into();
        return judge(EvidenceClass::ReadyFlapping, since(pod.ready_since), LOST_READINESS, "", message);
    }
    if !pod.gates_waiting.is_empty() && regular().all(|container| container.ready) {
        let message = format!("readiness gates that are not true: {}", pod.gates_waiting.join(", "));
        return judge(EvidenceClass::ReadinessGatePending, since(Some(running)), measure.patience.start, "", message);
    }
    let unready = regular().find(|container| !container.ready);
    let message = match unready {
        Some(container) if !container.started => "the container runs, but its startup probe has not passed",
        Some(_) => "the container runs, but is not ready",
        None => "the pod is not ready",
    };
    let container = unready.map(|container| &*container.name).unwrap_or_default();
    judge(EvidenceClass::NotReadyInTime, since(Some(running)), measure.patience.start, container, message.into())
}
