//! The watches: one stream, one back-off and one health mark per kind, all feeding the picture and the queues.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, utils::ResetTimerBackoff};
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::metrics::Metrics;
use super::policy_object::{PolicyObject, StoredPolicy};
use super::readiness::Part;
use super::slim::{SlimAutoscaler, SlimBudget, SlimDeployment, SlimPod, SlimReplicaSet};
use super::world::{DeploymentEntry, HealthEntry, Key, Picture, PolicyEntry, Touched, World};
use super::world::{parse_uid, parse_version};
use crate::api::WorkloadHealth;
use crate::core::backoff::Backoff;

/// A kind that the picture keeps.
pub(crate) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// Objects per page of the first list: large objects in small pages keep the peak down.
    const PAGE: u32 = 500;
    /// Takes an object into the picture. `first` is true while the first list is read.
    fn apply(self, picture: &mut Picture, context: Context) -> Vec<Touched>;
    /// Takes it out again.
    fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched>;
    /// Identities of all that the picture has of this kind.
    fn known(picture: &Picture) -> Vec<Id>;
}

/// What an object is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    Key(Key),
    Uid(u128),
}

impl Id {
    /// Whether an object that a list did not name is gone: one of another namespace is not.
    fn is_in(&self, namespace: Option<&str>) -> bool {
        match (self, namespace) {
            (_, None) => true,
            (Self::Key(key), Some(namespace)) => &*key.namespace == namespace,
            // Uids do not tell their namespace: what is left over is harmless, for nothing leads to it.
            (Self::Uid(_), Some(_)) => false,
        }
    }
}

/// Circumstances of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Whether the first list is being read: nothing is new then.
    pub(crate) first_list: bool,
    /// Whether it comes from a list, the first one or a later one: when it happened is not known then.
    pub(crate) from_list: bool,
    /// How long edits of a policy are collected.
    pub(crate) coalesce: SignedDuration,
}

/// Where changes go.
pub(crate) struct Sink {
    pub(crate) world: Arc<World>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) touched: Box<dyn Fn(Touched) + Send + Sync>,
    pub(crate) coalesce: SignedDuration,
}

/// Half a second to ten: recovery after an outage is quick, and a watch that is denied costs little.
struct WatchBackoff {
    failures: u32,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let shape = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) };
        let wait = shape.after(self.failures, RandomState::new().hash_one(self.failures));
        self.failures = self.failures.saturating_add(1);
        Some(wait)
    }
}

impl kube::runtime::utils::Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Watches one kind for ever. `part` is ready once the first list is complete, and not while the watch fails.
pub(crate) async fn watch<K: Watched>(
    api: Api<K>,
    sink: Arc<Sink>,
    part: Part,
    by_uid: bool,
    namespace: Option<String>,
) {
    let kind = K::kind(&()).into_owned();
    let config = watcher::Config::default().page_size(K::PAGE);
    // Own back-off per watch: one that is denied must not slow the others down. Reset after two quiet minutes.
    let backoff = ResetTimerBackoff::new(WatchBackoff { failures: 0 }, Duration::from_secs(120));
    let mut events = std::pin::pin!(watcher(api, config).backoff(backoff));
    let mut seen: Option<HashSet<Id>> = None;
    let mut listed_once = false;
    let mut failing = false;
    while let Some(event) = events.next().await {
        match event {
            Err(error) => {
                sink.metrics.watch_failed(&kind);
                part.not_ready(&error.to_string());
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(kind, %error, "a watch failed, trying again");
                }
                continue;
            }
            Ok(Event::Init) => seen = Some(HashSet::new()),
            Ok(Event::InitApply(object)) => {
                let id = id_of(&object, by_uid);
                apply(&sink, object, Context { first_list: !listed_once, from_list: true, coalesce: sink.coalesce });
                if let Some(seen) = &mut seen {
                    seen.insert(id);
                }
            }
            Ok(Event::InitDone) => {
                let seen = seen.take().unwrap_or_default();
                let gone: Vec<Id> = sink.world.with(|picture| {
                    K::known(picture)
                        .into_iter()
                        .filter(|id| !seen.contains(id) && id.is_in(namespace.as_deref()))
                        .collect()
                });
                for id in &gone {
                    remove::<K>(&sink, id);
                }
                listed_once = true;
                part.ready();
            }
            Ok(Event::Apply(object)) => {
                apply(&sink, object, Context { first_list: false, from_list: false, coalesce: sink.coalesce });
            }
            Ok(Event::Delete(object)) => remove::<K>(&sink, &id_of(&object, by_uid)),
        }
        if std::mem::take(&mut failing) {
            tracing::info!(kind, "the watch is back");
            if listed_once && seen.is_none() {
                part.ready();
            }
        }
    }
}

fn id_of<K: Resource>(object: &K, by_uid: bool) -> Id {
    if by_uid { Id::Uid(parse_uid(object.meta().uid.as_deref().unwrap_or_default())) } else { Id::Key(key_of(object)) }
}

fn key_of<K: Resource>(object: &K) -> Key {
    Key::new(object.meta().namespace.as_deref().unwrap_or_default(), &object.name_any())
}

fn apply<K: Watched>(sink: &Sink, object: K, context: Context) {
    let touched = sink.world.with(|picture| object.apply(picture, context));
    touched.into_iter().for_each(&sink.touched);
}

fn remove<K: Watched>(sink: &Sink, id: &Id) {
    let touched = sink.world.with(|picture| K::remove(id, picture));
    touched.into_iter().for_each(&sink.touched);
}

impl Watched for StoredPolicy {
    fn apply(self, picture: &mut Picture, context: Context) -> Vec<Touched> {
        let key = key_of(&self);
        let object = PolicyObject::from(self);
        let before = picture.policies.get(&key);
        if before.is_some_and(|b| b.object.version > object.version) {
            return Vec::new();
        }
        let edited = before.is_none_or(|b| b.object.uid != object.uid || b.object.generation != object.generation);
        let guarded = before.is_some_and(|b| b.object.finalizer_at.is_none()) && object.finalizer_at.is_some();
        let unguarded = before.is_some_and(|b| b.object.finalizer_at.is_some()) && object.finalizer_at.is_none();
        let left = before.is_none_or(|b| !b.object.is_deleting()) && object.is_deleting();
        let now = super::clock::now();
        let coalesced_at = match before {
            Some(before) if !edited => before.coalesced_at,
            _ if context.first_list => now,
            _ => now.saturating_add(context.coalesce).unwrap_or(now),
        };
        picture.policies.insert(key.clone(), PolicyEntry { object, coalesced_at });
        if edited || left || guarded || unguarded {
            let not_before = (!left && coalesced_at > now).then_some(coalesced_at);
            vec![Touched::Policy(key.clone()), Touched::Namespace { namespace: key.namespace, not_before }]
        } else {
            Vec::new()
        }
    }

    fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched> {
        let Id::Key(key) = id else { return Vec::new() };
        picture.policies.remove(key);
        vec![
            Touched::Namespace { namespace: key.namespace.clone(), not_before: None },
            Touched::Summaries(key.namespace.clone()),
        ]
    }

    fn known(picture: &Picture) -> Vec<Id> {
        picture.policies.keys().cloned().map(Id::Key).collect()
    }
}

impl Watched for SlimDeployment {
    const PAGE: u32 = 100;

    fn apply(self, picture: &mut Picture, _: Context) -> Vec<Touched> {
        let key = key_of(&self);
        let version = parse_version(self.metadata.resource_version.as_deref());
        let before = picture.deployments.get(&key);
        if before.is_some_and(|b| b.version >= version && version > 0) {
            return Vec::new();
        }
        let summary = before.is_none_or(|b| b.projection.generation != self.projection.generation);
        let uid: Box<str> = self.metadata.uid.unwrap_or_default().into();
        if before.is_some_and(|b| b.uid != uid) {
            picture.departures.forget(&key);
        }
        picture.deployment_keys.insert(parse_uid(&uid), key.clone());
        let namespace = key.namespace.clone();
        picture.deployments.insert(key.clone(), DeploymentEntry { uid, version, projection: self.projection });
        let mut touched = vec![Touched::Workload(key)];
        if summary {
            touched.push(Touched::Summaries(namespace));
        }
        touched
    }

    fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched> {
        let Id::Key(key) = id else { return Vec::new() };
        picture.departures.forget(key);
        if let Some(gone) = picture.deployments.remove(key) {
            picture.deployment_keys.remove(&parse_uid(&gone.uid));
        }
        vec![Touched::Workload(key.clone()), Touched::Summaries(key.namespace.clone())]
    }

    fn known(picture: &Picture) -> Vec<Id> {
        picture.deployments.keys().cloned().map(Id::Key).collect()
    }
}

/// A WorkloadHealth as it is stored; its status may be one that this version cannot understand.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = WorkloadHealth)]
pub(crate) struct StoredHealth {
    pub(crate) metadata: kube::api::ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl StoredHealth {
    /// The form that is kept.
    pub(crate) fn into_entry(self) -> HealthEntry {
        let owner = self.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let status = if self.status.is_null() { Value::Object(serde_json::Map::new()) } else { self.status };
        HealthEntry {
            owner: owner.map(|o| o.uid.clone()).unwrap_or_default().into(),
            uid: self.metadata.uid.unwrap_or_default().into(),
            version: parse_version(self.metadata.resource_version.as_deref()),
            generation: self.metadata.generation.unwrap_or(1),
            spec: serde_json::from_value(self.spec).unwrap_or_default(),
            status: serde_json::from_value(status).map(Box::new).map_err(|error| without_value(&error.to_string())),
        }
    }
}

/// A decoding error without the value that it quotes: originals may hold secrets, and this goes to the log.
fn without_value(error: &str) -> String {
    if error.starts_with("missing field") {
        return error.into();
    }
    let what = error.split([':', '`', '"']).next().unwrap_or_default().trim();
    match error.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{what}, expected {expected}"),
        None => "a value has the wrong form".into(),
    }
}

impl Watched for StoredHealth {
    fn apply(self, picture: &mut Picture, _: Context) -> Vec<Touched> {
        let key = key_of(&self);
        let entry = self.into_entry();
        match picture.healths.get(&key).filter(|b| b.uid == entry.uid) {
            Some(before) if before.version > entry.version => return Vec::new(),
            // The echo of a write of ours, whose answer is in the picture already: only the summaries do not know it.
            Some(before) if before.version == entry.version => {
                // Unless a person asked for something while we wrote: it came with the answer, and nobody has looked at
                // it. Its own event is older than that, and wakes nobody.
                let is_unheard = entry.status.is_ok_and(|status| status.observed_generation < Some(entry.generation));
                let mut touched = vec![Touched::Summaries(key.namespace.clone())];
                touched.extend(is_unheard.then_some(Touched::Workload(key)));
                return touched;
            }
            _ => {}
        }
        picture.healths.insert(key.clone(), entry);
        vec![Touched::Summaries(key.namespace.clone()), Touched::Workload(key)]
    }

    fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched> {
        let Id::Key(key) = id else { return Vec::new() };
        picture.healths.remove(key);
        picture.departures.forget(key);
        vec![Touched::Workload(key.clone()), Touched::Summaries(key.namespace.clone())]
    }

    fn known(picture: &Picture) -> Vec<Id> {
        picture.healths.keys().cloned().map(Id::Key).collect()
    }
}

impl Watched for SlimReplicaSet {
    const PAGE: u32 = 100;

    fn apply(self, picture: &mut Picture, _: Context) -> Vec<Touched> {
        let Some(owner) = self.owner else { return Vec::new() };
        let uid = parse_uid(self.metadata.uid.as_deref().unwrap_or_default());
        let version = parse_version(Some(&self.revision.resource_version));
        let known = picture.replica_sets.get(&uid).map(|known| parse_version(Some(&known.revision.resource_version)));
        if known.is_some_and(|known| known > version) {
            return Vec::new();
        }
        picture.insert_replica_set(uid, parse_uid(&owner), self.revision);
        picture.key_of_set(uid).map(Touched::Workload).into_iter().collect()
    }

    fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched> {
        let Id::Uid(uid) = id else { return Vec::new() };
        let key = picture.key_of_set(*uid);
        picture.remove_replica_set(*uid);
        key.map(Touched::Workload).into_iter().collect()
    }

    fn known(picture: &Picture) -> Vec<Id> {
        picture.replica_sets.keys().copied().map(Id::Uid).collect()
    }
}

impl Watched for SlimPod {
    fn apply(self, picture: &mut Picture, context: Context) -> Vec<Touched> {
        if self.view.revision.is_empty() {
            return Vec::new();
        }
        let uid = parse_uid(&self.view.uid);
        picture.note_departure(uid, &self.view, !context.from_list);
        picture.insert_pod(uid, self.view).map(Touched::Workload).into_iter().collect()
    }

    fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched> {
        let Id::Uid(uid) = id else { return Vec::new() };
        let set = picture.pods.get(uid).map(|pod| parse_uid(&pod.revision));
        picture.note_gone(*uid, super::clock::now());
        picture.remove_pod(*uid);
        set.and_then(|set| picture.key_of_set(set)).map(Touched::Workload).into_iter().collect()
    }

    fn known(picture: &Picture) -> Vec<Id> {
        picture.pods.keys().copied().map(Id::Uid).collect()
    }
}

macro_rules! surroundings {
    ($kind:ident, $field:ident) => {
        impl Watched for $kind {
            fn apply(self, picture: &mut Picture, _: Context) -> Vec<Touched> {
                let key = key_of(&self);
                let changed = picture.$field.get(&key) != Some(&self.spec);
                picture.$field.insert(key.clone(), self.spec);
                let namespace = key.namespace;
                if changed { vec![Touched::Namespace { namespace, not_before: None }] } else { Vec::new() }
            }

            fn remove(id: &Id, picture: &mut Picture) -> Vec<Touched> {
                let Id::Key(key) = id else { return Vec::new() };
                picture.$field.remove(key);
                vec![Touched::Namespace { namespace: key.namespace.clone(), not_before: None }]
            }

            fn known(picture: &Picture) -> Vec<Id> {
                picture.$field.keys().cloned().map(Id::Key).collect()
            }
        }
    };
}
surroundings!(SlimBudget, budgets);
surroundings!(SlimAutoscaler, autoscalers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_of_our_own_write_still_reaches_the_summaries() {
        let stored = |version: &str| -> StoredHealth {
            let metadata =
                serde_json::json!({"namespace": "shop", "name": "web", "uid": "u", "resourceVersion": version});
            let status = serde_json::json!({"observedGeneration": 1});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status})).unwrap()
        };
        let context = Context { first_list: false, from_list: false, coalesce: SignedDuration::ZERO };
        let mut picture = Picture::default();
        let key = Key::new("shop", "web");
        picture.healths.insert(key.clone(), stored("7").into_entry()); // the answer to the write
        let summaries = Touched::Summaries(key.namespace.clone());
        assert_eq!(stored("6").apply(&mut picture, context), [], "older than the answer");
        assert_eq!(stored("7").apply(&mut picture, context), std::slice::from_ref(&summaries));
        assert_eq!(stored("8").apply(&mut picture, context), [summaries, Touched::Workload(key)]);
    }

    #[test]
    fn a_request_that_came_in_while_we_wrote_is_looked_at() {
        let answer = |generation: i64| -> StoredHealth {
            let metadata = serde_json::json!(
                {"namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "7", "generation": generation});
            let status = serde_json::json!({"observedGeneration": 1});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status})).unwrap()
        };
        let context = Context { first_list: false, from_list: false, coalesce: SignedDuration::ZERO };
        let key = Key::new("shop", "web");
        for (generation, is_looked_at) in [(1, false), (2, true)] {
            let mut picture = Picture::default();
            picture.healths.insert(key.clone(), answer(generation).into_entry());
            let touched = answer(generation).apply(&mut picture, context);
            assert_eq!(touched.contains(&Touched::Workload(key.clone())), is_looked_at);
        }
    }

    #[test]
    fn a_decoding_error_does_not_quote_the_value() {
        for (error, want) in [
            ("invalid type: string \"hush\", expected i64", "invalid type, expected i64"),
            ("unknown variant `hush`, expected one of `A`, `B`", "unknown variant, expected one of `A`, `B`"),
            ("missing field `name`", "missing field `name`"),
            ("failed to parse \"hush\"", "a value has the wrong form"),
        ] {
            assert_eq!(without_value(error), want);
        }
    }
}
