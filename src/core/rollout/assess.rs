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
    /// Since when the version is held for what both versions may share. What was over by then is no ground for saying
    /// that only the new one fails: pods of the stable version that showed the same may be gone.
    pub held_since: Option<Timestamp>,
    /// What was known before: it tells when evidence was first seen.
    pub before: &'a [EvidenceStatus],
}

/// Adds up.
pub(super) fn assess(material: &Material<'_>) -> Assessment {
    let lost = lost_nodes(material.pods);
    let new = showing(material, of_revision(material, material.candidate), &lost, material.retried);
    let old = showing(material, of_revision(material, material.stable), &lost, None);
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
        let is_over = refused.is_none() && new.is_over_since(material.held_since);
        result.blame = Some(judge(candidate, stable, &classes, refused, is_over, material));
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

    /// Whether all of it was over before this moment.
    fn is_over_since(&self, moment: Option<Timestamp>) -> bool {
        let mut all = self.found.values().flatten();
        moment.is_some_and(|moment| all.all(|(_, evidence)| evidence.over_since.is_some_and(|over| over < moment)))
    }
}

fn showing<'a>(
    material: &Material<'_>,
    pods: impl Iterator<Item = &'a PodView>,
    lost: &BTreeSet<&str>,
    retried: Option<Timestamp>,
) -> Showing<'a> {
    let mut result = Showing::default();
    let mut restarts = 0_u32;
    for pod in pods.filter(|pod| !says_nothing(pod, lost)) {
        result.pods += 1;
        if is_pardoned(pod, material, retried) {
            continue;
        }
        let (evidence, wait) = evidence::of_pod(pod, &material.measure);
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

/// A person asked to try again: what these pods went through is no evidence until they had their time anew.
fn is_pardoned(pod: &PodView, material: &Material<'_>, retried: Option<Timestamp>) -> bool {
    retried.is_some_and(|retried| {
        let over = material.measure.now.duration_since(retried) >= material.measure.patience.start;
        !over && pod.created.is_none_or(|created| created < retried)
    })
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
    is_over: bool,
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
    let blame = blame::blame(candidate, stable);
    if is_over && blame.verdict == Blame::Release {
        let rule = format!("nothing new since it is held: {}", blame.rule);
        return BlameStatus { verdict: Blame::Unknown, rule };
    }
    blame
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
