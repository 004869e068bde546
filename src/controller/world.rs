//! What the watches have seen: one picture of the cluster, kept small, behind one short lock.
//!
//! Never talks to the API server, never decides. Each change answers with the keys that may have to be looked at.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::departures::Departures;
use super::policy_object::PolicyObject;
use crate::api::{WorkloadHealthSpec, WorkloadHealthStatus};
use crate::core::deployment::Projection;
use crate::core::rollout::{PodView, Revision};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What may have to be looked at after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// One Deployment.
    Workload(Key),
    /// All Deployments of a namespace and its policies, not before some time.
    Namespace { namespace: Arc<str>, not_before: Option<Timestamp> },
    /// One policy.
    Policy(Key),
    /// The summaries of a namespace's policies.
    Summaries(Arc<str>),
}

#[derive(Clone, Debug)]
pub(crate) struct DeploymentEntry {
    pub(crate) uid: Box<str>,
    pub(crate) version: u64,
    pub(crate) projection: Projection,
}

#[derive(Clone, Debug)]
pub(crate) struct HealthEntry {
    pub(crate) uid: Box<str>,
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// Uid of the Deployment that owns it; empty when the reference was removed.
    pub(crate) owner: Box<str>,
    pub(crate) spec: WorkloadHealthSpec,
    /// `Err` when the stored status cannot be understood: then nothing is decided, for nothing may be lost.
    pub(crate) status: Result<Box<WorkloadHealthStatus>, String>,
}

impl HealthEntry {
    /// Whether it is the memory of the Deployment with this uid, and not of an earlier one of the same name. Without an owner
    /// reference (somebody removed it) it still is.
    pub(crate) fn is_of(&self, uid: &str) -> bool {
        &*self.owner == uid || self.owner.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct PolicyEntry {
    pub(crate) object: PolicyObject,
    /// When its last edit may be acted on.
    pub(crate) coalesced_at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct RevisionEntry {
    /// Uid of the Deployment that controls it.
    pub(crate) deployment: u128,
    pub(crate) revision: Revision,
}

/// The picture. Take it with [`World::read`] and [`World::write`], for a short time and never across an `await`.
#[derive(Default)]
pub(crate) struct Picture {
    pub(crate) policies: BTreeMap<Key, PolicyEntry>,
    pub(crate) deployments: BTreeMap<Key, DeploymentEntry>,
    pub(crate) healths: HashMap<Key, HealthEntry>,
    /// Deployment uid -> its key.
    pub(crate) deployment_keys: HashMap<u128, Key>,
    pub(crate) replica_sets: HashMap<u128, RevisionEntry>,
    /// ReplicaSets by the uid of their Deployment.
    pub(crate) replica_sets_of: HashMap<u128, HashSet<u128>>,
    pub(crate) pods: HashMap<u128, PodView>,
    /// Pods by the uid of their ReplicaSet.
    pub(crate) pods_of: HashMap<u128, HashSet<u128>>,
    pub(crate) budgets: BTreeMap<Key, Value>,
    pub(crate) autoscalers: BTreeMap<Key, Value>,
    /// Pods on their way out.
    pub(crate) departures: Departures,
}

/// The picture, shared.
#[derive(Default)]
pub(crate) struct World(Mutex<Picture>);

impl World {
    /// Works on the picture under its lock.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Picture) -> R) -> R {
        // A poisoned lock only means that another thread panicked between two consistent states.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Picture {
    /// All Deployments of a namespace.
    pub(crate) fn deployments_in<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a DeploymentEntry)> {
        let from = Key::new(namespace, "");
        self.deployments.range(from..).take_while(move |(key, _)| &*key.namespace == namespace)
    }

    /// All policies of a namespace.
    pub(crate) fn policies_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a PolicyEntry)> {
        let from = Key::new(namespace, "");
        self.policies.range(from..).take_while(move |(key, _)| &*key.namespace == namespace)
    }

    /// Takes in a pod; answers with the Deployment that has to be looked at when it says something new.
    pub(crate) fn insert_pod(&mut self, uid: u128, pod: PodView) -> Option<Key> {
        let before = self.pods.get(&uid);
        let pod = pod.following(before);
        let is_new = before.is_none_or(|before| !before.says_the_same(&pod));
        let set = parse_uid(&pod.revision);
        self.remove_pod(uid);
        self.pods_of.entry(set).or_default().insert(uid);
        self.pods.insert(uid, pod);
        is_new.then(|| self.key_of_set(set)).flatten()
    }

    /// The Deployment that a ReplicaSet belongs to.
    pub(crate) fn key_of_set(&self, set: u128) -> Option<Key> {
        self.deployment_keys.get(&self.replica_sets.get(&set)?.deployment).cloned()
    }

    /// All revisions of a Deployment, and all of their pods.
    pub(crate) fn revisions_of(&self, deployment: u128) -> (Vec<Revision>, Vec<PodView>) {
        let Some(sets) = self.replica_sets_of.get(&deployment) else { return (Vec::new(), Vec::new()) };
        let mut revisions: Vec<Revision> =
            sets.iter().filter_map(|set| Some(self.replica_sets.get(set)?.revision.clone())).collect();
        revisions.sort_by(|one, two| (&one.created, &one.name).cmp(&(&two.created, &two.name)));
        let mut pods: Vec<PodView> = self.all_pods_of(deployment).cloned().collect();
        pods.sort_by(|one, two| one.name.cmp(&two.name));
        (revisions, pods)
    }

    /// All pods of a Deployment, of whatever revision, in no order.
    pub(crate) fn all_pods_of(&self, deployment: u128) -> impl Iterator<Item = &PodView> {
        let sets = self.replica_sets_of.get(&deployment).into_iter().flatten();
        sets.filter_map(|set| self.pods_of.get(set)).flatten().filter_map(|uid| self.pods.get(uid))
    }

    /// Takes out a pod.
    pub(crate) fn remove_pod(&mut self, uid: u128) {
        let Some(pod) = self.pods.remove(&uid) else { return };
        let set = parse_uid(&pod.revision);
        if let Some(siblings) = self.pods_of.get_mut(&set) {
            siblings.remove(&uid);
            if siblings.is_empty() {
                self.pods_of.remove(&set);
            }
        }
    }

    /// The longest start among the pods that a Deployment has now, in seconds.
    pub(crate) fn longest_start(&self, deployment: u128) -> Option<i64> {
        self.all_pods_of(deployment).filter_map(PodView::start_seconds).max()
    }

    /// Takes note of a pod on its way out, before it is taken in; `is_news` tells that it does not come from a list.
    pub(crate) fn note_departure(&mut self, uid: u128, pod: &PodView, is_news: bool) {
        if !pod.deleting || !self.departures.is_on() {
            return;
        }
        let before = self.pods.get(&uid);
        let was_ready = before.is_some_and(|before| before.ready) || before.is_none() && pod.ready;
        // One that was seen to go before is not news, whatever it says now.
        let is_news = is_news && before.is_some_and(|before| !before.deleting);
        let set = self.replica_sets.get(&parse_uid(&pod.revision));
        let of = set.and_then(|set| {
            let key = self.deployment_keys.get(&set.deployment)?;
            Some((key.clone(), set.revision.version.app_hash.as_str().into()))
        });
        if let Some(of) = of.filter(|(key, _)| self.healths.contains_key(key)) {
            self.departures.begins(uid, of, was_ready, is_news);
        }
    }

    /// Takes note of a pod that is gone, before it is taken out.
    pub(crate) fn note_gone(&mut self, uid: u128, now: Timestamp) {
        let Some(pod) = self.pods.get(&uid) else { return };
        let healths = &self.healths;
        let stored = |key: &Key| {
            let status = healths.get(key)?.status.as_deref().ok()?;
            Some(status.shutdown.clone())
        };
        self.departures.ends(uid, pod, now, stored);
    }

    /// Takes in a ReplicaSet.
    pub(crate) fn insert_replica_set(&mut self, uid: u128, deployment: u128, revision: Revision) {
        self.remove_replica_set(uid);
        self.replica_sets.insert(uid, RevisionEntry { deployment, revision });
        self.replica_sets_of.entry(deployment).or_default().insert(uid);
    }

    /// Takes out a ReplicaSet.
    pub(crate) fn remove_replica_set(&mut self, uid: u128) {
        let Some(RevisionEntry { deployment, .. }) = self.replica_sets.remove(&uid) else { return };
        if let Some(siblings) = self.replica_sets_of.get_mut(&deployment) {
            siblings.remove(&uid);
            if siblings.is_empty() {
                self.replica_sets_of.remove(&deployment);
            }
        }
    }

    /// Namespaces that have a policy.
    pub(crate) fn governed_namespaces(&self) -> HashSet<Arc<str>> {
        self.policies.keys().map(|key| key.namespace.clone()).collect()
    }
}

/// A uid as a number: 16 bytes instead of a string of 36 with its own allocation. Uids of other shapes are hashed.
pub(crate) fn parse_uid(uid: &str) -> u128 {
    let hex: String = uid.chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&hex, 16).unwrap_or_else(|_| {
        // FNV-1a, 128 bit.
        uid.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
        })
    })
}

/// A resourceVersion as a number (KEP-5504: they are comparable); 0 when it is none.
pub(crate) fn parse_version(version: Option<&str>) -> u64 {
    version.and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_keep_their_identity() {
        let uid = "0b9a5c2e-6a5e-4d3f-9f6e-2f0a3c1d5e7f";
        assert_eq!(parse_uid(uid), 0x0b9a_5c2e_6a5e_4d3f_9f6e_2f0a_3c1d_5e7f);
        assert_ne!(parse_uid("not-a-uid"), parse_uid("not-a-uie"));
    }

    #[test]
    fn objects_of_one_namespace_are_found_and_no_others() {
        let mut picture = Picture::default();
        for (namespace, name) in [("a", "x"), ("ab", "y"), ("b", "z"), ("a", "w")] {
            let entry = DeploymentEntry {
                uid: "".into(),
                version: 0,
                projection: crate::core::deployment::project(&Value::Null),
            };
            picture.deployments.insert(Key::new(namespace, name), entry);
        }
        let names: Vec<_> = picture.deployments_in("a").map(|(key, _)| key.name.to_string()).collect();
        assert_eq!(names, ["w", "x"]);
    }
}
