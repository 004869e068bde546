//! The evidence of all pods of a rollout, added up: what speaks against the new version, and whether it is to blame.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::blame::{self, Cohort};
use super::evidence::{self, Evidence, Measure};
use super::facts::{self, Revision};
use super::pod::PodView;
use crate::api::gate::{Blame, BlameStatus, EvidenceClass, EvidenceStatus, MAX_EVIDENCE};
use crate::api::rollout::Tolerate;

/// What is known of the pods of a rollout.
#[derive(Clone, Debug, Default)]
pub(super) struct Assessment {
    /// Evidence against the new version by class, the most pods first.
    pub evidence: Vec<EvidenceStatus>,
    /// Whether it is more than is tolerated.
    pub is_against: bool,
    /// Whom it speaks against; None without evidence.
    pub blame: Option<BlameStatus>,
    /// Ready pods of the new version.
    pub candidate_ready: u32,
    /// Pods of the new version that say something.
    pub candidate_pods: u32,
    /// Of these, those that show evidence.
    pub candidate_failed: u32,
    /// Pods of the stable version that show evidence of their own.
    pub stable_failed: u32,
    /// When time alone may make evidence.
    pub look_again: Option<SignedDuration>,
}

/// What is assessed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Material<'a> {
    /// Pods of the Deployment.
    pub pods: &'a [PodView],
    /// The new revision, once it exists.
    pub candidate: Option<&'a Revision>,
    /// The stable revision.
    pub stable: Option<&'a Revision>,
    /// How evidence is judged.
    pub measure: Measure<'a>,
    /// What is tolerated.
    pub tolerate: &'a Tolerate,
    /// Pods made before this moment are given their patience anew.
    pub retried: Option<Timestamp>,
    /// Set while the version is held for what may be no fault of its own.
    pub held: Option<Held>,
    /// What was known before: it tells when evidence was first seen.
    pub before: &'a [EvidenceStatus],
}

/// A hold for what may be no fault of the version. Stable pods that showed the same failure may have recovered sooner, or be
/// gone: that only the new ones still show it is no ground for taking back, until they show something new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Since when, for this reason.
    pub since: Timestamp,
    /// Whether both versions show the failure, as far as was seen last.
    pub is_shared: bool,
}

/// Adds up.
pub(super) fn assess(material: &Material<'_>) -> Assessment {
    let lost = lost_nodes(material.pods);
    let new = showing(material, &material.measure, material.retried, of_revision(material, material.candidate), &lost);
    // What ails the stable version may well have begun before this rollout.
    let ever = Measure { since: Timestamp::MIN, ..material.measure };
    let old = showing(material, &ever, None, of_revision(material, material.stable), &lost);
    let refusal = refusal(material);
    let refused = refusal.filter(|(_, left)| left.is_none()).map(|(said, _)| said);
    let classes: Vec<EvidenceClass> = new.found.keys().copied().collect();
    let is_like_new = |class: EvidenceClass| classes.iter().any(|other| is_alike(*other, class));
    let alike = old.found.iter().filter(|(class, _)| is_like_new(**class)).map(|(_, pods)| pods.len()).sum();
    let candidate = Cohort { pods: new.pods, failed: new.failed() };
    let stable = Cohort { pods: old.pods, failed: count(alike) };
    let ready = of_revision(material, material.candidate).filter(|pod| pod.ready && !pod.deleting);
    let mut result = Assessment {
        // A pod that the API server refuses does not exist, so it cannot be among those that may fail.
        is_against: refused.is_some() || i64::from(candidate.failed) > i64::from(material.tolerate.failed_pods),
        candidate_ready: count(ready.count()),
        candidate_pods: candidate.pods,
        candidate_failed: candidate.failed,
        stable_failed: old.failed(),
        look_again: [new.wait, old.wait, refusal.and_then(|(_, left)| left)].into_iter().fold(None, sooner),
        ..Assessment::default()
    };
    if result.is_against {
        let blame = judge(candidate, stable, &classes, refused, material);
        let (blame, wait) = unless_old(blame, &new, material);
        result.look_again = sooner(result.look_again, wait);
        result.blame = Some(blame);
    }
    result.evidence = summary(material, new.found, refused);
    result
}

/// What the pods of a revision show, less what is tolerated.
#[derive(Default)]
struct Showing<'a> {
    found: BTreeMap<EvidenceClass, Vec<(&'a str, Evidence)>>,
    /// Pods that say something.
    pods: u32,
    /// When time alone may change it.
    wait: Option<SignedDuration>,
}

impl Showing<'_> {
    fn failed(&self) -> u32 {
        count(self.found.values().map(Vec::len).sum())
    }
}

/// While a version is held for what may be no fault of its own, it is to blame only for what is new since then, or for
/// what has lasted for as long as a start may take; and when that may be.
fn unless_old(blame: BlameStatus, new: &Showing<'_>, material: &Material<'_>) -> (BlameStatus, Option<SignedDuration>) {
    let Some(held) = material.held.filter(|_| blame.verdict == Blame::Release) else { return (blame, None) };
    let left = material.measure.patience.start - material.measure.now.duration_since(held.since);
    let lasts = left <= SignedDuration::ZERO;
    let mut all = new.found.values().flatten().map(|(_, evidence)| evidence.happened);
    // Pods that are refused show nothing, and that lasts.
    let is_new = all.any(|happened| happened.map_or(lasts, |at| at >= held.since)) || new.found.is_empty() && lasts;
    if is_new && !held.is_shared {
        return (blame, None);
    }
    let rule = format!("nothing new since it is held: {}", blame.rule);
    (BlameStatus { verdict: Blame::Unknown, rule }, (!lasts).then_some(left))
}

fn showing<'a>(
    material: &Material<'_>,
    measure: &Measure<'_>,
    retried: Option<Timestamp>,
    pods: impl Iterator<Item = &'a PodView>,
    lost: &BTreeSet<&str>,
) -> Showing<'a> {
    let mut result = Showing::default();
    let mut restarts = 0_u32;
    for pod in pods.filter(|pod| !says_nothing(pod, lost)) {
        result.pods += 1;
        if let Some(left) = pardon(pod, material, retried) {
            result.wait = sooner(result.wait, Some(left));
            continue;
        }
        let (evidence, wait) = evidence::of_pod(pod, measure);
        result.wait = sooner(result.wait, wait);
        if let Some(evidence) = evidence {
            if evidence.is_restart {
                let coming = count(pod.containers.iter().filter(|container| container.is_to_restart()).count());
                restarts = restarts.saturating_add(pod.restarts()).saturating_add(coming);
            }
            result.found.entry(evidence.class).or_default().push((&pod.name, evidence));
        }
    }
    if i64::from(restarts) <= i64::from(material.tolerate.restarts) {
        result.found.retain(|_, pods| {
            pods.retain(|(_, evidence)| !evidence.is_restart);
            !pods.is_empty()
        });
    }
    result
}

/// What the API server said when it refused a pod of the new version, and how long it may yet change its mind.
fn refusal<'a>(material: &Material<'a>) -> Option<(&'a str, Option<SignedDuration>)> {
    let refusal = material.candidate?.failure.as_ref()?;
    let since = refusal.since.unwrap_or(material.measure.since).max(material.measure.since);
    let left = material.measure.patience.schedule - material.measure.now.duration_since(since);
    let waits = refusal.is_passing() && left > SignedDuration::ZERO;
    Some((&*refusal.said, waits.then_some(left)))
}

fn of_revision<'a>(
    material: &Material<'a>,
    revision: Option<&'a Revision>,
) -> impl Iterator<Item = &'a PodView> + use<'a> {
    let pods = material.pods;
    revision.into_iter().flat_map(move |revision| pods.iter().filter(move |pod| pod.revision == revision.uid))
}

/// A person asked to try again: what these pods went through is no evidence until they had their time anew; and how long
/// that is yet. One that waits for its next try has had none.
fn pardon(pod: &PodView, material: &Material<'_>, retried: Option<Timestamp>) -> Option<SignedDuration> {
    let retried = retried.filter(|retried| pod.created.is_none_or(|created| created < *retried))?;
    let left = material.measure.patience.start - material.measure.now.duration_since(retried);
    if left > SignedDuration::ZERO {
        return Some(left);
    }
    let waits = pod.containers.iter().any(|container| container.waits_since(retried));
    waits.then_some(material.measure.patience.start)
}

/// Nodes that do not answer any more, as far as pods show it: see [`PodView::is_cut_off`].
fn lost_nodes(pods: &[PodView]) -> BTreeSet<&str> {
    pods.iter().filter(|pod| pod.is_cut_off() && !pod.node.is_empty()).map(|pod| &*pod.node).collect()
}

/// A pod that had not become ready when its node was lost looks like one that never will; only its neighbours tell.
fn says_nothing(pod: &PodView, lost: &BTreeSet<&str>) -> bool {
    pod.is_excluded() || !pod.ready && lost.contains(&*pod.node)
}

/// Whether two classes may be the same failure, seen at pods of different age.
fn is_alike(one: EvidenceClass, other: EvidenceClass) -> bool {
    use EvidenceClass::{
        Config, Crash, ImagePull, LivenessKilled, NotReadyInTime, OOMKilled, ReadinessGatePending, ReadyFlapping,
        Rejected, RestartedAfterReady, StartupFailed, Unschedulable,
    };
    let family = |class| match class {
        Crash | OOMKilled | LivenessKilled | StartupFailed | RestartedAfterReady => 0,
        NotReadyInTime | ReadyFlapping => 1,
        ImagePull => 2,
        Config => 3,
        Unschedulable => 4,
        Rejected => 5,
        ReadinessGatePending => 6,
    };
    family(one) == family(other)
        // A dependency that is gone makes old pods lose their readiness, and new ones crash.
        || family(one) <= 1 && family(other) <= 1
}

fn judge(
    candidate: Cohort,
    stable: Cohort,
    classes: &[EvidenceClass],
    refused: Option<&str>,
    material: &Material<'_>,
) -> BlameStatus {
    use EvidenceClass::{NotReadyInTime, ReadinessGatePending, ReadyFlapping, Unschedulable};
    if let (Some(said), true) = (refused, classes.is_empty()) {
        let stable_too = material.stable.is_some_and(|revision| revision.failure.is_some());
        let (verdict, rule) = if stable_too {
            (Blame::Environment, "pods of both versions are refused")
        } else if facts::is_for_a_quota(said) {
            (Blame::Unknown, "pods are refused for a quota, which both versions share")
        } else if facts::is_of_the_server(said) {
            (Blame::Unknown, "the API server cannot take pods, of whichever version")
        } else {
            (Blame::Release, "only pods of the new version are refused")
        };
        return BlameStatus { verdict, rule: rule.into() };
    }
    let all_in = |some: &[EvidenceClass]| classes.iter().all(|class| some.contains(class));
    if stable.failed == 0 && all_in(&[Unschedulable, ReadinessGatePending]) {
        let rule = format!(
            "{} of {} new pods wait for the cluster; pods of the stable version did that long ago, so there is nothing to compare",
            candidate.failed, candidate.pods
        );
        return BlameStatus { verdict: Blame::Unknown, rule };
    }
    if stable.pods == 0 && all_in(&[NotReadyInTime, ReadyFlapping]) && material.measure.is_complete {
        let rule = format!(
            "{} of {} new pods are not ready; there are no stable pods that would show a failing dependency",
            candidate.failed, candidate.pods
        );
        return BlameStatus { verdict: Blame::Unknown, rule };
    }
    blame::blame(candidate, stable)
}

fn summary(
    material: &Material<'_>,
    found: BTreeMap<EvidenceClass, Vec<(&str, Evidence)>>,
    refused: Option<&str>,
) -> Vec<EvidenceStatus> {
    let first_seen = |class: EvidenceClass| {
        let before = material.before.iter().find(|before| before.class == class);
        before.map_or(Time(material.measure.now), |before| before.first_seen.clone())
    };
    let mut all: Vec<EvidenceStatus> = found
        .into_iter()
        .filter_map(|(class, mut pods)| {
            let number = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            // The pod that was named before, as long as it shows it: a status that says the same is not written again.
            let before = material.before.iter().find(|before| before.class == class);
            let named = before.and_then(|before| pods.iter().position(|(name, _)| *name == before.pod));
            let first = pods.iter().enumerate().min_by_key(|(_, (name, _))| *name).map(|(index, _)| index)?;
            let (name, evidence) = pods.swap_remove(named.unwrap_or(first));
            Some(EvidenceStatus {
                class,
                pods: number,
                pod: name.into(),
                container: evidence.container.into(),
                message: evidence.message,
                first_seen: first_seen(class),
            })
        })
        .collect();
    if let Some(said) = refused {
        all.push(EvidenceStatus {
            class: EvidenceClass::Rejected,
            pods: material
                .candidate
                .map_or(0, |revision| revision.replicas.saturating_sub(revision.pods))
                .try_into()
                .unwrap_or(0),
            pod: material.candidate.map(|revision| revision.name.to_string()).unwrap_or_default(),
            container: String::new(),
            message: said.into(),
            first_seen: first_seen(EvidenceClass::Rejected),
        });
    }
    all.sort_by_key(|evidence| (std::cmp::Reverse(evidence.pods), evidence.class));
    all.truncate(MAX_EVIDENCE);
    all
}

/// The sooner of two moments, if any.
pub(super) fn sooner(one: Option<SignedDuration>, other: Option<SignedDuration>) -> Option<SignedDuration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
