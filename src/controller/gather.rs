//! From the picture to what a decision needs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::gate::GateView;
use super::memory::Refusal;
use super::world::{DeploymentEntry, Key, Picture, PolicyEntry, parse_uid};
use crate::api::availability_status::AvailabilityStatus;
use crate::api::conditions::ConditionType;
use crate::api::gate::GateStatus;
use crate::api::shutdown_status::ShutdownStatus;
use crate::api::workload_health::{HeldField, PolicyReference};
use crate::api::{RIDE_ALONG_LABEL, WorkloadHealthStatus};
use crate::core::decide::{Observed, PolicyView, RefusedPlan};
use crate::core::deployment::{Projection, RolloutProgress};
use crate::core::ownership::{self, Contender};
use crate::core::plan::{self, Surroundings};

/// Everything about one Deployment, owned: the lock on the picture is not held while deciding.
pub(crate) struct Gathered {
    pub(crate) deployment: Projection,
    pub(crate) deployment_uid: Box<str>,
    pub(crate) owner: Option<(Key, PolicyEntry)>,
    pub(crate) weaker: Vec<String>,
    pub(crate) health: Option<WorkloadHealthStatus>,
    pub(crate) health_generation: i64,
    /// The object that `health` is stored in, if there is one.
    pub(crate) health_uid: Option<Box<str>>,
    /// A WorkloadHealth of an earlier Deployment of the same name, to be removed first.
    pub(crate) stale_health_uid: Option<Box<str>>,
    /// Why the stored status cannot be understood.
    pub(crate) unreadable: Option<String>,
    pub(crate) last_owner_leaves: bool,
    pub(crate) surroundings: Surroundings,
    pub(crate) gate: GateView,
    /// What is to be stored of its availability.
    pub(crate) availability: Option<AvailabilityStatus>,
    pub(crate) slot_free: bool,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) rival: Option<String>,
    pub(crate) now: jiff::Timestamp,
    /// Names this look in logs and traces.
    pub(crate) decision: String,
}

/// Gathers; `None` when there is no such Deployment.
pub(crate) fn gather(picture: &Picture, key: &Key) -> Option<Gathered> {
    let entry = picture.deployments.get(key)?;
    let object = entry.projection.value();
    let (mut health, mut health_uid, mut stale_health_uid, mut unreadable) = (None, None, None, None);
    let mut health_generation = 1;
    if let Some(stored) = picture.healths.get(key) {
        if stored.is_of(&entry.uid) {
            health_uid = Some(stored.uid.clone());
            health_generation = stored.generation;
            match &stored.status {
                Ok(status) => health = Some(WorkloadHealthStatus::clone(status)),
                Err(error) => unreadable = Some(error.clone()),
            }
        } else {
            stale_health_uid = Some(stored.uid.clone());
        }
    }
    // By a policy that enforces, the marker is read as it is planned for.
    let brought = unseen(picture, key, entry).map(|(name, policy, held)| memory_of(name, policy, held));
    let last_owner = health.as_ref().or(brought.as_ref()).and_then(|h| h.policy.as_ref());
    let (owner, weaker) =
        owner(picture, key, &entry.projection.labels, last_owner.map(|reference| reference.uid.as_str()));
    let is_enforced = owner.as_ref().is_some_and(|(_, policy)| policy.object.enforces());
    health = health.or_else(|| brought.filter(|_| !is_enforced));
    let last_owner = health.as_ref().and_then(|h| h.policy.as_ref());
    let last_owner_leaves = last_owner.is_none_or(|reference| {
        let found = picture.policies_in(&key.namespace).find(|(_, p)| *p.object.uid == *reference.uid);
        found.is_none_or(|(_, policy)| policy.object.is_deleting())
    });
    let mut surroundings = surroundings(picture, key, &object, &entry.uid);
    surroundings.rides_along = owner.as_ref().is_some_and(|(_, policy)| rides_along(policy, &entry.projection.labels));
    surroundings.shutdown = shutdown(picture, key, entry.projection.rollout, health.as_ref());
    Some(Gathered {
        deployment: entry.projection.clone(),
        deployment_uid: entry.uid.clone(),
        owner,
        weaker,
        health,
        health_generation,
        health_uid,
        stale_health_uid,
        unreadable,
        last_owner_leaves,
        surroundings,
        gate: GateView::gather(picture, key, &entry.uid),
        availability: None,
        slot_free: true,
        refusal: None,
        rival: None,
        now: super::clock::now(),
        decision: String::new(),
    })
}

/// The policy that rode along in a write of this Deployment before anybody has looked, and what it brought. It may have been edited
/// or deleted since, or the Deployment's labels were, so that it owns it no more: what it brought is given back before it goes.
pub(crate) fn unseen<'a>(
    picture: &'a Picture,
    key: &'a Key,
    deployment: &DeploymentEntry,
) -> Option<(&'a Key, &'a PolicyEntry, Vec<HeldField>)> {
    let rode_with = deployment.projection.rode_with.as_ref().filter(|_| !deployment.projection.deleting)?;
    if picture.healths.get(key).is_some_and(|health| health.is_of(&deployment.uid)) {
        return None;
    }
    let mut policies = picture.policies_in(&key.namespace);
    let (name, policy) = policies.find(|(_, policy)| policy.object.uid == rode_with.uid)?;
    // An older picture of the policy than the API server had cannot tell whether it still selects the Deployment.
    if policy.object.generation < rode_with.generation {
        return None;
    }
    let held = plan::rode_along(&deployment.projection.value());
    (!held.is_empty()).then_some((name, policy, held))
}

/// What would be remembered of a Deployment that this policy owned.
fn memory_of(name: &Key, policy: &PolicyEntry, held_fields: Vec<HeldField>) -> WorkloadHealthStatus {
    let mode = policy.object.spec.as_deref().map(|spec| spec.mode).unwrap_or_default();
    let (uid, generation) = (policy.object.uid.to_string(), policy.object.generation);
    let policy = PolicyReference { name: name.name.to_string(), uid, generation, mode };
    WorkloadHealthStatus { policy: Some(policy), held_fields, ..WorkloadHealthStatus::default() }
}

/// Which policy owns the Deployment, and the names of the weaker ones that select it too.
fn owner(
    picture: &Picture,
    key: &Key,
    labels: &BTreeMap<String, String>,
    last_owner: Option<&str>,
) -> (Option<(Key, PolicyEntry)>, Vec<String>) {
    // A policy that cannot be understood keeps what it owned, and nothing is touched: neither by it nor by another.
    let mut policies = picture.policies_in(&key.namespace);
    let invalid =
        policies.find(|(_, p)| p.object.spec.is_err() && !p.object.is_deleting() && last_owner == Some(&p.object.uid));
    if let Some((key, policy)) = invalid {
        return (Some((key.clone(), policy.clone())), Vec::new());
    }
    let contenders = picture.policies_in(&key.namespace).filter(|(_, policy)| !policy.object.is_deleting()).filter_map(
        |(key, policy)| {
            let spec = policy.object.spec.as_deref().ok()?;
            let created = Some(policy.object.created);
            let (priority, selector) = (spec.priority, &spec.selector);
            Some((Contender { name: &key.name, priority, created, selector }, (key, policy)))
        },
    );
    let ownership = ownership::owner(contenders, labels);
    let weaker = ownership.losers.iter().map(|(key, _)| key.name.to_string()).collect();
    (ownership.winner.map(|(key, policy)| (key.clone(), policy.clone())), weaker)
}

/// Whether the policy may have brought fields in others' writes of a Deployment with these labels, as far as its status says. It may
/// where nobody was let in to look, too.
fn rides_along(policy: &PolicyEntry, labels: &BTreeMap<String, String>) -> bool {
    let rides = ConditionType::RidesAlong.as_str();
    policy.object.status.conditions.iter().any(|condition| condition.type_ == rides && condition.status != "False")
        && labels.get(RIDE_ALONG_LABEL).is_none_or(|value| value != "disabled")
}

/// How its pods went. In the middle of a rollout they go one after another: what is stored stays until that is over.
fn shutdown(
    picture: &Picture,
    key: &Key,
    rollout: RolloutProgress,
    health: Option<&WorkloadHealthStatus>,
) -> Option<ShutdownStatus> {
    let stored = health.and_then(|health| health.shutdown.clone());
    let told = picture.departures.told(key).filter(|_| rollout != RolloutProgress::Moving);
    told.or(stored)
}

fn surroundings(picture: &Picture, key: &Key, object: &Value, uid: &str) -> Surroundings {
    let longest_start_seconds = picture.longest_start(parse_uid(uid));
    let mut surroundings = Surroundings { longest_start_seconds, ..Surroundings::default() };
    for (kind, objects) in
        [("PodDisruptionBudget", &picture.budgets), ("HorizontalPodAutoscaler", &picture.autoscalers)]
    {
        let from = Key { namespace: key.namespace.clone(), name: "".into() };
        let in_namespace = objects.range(from..).take_while(|(other, _)| other.namespace == key.namespace);
        for (name, spec) in in_namespace {
            let found = json!({"kind": kind, "metadata": {"name": &*name.name}, "spec": spec});
            surroundings.add(object, &found);
        }
    }
    surroundings
}

impl Gathered {
    /// As a decision sees it.
    pub(crate) fn observed<'a>(&'a self, gate: &'a GateStatus) -> Observed<'a> {
        Observed {
            now: self.now,
            deployment: &self.deployment,
            owner: self.owner.as_ref().map(|(key, policy)| view(key, policy)),
            weaker: &self.weaker,
            health: self.health.as_ref(),
            health_generation: self.health_generation,
            last_owner_leaves: self.last_owner_leaves,
            surroundings: &self.surroundings,
            slot_free: self.slot_free,
            refusal: self.refusal.as_ref().map(|r| RefusedPlan { hash: &r.plan, finding: &r.finding }),
            rival: self.rival.as_deref(),
            gate,
            availability: self.availability.as_ref(),
        }
    }
}

fn view<'a>(key: &'a Key, policy: &'a PolicyEntry) -> PolicyView<'a> {
    let spec = policy.object.spec.as_deref().ok();
    // Nothing is written before the finalizer stands: else a quick deletion would leave our values behind.
    let unguarded = policy.object.finalizer_at.is_none() && policy.object.enforces();
    let coalesced_at = if unguarded { jiff::Timestamp::MAX } else { policy.coalesced_at };
    PolicyView { name: &key.name, uid: &policy.object.uid, generation: policy.object.generation, spec, coalesced_at }
}
