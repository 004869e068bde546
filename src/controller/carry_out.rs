//! Carries out a decision: each write with a precondition, in an order in which a crash between any two loses nothing.

use std::sync::Arc;

use http::{Request, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::events::{Event, Publisher, Regarding};
use super::gather::Gathered;
use super::watches::StoredHealth;
use super::world::{DeploymentEntry, Key, World, parse_version};
use super::writes::{Answer, CallError, Caller};
use crate::api::conditions::ConditionType;
use crate::api::gate::GateStatus;
use crate::api::{FIELD_MANAGER, WorkloadHealthStatus};
use crate::core::canonical;
use crate::core::decide::{self, Action, Decision, Outcome, PendingCause};
use crate::core::deployment::project;
use crate::core::managers;
use crate::core::plan::{Finding, Plan, Reason};
use crate::core::rollout::Verdict;

const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";

/// Carries out decisions.
pub(crate) struct CarryOut {
    pub(crate) caller: Caller,
    pub(crate) publisher: Publisher,
    pub(crate) world: Arc<World>,
}

/// What came of a write.
pub(crate) enum Carried {
    /// It landed: what is to be remembered now, and the Deployment's generation.
    Written { after: Box<Decision>, generation: i64 },
    /// The dry run was refused: nothing was written.
    Refused(Finding),
    /// The dry run shows that the server would not store some values: decide again with this memory.
    Dropped(Box<WorkloadHealthStatus>),
}

impl CarryOut {
    /// Stores the status of a decision that writes nothing to the Deployment, if it says something new; answers whether
    /// it is what is stored now.
    pub(crate) async fn remember(
        &self,
        key: &Key,
        gathered: &Gathered,
        decision: &Decision,
    ) -> Result<bool, CallError> {
        let Some(status) = &decision.status else { return Ok(false) };
        if gathered.health.as_ref() == Some(status) {
            return Ok(true);
        }
        // Edits are collected for a few seconds: not worth a write. Waiting for a turn is, but only once.
        if let Outcome::Pending { cause, .. } = decision.outcome {
            let known = gathered.health.as_ref();
            let said_compliant = known.is_some_and(is_compliant);
            // A release that waits has no policy: what was said before speaks of one that is gone.
            let is_release = gathered.owner.is_none();
            let same = |h: &WorkloadHealthStatus| {
                h.contention == status.contention
                    && h.policy == status.policy
                    && h.gate == status.gate
                    && h.availability == status.availability
            };
            let told = !said_compliant && !is_release && known.is_some_and(same);
            let says_more = known.is_some_and(|h| h.gate != status.gate || h.availability != status.availability);
            if told || cause == PendingCause::Coalescing && !says_more {
                return Ok(false);
            }
        }
        let uid = self.health_uid(key, gathered).await?;
        self.store_status(key, &uid, status).await?;
        // The gate's news have a line of their own; what was said before is not said again.
        let (reason, sentence) = (decision.outcome.reason(), decision.outcome.sentence());
        if said(gathered) == Some(reason) {
            let decision = &*gathered.decision;
            tracing::debug!(workload = %key, reason, decision, "{sentence}");
        } else {
            let (revision, decision) = (&*gathered.deployment.template_hash, &*gathered.decision);
            tracing::info!(workload = %key, revision, decision, reason, "{sentence}");
        }
        if let Some(event) = event_of(gathered, &decision.outcome) {
            self.publisher.publish(regarding(key, gathered), &event).await;
        }
        Ok(true)
    }

    /// Stores what the gate remembers before it acts.
    pub(crate) async fn remember_gate(
        &self,
        key: &Key,
        gathered: &Gathered,
        status: Option<WorkloadHealthStatus>,
        verdict: &Verdict,
    ) -> Result<(), CallError> {
        let status = status.or_else(|| gathered.health.clone()).unwrap_or_default();
        let status = WorkloadHealthStatus { gate: Some(verdict.memory.clone()), ..status };
        if gathered.health.as_ref() != Some(&status) {
            let uid = self.health_uid(key, gathered).await?;
            self.store_status(key, &uid, &status).await?;
        }
        Ok(())
    }

    /// The log line and the event of a transition of the gate.
    pub(crate) async fn tell_gate(&self, key: &Key, gathered: &Gathered, verdict: &Verdict) {
        let Some(event) = verdict.event else { return };
        let (state, reason) = (verdict.state(), verdict.reason());
        let (revision, decision) = (&*gathered.deployment.template_hash, &*gathered.decision);
        tracing::info!(workload = %key, revision, decision, ?state, reason, "{}", verdict.sentence());
        let event = Event {
            warning: event.is_warning,
            reason: event.reason,
            action: "Gate",
            note: verdict.sentence().to_owned(),
        };
        self.publisher.publish(regarding(key, gathered), &event).await;
    }

    /// Writes a plan: dry run, memory of the originals, the Deployment, memory of what was done.
    pub(crate) async fn write(
        &self,
        key: &Key,
        gathered: &Gathered,
        decision: &Decision,
        plan: &Plan,
        gate: &GateStatus,
    ) -> Result<Carried, CallError> {
        let observed = gathered.observed(gate);
        let patch = plan.patch();
        if plan.restarts_pods() {
            match self.patch_deployment(key, &patch, true).await {
                Ok(answer) => {
                    // A release only gives back: to refuse it would keep the policy from ever going.
                    let warning = answer.warnings.iter().find(|warning| warning.contains("PodSecurity"));
                    if let Some(warning) = warning.filter(|_| decision.outcome != Outcome::Releasing) {
                        return Ok(Carried::Refused(Finding::new(Reason::PsaRefuses, "", warning.as_str())));
                    }
                    if let Some(health) = decide::after_dry_run(&observed, plan, &answer.object) {
                        return Ok(Carried::Dropped(Box::new(health)));
                    }
                }
                Err(CallError::Invalid(message) | CallError::Forbidden(message)) => {
                    return Ok(Carried::Refused(Finding::new(Reason::Denied, "", message)));
                }
                Err(error) => return Err(error),
            }
        }
        let health_uid = self.health_uid(key, gathered).await?;
        if let Some(intent) = decide::intent(decision, &observed) {
            self.store_status(key, &health_uid, &intent).await?;
        }
        let answer = match self.patch_deployment(key, &patch, false).await {
            Ok(answer) => answer,
            Err(CallError::Invalid(message) | CallError::Forbidden(message)) => {
                return Ok(Carried::Refused(Finding::new(Reason::Denied, "", message)));
            }
            Err(error) => return Err(error),
        };
        let stored = project(&answer.object);
        let generation = stored.generation;
        self.take_in(key, gathered, &answer.object);
        let sentence = decision.outcome.sentence();
        let (revision, id, reason) = (&*stored.template_hash, &*gathered.decision, decision.outcome.reason());
        tracing::info!(workload = %key, generation, revision, decision = id, reason, "{sentence}");

        let after = Box::new(decide::after_write(&observed, plan, &stored));
        let released = matches!(decision.outcome, Outcome::Releasing);
        let event = Event {
            warning: false,
            reason: if released { "Released" } else { "Enforced" },
            action: if released { "Release" } else { "Enforce" },
            note: note_of(gathered, plan, released),
        };
        if let Some(status) = &after.status {
            self.store_status(key, &health_uid, status).await?;
        } else if after.action == Action::Forget {
            self.delete_health(key, &health_uid).await?;
        }
        // A marker that is put right is our own affair.
        if !plan.changes.is_empty() {
            self.publisher.publish(regarding(key, gathered), &event).await;
        }
        Ok(Carried::Written { after, generation })
    }

    /// Nothing governs the Deployment any more, and nothing of ours is in it.
    pub(crate) async fn forget(&self, key: &Key, gathered: &Gathered) -> Result<(), CallError> {
        match &gathered.health_uid {
            Some(uid) => self.delete_health(key, uid).await,
            None => Ok(()),
        }
    }

    /// Field manager of whoever else wrote to the Deployment since our last write.
    pub(crate) async fn name_rival(&self, key: &Key, gathered: &Gathered) -> Result<String, CallError> {
        let last_write =
            gathered.health.as_ref().and_then(|health| health.last_write.as_ref()).map(|write| write.time.0);
        let request = request(Request::get(deployment_path(key)), Vec::new())?;
        let object = self.caller.read(request).await?.object;
        Ok(managers::last_other_writer(&object, last_write).unwrap_or_else(|| "another writer".into()))
    }

    async fn patch_deployment(&self, key: &Key, patch: &impl Serialize, dry: bool) -> Result<Answer, CallError> {
        let dry_run = if dry { "&dryRun=All" } else { "" };
        let uri = format!("{}?fieldManager={FIELD_MANAGER}{dry_run}", deployment_path(key));
        let what = if dry { "dry_run" } else { "deployment" };
        self.caller.write(what, request(patch_request(uri), to_bytes(patch)?)?).await
    }

    /// Takes the answer to our own write into the picture, so that nothing is decided on what was before it.
    pub(super) fn take_in(&self, key: &Key, gathered: &Gathered, object: &Value) {
        let version = parse_version(object.pointer("/metadata/resourceVersion").and_then(Value::as_str));
        let entry = DeploymentEntry { uid: gathered.deployment_uid.clone(), version, projection: project(object) };
        self.world.with(|picture| {
            if picture.deployments.get(key).is_some_and(|known| known.version < version) {
                picture.deployments.insert(key.clone(), entry);
            }
        });
    }

    /// Uid of the WorkloadHealth, which is created when there is none.
    async fn health_uid(&self, key: &Key, gathered: &Gathered) -> Result<Box<str>, CallError> {
        if let Some(uid) = &gathered.health_uid {
            return Ok(uid.clone());
        }
        if let Some(stale) = &gathered.stale_health_uid {
            self.delete_health(key, stale).await?;
        }
        let body = json!({
            "apiVersion": "gracekeeper.dev/v1alpha1", "kind": "WorkloadHealth",
            "metadata": {
                "name": &*key.name, "namespace": &*key.namespace,
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": &*key.name,
                                     "uid": &*gathered.deployment_uid, "controller": true}],
            },
            "spec": {},
        });
        let created =
            self.caller.write("health_create", request(post(health_collection(key)), to_bytes(&body)?)?).await?;
        Ok(self.take_in_health(key, created.object))
    }

    async fn store_status(&self, key: &Key, uid: &str, status: &WorkloadHealthStatus) -> Result<(), CallError> {
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": status},
        ]);
        let uri = format!("{}/{}/status?fieldManager={FIELD_MANAGER}", health_collection(key), key.name);
        let answer = self.caller.write("health_status", request(patch_request(uri), to_bytes(&patch)?)?).await?;
        self.take_in_health(key, answer.object);
        Ok(())
    }

    fn take_in_health(&self, key: &Key, object: Value) -> Box<str> {
        let Ok(stored) = serde_json::from_value::<StoredHealth>(object) else { return "".into() };
        let entry = stored.into_entry();
        let uid = entry.uid.clone();
        self.world.with(|picture| {
            let known = picture.healths.get(key);
            if known.is_none_or(|known| known.version < entry.version) {
                picture.healths.insert(key.clone(), entry);
            }
        });
        uid
    }

    async fn delete_health(&self, key: &Key, uid: &str) -> Result<(), CallError> {
        let body = json!({"preconditions": {"uid": uid}, "propagationPolicy": "Background"});
        let uri = format!("{}/{}", health_collection(key), key.name);
        let delete = Request::delete(uri).header(header::CONTENT_TYPE, JSON);
        match self.caller.write("health_delete", request(delete, to_bytes(&body)?)?).await {
            Ok(_) | Err(CallError::Gone) => {
                self.world.with(|picture| {
                    if picture.healths.get(key).is_some_and(|known| *known.uid == *uid) {
                        picture.healths.remove(key);
                    }
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn deployment_path(key: &Key) -> String {
    format!("/apis/apps/v1/namespaces/{}/deployments/{}", key.namespace, key.name)
}

fn health_collection(key: &Key) -> String {
    format!("/apis/gracekeeper.dev/v1alpha1/namespaces/{}/workloadhealths", key.namespace)
}

fn post(uri: String) -> http::request::Builder {
    Request::post(uri).header(header::CONTENT_TYPE, JSON)
}

pub(super) fn patch_request(uri: String) -> http::request::Builder {
    Request::patch(uri).header(header::CONTENT_TYPE, JSON_PATCH)
}

pub(super) fn request(builder: http::request::Builder, body: Vec<u8>) -> Result<Request<Vec<u8>>, CallError> {
    builder.body(body).map_err(|error| CallError::Transport(error.to_string()))
}

pub(super) fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, CallError> {
    let text = serde_json::to_string(value).map_err(|error| CallError::Transport(error.to_string()))?;
    Ok(canonical::as_the_server_writes(&text).into_bytes())
}

fn regarding<'a>(key: &'a Key, gathered: &'a Gathered) -> Regarding<'a> {
    Regarding { api_version: "apps/v1", kind: "Deployment", key, uid: &gathered.deployment_uid }
}

fn is_compliant(health: &WorkloadHealthStatus) -> bool {
    health.conditions.iter().any(|c| c.type_ == ConditionType::Compliant.as_str() && c.status == "True")
}

/// Reason that the stored condition `Compliant` has.
fn said(gathered: &Gathered) -> Option<&str> {
    let stored = gathered.health.as_ref()?.conditions.iter();
    stored.filter(|c| c.type_ == ConditionType::Compliant.as_str()).map(|c| c.reason.as_str()).next()
}

/// The event that goes with an outcome, when it is not what was stored already.
fn event_of(gathered: &Gathered, outcome: &Outcome) -> Option<Event> {
    if said(gathered) == Some(outcome.reason()) {
        return None;
    }
    let reason = match outcome {
        Outcome::Contended { .. } => "Contended",
        Outcome::Refused { .. } => "Refused",
        Outcome::Blocked { finding, .. } if finding.reason == Reason::Unsupported => "Unsupported",
        Outcome::Blocked { .. } => "Blocked",
        _ => return None,
    };
    Some(Event { warning: true, reason, action: "Enforce", note: outcome.sentence() })
}

fn note_of(gathered: &Gathered, plan: &Plan, released: bool) -> String {
    let policy = gathered.owner.as_ref().map_or("", |(key, _)| &key.name);
    let runs = gathered.deployment.deployed.replicas > 0;
    let restart = if plan.restarts_pods() && runs { "; pods restart" } else { "; no pod restarts" };
    if released {
        return format!("Given back or taken out: {}{restart}.", plan.summary());
    }
    format!("HealthPolicy {policy} changed {}{restart}.", plan.summary())
}
