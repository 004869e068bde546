//! One look at one policy: its finalizer, and the summary in its status. The summary is rate-limited by the queue that
//! leads here, not by what happens in the fleet.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::{Request, header};
use serde_json::{Value, json};

use super::events::{Event, Publisher, Regarding};
use super::gather::unseen;
use super::memory::Memory;
use super::metrics::Metrics;
use super::policy_object::PolicyObject;
use super::queue::WorkQueue;
use super::ride_along::Detection;
use super::world::{Key, Picture, PolicyEntry, World};
use super::writes::{CallError, Caller};
use crate::api::conditions::ConditionType;
use crate::api::gate::GateState;
use crate::api::policy_status::RideAlongStatus;
use crate::api::workload_health::HeldField;
use crate::api::{FIELD_MANAGER, FINALIZER, HealthPolicyStatus};
use crate::core::backoff;
use crate::core::ownership::Contender;
use crate::core::plan::Field;
use crate::core::policy_summary::{Owner, PolicyFacts, Selected, summarize};
use crate::core::ride_along::{self, Peer, RideAlong};
use crate::core::selector;

/// Looks at policies.
pub(crate) struct Policies {
    pub(crate) world: Arc<World>,
    pub(crate) queue: Arc<WorkQueue<Key>>,
    pub(crate) caller: Caller,
    pub(crate) publisher: Publisher,
    pub(crate) memory: Memory,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ride_along: Detection,
}

/// What a policy says of a Deployment whose WorkloadHealth cannot be understood.
const MEMORY_INVALID: (&str, &str, &str) = (
    "Unknown",
    "MemoryInvalid",
    "Its WorkloadHealth cannot be understood, and nothing is touched until it is corrected; if no newer version of the \
     operator wrote it, delete it (originals of replaced fields are lost then).",
);

/// Until no API server lets a deleted policy ride along any more, and what it brought has been seen.
const RIDES_ON: Duration = Duration::from_secs(3);

/// Until a weaker policy, whose summary was due when this one was edited, should know of it.
const PEER_DELAY: Duration = Duration::from_millis(500);

/// What a policy needs now.
enum Need {
    /// Nothing, or nothing yet.
    Nothing,
    /// Its finalizer, before anything may be written.
    Guard { uid: Box<str>, first: bool },
    /// To be let go: nothing holds a value of it any more.
    LetGo { uid: Box<str>, finalizer_at: Option<usize> },
    /// Another status.
    Status { uid: Box<str>, status: Box<HealthPolicyStatus>, event: Option<Event>, again: bool },
    /// Another look after that time: a weaker policy does not know of it yet, or it may still ride along.
    Again(Duration),
}

impl Policies {
    /// Works off the queue until it is closed.
    pub(crate) async fn work(self: Arc<Self>) {
        while let Some((key, _)) = self.queue.next().await {
            match AssertUnwindSafe(self.look(&key)).catch_unwind().await {
                Ok(Ok(again)) => {
                    self.memory.succeeded(&key);
                    if let Some(again) = again {
                        self.queue.add_after(key.clone(), again);
                    }
                }
                Ok(Err(CallError::Gone)) => {}
                Ok(Err(CallError::NotLeader)) => self.queue.add_after(key.clone(), Duration::from_secs(2)),
                Ok(Err(error)) => {
                    let wait = self.memory.failed(&key, backoff::TRANSIENT);
                    tracing::warn!(policy = %key, %error, ?wait, "trying again");
                    self.queue.add_after(key.clone(), wait);
                }
                Err(_) => {
                    self.metrics.panicked();
                    let wait = self.memory.failed(&key, backoff::PERMANENT);
                    tracing::error!(policy = %key, ?wait, "a bug: looking at this policy panicked");
                    self.queue.add_after(key.clone(), wait);
                }
            }
            self.queue.done(&key);
        }
    }

    /// Puts all policies into the queue.
    pub(crate) fn look_at_all(&self) {
        let keys: Vec<Key> = self.world.with(|picture| picture.policies.keys().cloned().collect());
        for key in keys {
            self.queue.add(key);
        }
    }

    async fn look(&self, key: &Key) -> Result<Option<Duration>, CallError> {
        let rides = self.ride_along.of(&key.namespace);
        match self.world.with(|picture| need(picture, key, rides)) {
            Need::Guard { uid, first } => {
                let patch = if first {
                    let path = "/metadata/finalizers";
                    json!([
                        test_uid(&uid),
                        {"op": "test", "path": path, "value": null},
                        {"op": "add", "path": path, "value": [FINALIZER]},
                    ])
                } else {
                    json!([test_uid(&uid), {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}])
                };
                self.patch(key, "", "finalizer", &patch).await?;
                Ok(None) // its own event brings the status
            }
            Need::LetGo { uid, finalizer_at: Some(at) } => {
                let path = format!("/metadata/finalizers/{at}");
                let patch = json!([
                    test_uid(&uid),
                    {"op": "test", "path": path, "value": FINALIZER},
                    {"op": "remove", "path": path},
                ]);
                self.patch(key, "", "finalizer", &patch).await?;
                tracing::info!(policy = %key, "finalizer removed: no Deployment carries anything of this policy");
                Ok(None)
            }
            Need::Nothing | Need::LetGo { .. } => Ok(None),
            Need::Again(wait) => Ok(Some(wait)),
            Need::Status { uid, status, event, again } => {
                let patch = json!([test_uid(&uid), {"op": "add", "path": "/status", "value": status}]);
                self.patch(key, "/status", "policy_status", &patch).await?;
                if let Some(event) = event {
                    let regarding =
                        Regarding { api_version: "gracekeeper.dev/v1alpha1", kind: "HealthPolicy", key, uid: &uid };
                    self.publisher.publish(regarding, &event).await;
                }
                Ok(again.then_some(PEER_DELAY))
            }
        }
    }

    async fn patch(&self, key: &Key, subresource: &str, what: &'static str, patch: &Value) -> Result<(), CallError> {
        let uri = format!(
            "/apis/gracekeeper.dev/v1alpha1/namespaces/{}/healthpolicies/{}{subresource}?fieldManager={FIELD_MANAGER}",
            key.namespace, key.name
        );
        let request = Request::patch(uri)
            .header(header::CONTENT_TYPE, "application/json-patch+json")
            .body(patch.to_string().into_bytes())
            .map_err(|error| CallError::Transport(error.to_string()))?;
        self.caller.write(what, request).await.map(|_| ())
    }
}

fn test_uid(uid: &str) -> Value {
    json!({"op": "test", "path": "/metadata/uid", "value": uid})
}

/// Finds out what a policy needs. Pure, but for the time.
fn need(picture: &Picture, key: &Key, rides: RideAlong) -> Need {
    let Some(policy) = picture.policies.get(key) else { return Need::Nothing };
    let object = &policy.object;
    let holding = picture.deployments_in(&key.namespace).filter(|(_, d)| !d.projection.deleting).filter(|(k, d)| {
        let rode_along = || d.projection.rode_with.as_ref().is_some_and(|with| with.uid == object.uid);
        let is_unseen = || rode_along() && unseen(picture, k, d).is_some();
        picture.healths.get(*k).is_some_and(|health| {
            health.is_of(&d.uid)
                && health.status.as_ref().map_or(true, |s| {
                    let paused = s.gate.as_ref().is_some_and(|gate| gate.paused_by_us.is_some());
                    (paused || !s.held_fields.is_empty()) && s.policy.as_ref().is_some_and(|p| *p.uid == *object.uid)
                })
        }) || is_unseen()
    });
    if object.is_deleting() {
        if object.finalizer_at.is_none() {
            return Need::Nothing;
        }
        if holding.count() > 0 {
            return status(picture, key, policy, rides); // each Deployment that is released brings it here again
        }
        return match still_rides(object, rides) {
            Some(wait) => Need::Again(wait),
            None => Need::LetGo { uid: object.uid.clone(), finalizer_at: object.finalizer_at },
        };
    }
    let keeps = object.enforces() || object.spec.is_err() || holding.count() > 0;
    match (object.finalizer_at, keeps) {
        (None, true) => Need::Guard { uid: object.uid.clone(), first: object.finalizers == 0 },
        // An audit that holds nothing can be deleted without us.
        (Some(at), false) => Need::LetGo { uid: object.uid.clone(), finalizer_at: Some(at) },
        _ => status(picture, key, policy, rides),
    }
}

/// How long a policy that is being deleted may still ride along: API servers learn of it one after another, and a Deployment that it
/// brought something in that time holds it, once it is seen.
fn still_rides(object: &PolicyObject, rides: RideAlong) -> Option<Duration> {
    if matches!(rides, RideAlong::Off | RideAlong::NotInstalled | RideAlong::NotServed) {
        return None;
    }
    let since = super::clock::now().duration_since(object.deleted?);
    let since = Duration::try_from(since).unwrap_or_default(); // their clock may be ahead of ours
    RIDES_ON.checked_sub(since).filter(|wait| !wait.is_zero())
}

/// When the policy may ride along, and whether to look again soon; `None` when it is none of the contenders.
fn may_ride_along(picture: &Picture, key: &Key, policy: &PolicyEntry) -> Option<(RideAlongStatus, bool)> {
    let this = peer(key, policy)?;
    let others = picture.policies_in(&key.namespace).filter(|(other, _)| *other != key);
    let others = others.filter_map(|(other, policy)| peer(other, policy));
    Some(ride_along::status(&this, policy.object.generation, keeps_originals(picture, key), others))
}

/// Whether some ledger of the namespace holds the original of a value that was set, or might. A number that was raised is left to
/// the operator anyway where its original does not stand on the Deployment.
fn keeps_originals(picture: &Picture, key: &Key) -> bool {
    picture.deployments_in(&key.namespace).any(|(name, _)| {
        picture.healths.get(name).is_some_and(|health| {
            health.status.as_ref().map_or(true, |status| {
                let is_kept = |held: &HeldField| {
                    let is_set = !held.container.is_empty() || held.field == Field::MinReadySeconds.as_str();
                    is_set && held.original.as_deref().is_some_and(|original| original != "null")
                };
                status.held_fields.iter().any(is_kept)
            })
        })
    })
}

fn peer<'a>(key: &'a Key, policy: &'a PolicyEntry) -> Option<Peer<'a>> {
    let object = &policy.object;
    let spec = object.spec.as_deref().ok().filter(|_| !object.is_deleting())?;
    let contender =
        Contender { name: &key.name, priority: spec.priority, created: Some(object.created), selector: &spec.selector };
    Some(Peer { contender, stored: object.status.ride_along.as_ref() })
}

fn status(picture: &Picture, key: &Key, policy: &PolicyEntry, rides: RideAlong) -> Need {
    let object = &policy.object;
    let (may_ride_along, again) = may_ride_along(picture, key, policy).unzip();
    let again = again.unwrap_or(false);
    let facts = PolicyFacts {
        now: super::clock::now(),
        generation: object.generation,
        spec: object.spec.as_deref().map_err(String::as_str),
        deleting: object.is_deleting(),
        stored: &object.status,
        ride_along: rides,
        may_ride_along: may_ride_along.as_ref(),
    };
    let selector = object.spec.as_deref().ok().map(|spec| &spec.selector);
    let in_namespace = picture.deployments_in(&key.namespace);
    let selected = in_namespace.filter(|(_, d)| !d.projection.deleting).filter_map(|(name, deployment)| {
        if !selector::matches(selector?, &deployment.projection.labels) {
            return None;
        }
        let health = picture.healths.get(name).filter(|h| h.is_of(&deployment.uid));
        if health.is_some_and(|h| h.status.is_err()) {
            // Nobody knows whose it is; every policy that selects it says so.
            return Some(Selected {
                name: &name.name,
                owner: Owner::This,
                gate: GateState::NotGated,
                compliant: Some(MEMORY_INVALID),
                availability: None,
            });
        }
        let status = health.and_then(|h| h.status.as_deref().ok());
        let owner = status.and_then(|s| s.policy.as_ref());
        let compliant = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == ConditionType::Compliant.as_str()));
        Some(Selected {
            name: &name.name,
            owner: match owner {
                Some(reference) if *reference.uid == *object.uid => Owner::This,
                Some(reference) => Owner::Other(&reference.name),
                None => Owner::NotYet,
            },
            gate: status.and_then(|s| s.gate.as_ref()).map_or(GateState::NotGated, |gate| gate.state),
            compliant: compliant.map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str())),
            availability: status.and_then(|s| s.availability.as_ref()),
        })
    });
    let status = summarize(&facts, selected);
    if status == object.status {
        return if again { Need::Again(PEER_DELAY) } else { Need::Nothing };
    }
    let reason_of = |status: &HealthPolicyStatus| {
        let accepted = status.conditions.iter().find(|c| c.type_ == ConditionType::Accepted.as_str());
        accepted.map(|c| (c.reason.clone(), c.message.clone()))
    };
    let event = reason_of(&status)
        .filter(|(reason, _)| {
            reason == "PolicyInvalid" && reason_of(&object.status).is_none_or(|(before, _)| before != *reason)
        })
        .map(|(_, note)| Event { warning: true, reason: "PolicyInvalid", action: "Read", note });
    Need::Status { uid: object.uid.clone(), status: Box::new(status), event, again }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::policy_object::StoredPolicy;

    #[test]
    fn a_deleted_policy_is_let_go_once_it_rides_along_nowhere() {
        let waits = |seconds_ago: i64, rides| {
            let at = crate::controller::clock::now() - jiff::SignedDuration::from_secs(seconds_ago);
            let stored = json!({"metadata": {"name": "web", "deletionTimestamp": at.to_string()}});
            let stored: StoredPolicy = serde_json::from_value(stored).unwrap();
            still_rides(&stored.into(), rides)
        };
        for rides in [RideAlong::Installed, RideAlong::Exempt, RideAlong::Unseen] {
            assert!(waits(1, rides).is_some_and(|wait| wait <= Duration::from_secs(2)), "{rides:?}");
            assert_eq!((waits(3, rides), waits(60, rides)), (None, None), "{rides:?}");
            assert_eq!(waits(-60, rides), Some(RIDES_ON), "{rides:?}: their clock is ahead of ours");
        }
        for rides in [RideAlong::Off, RideAlong::NotInstalled, RideAlong::NotServed] {
            assert_eq!(waits(0, rides), None, "{rides:?}");
        }
    }
}
