//! The rollout gate's side of a look: gathers what the gate sees, and carries out its one write.

use std::borrow::Cow;

use http::Request;
use serde_json::{Value, json};

use super::carry_out::{CarryOut, deployment_path, patch_request, request, to_bytes};
use super::gather::Gathered;
use super::slim::deployment_of;
use super::world::{Key, Picture, parse_uid};
use super::writes::CallError;
use crate::api::gate::{GateStatus, Version};
use crate::api::workload_health::Request as Asked;
use crate::api::{FIELD_MANAGER, Mode};
use crate::core::plan::{self, Input};
use crate::core::rollout::{Action, Deployed, Gating, Off, PodView, Revision, Seen, Verdict, decide};

/// What the gate sees of one Deployment, owned.
#[derive(Default)]
pub(crate) struct GateView {
    revisions: Vec<Revision>,
    pods: Vec<PodView>,
    request: Option<Asked>,
}

impl GateView {
    pub(crate) fn gather(picture: &Picture, key: &Key, deployment_uid: &str) -> Self {
        let (revisions, pods) = picture.revisions_of(parse_uid(deployment_uid));
        let request = picture.healths.get(key).and_then(|health| health.spec.request.clone());
        Self { revisions, pods, request }
    }

    /// Pods that a ReplicaSet adopted: it makes its own by its name. What they show says nothing of its template.
    fn has_foreign_pods(&self) -> bool {
        self.pods.iter().any(|pod| {
            let set = self.revisions.iter().find(|revision| revision.uid == pod.revision);
            set.is_some_and(|set| !pod.name.starts_with(&generated_by(&set.name)))
        })
    }
}

/// What the names of a ReplicaSet's own pods begin with: the API server cuts `generateName` so that five characters fit
/// behind it (`maxGeneratedNameLength` in its name generator).
fn generated_by(replica_set: &str) -> String {
    const LONGEST: usize = 63 - 5;
    format!("{replica_set}-").chars().take(LONGEST).collect()
}

/// The gate's verdict; `None` when there is nothing to gate, or nobody can tell: then its memory stays as it is.
pub(crate) fn verdict(
    gathered: &Gathered,
    is_fresh: bool,
    is_budget_spent: bool,
    refused_revert: Option<&str>,
    paused_at: Option<i64>,
) -> Option<Verdict> {
    let memory = gathered.health.as_ref().and_then(|health| health.gate.clone());
    let gating = match &gathered.owner {
        None if memory.is_none() => return None,
        None => Gating::Off(Off::NoPolicy),
        Some((_, policy)) => {
            // A policy that cannot be understood: nothing is touched.
            let spec = policy.object.spec.as_deref().ok()?;
            match (spec.mode, &spec.rollout) {
                (Mode::Suspended, _) => Gating::Off(Off::Suspended),
                (Mode::Audit, _) => Gating::Off(Off::Audit),
                (Mode::Enforce, None) => Gating::Off(Off::NoRolloutSection),
                (Mode::Enforce, Some(rollout)) => Gating::On(rollout),
            }
        }
    };
    if gathered.deployment.deleting {
        return None;
    }
    let view = &gathered.gate;
    let memory = memory.unwrap_or_default();
    let deployment = deployed(gathered, &memory);
    Some(decide(&Seen {
        now: gathered.now,
        is_fresh,
        deployment: &deployment,
        revisions: &view.revisions,
        pods: &view.pods,
        has_foreign_pods: view.has_foreign_pods(),
        gating,
        is_budget_spent,
        memory: &memory,
        request: view.request.as_ref(),
        refused_revert,
        paused_at,
    }))
}

/// The Deployment; with what it declares of its own probes where that may matter: it takes parsing to know.
fn deployed<'a>(gathered: &'a Gathered, memory: &GateStatus) -> Cow<'a, Deployed> {
    let deployed = &gathered.deployment.deployed;
    let stable = memory.stable.as_ref().map(|stable| &stable.version.template_hash);
    if stable.is_none_or(|stable| *stable == deployed.version.template_hash) {
        return Cow::Borrowed(deployed);
    }
    let held = gathered.health.as_ref().map(|health| health.held_fields.as_slice()).unwrap_or_default();
    let declared_hash = plan::declared_hash(&gathered.deployment.value(), held);
    let version = Version { declared_hash, ..deployed.version.clone() };
    Cow::Owned(Deployed { version, ..deployed.clone() })
}

/// What is remembered when there is no verdict.
pub(crate) fn unchanged(gathered: &Gathered) -> GateStatus {
    gathered.health.as_ref().and_then(|health| health.gate.clone()).unwrap_or_default()
}

impl CarryOut {
    /// Carries out the gate's write. Its intent is stored already; each write meets what was seen or conflicts.
    pub(crate) async fn gate(&self, key: &Key, gathered: &Gathered, action: &Action) -> Result<(), CallError> {
        let uid = &*gathered.deployment_uid;
        match action {
            Action::None => Ok(()),
            Action::Pause { generation } => {
                let patch = json!([
                    {"op": "test", "path": "/metadata/uid", "value": uid},
                    {"op": "test", "path": "/metadata/generation", "value": generation},
                    {"op": "test", "path": "/spec/paused", "value": null},
                    {"op": "add", "path": "/spec/paused", "value": true},
                ]);
                self.gate_patch(key, gathered, &patch, Some(true)).await
            }
            Action::Resume { generation } => {
                let patch = json!([
                    {"op": "test", "path": "/metadata/uid", "value": uid},
                    {"op": "test", "path": "/metadata/generation", "value": generation},
                    {"op": "test", "path": "/spec/paused", "value": true},
                    {"op": "remove", "path": "/spec/paused"},
                ]);
                self.gate_patch(key, gathered, &patch, Some(false)).await
            }
            Action::ScaleReplicaSet { uid, name, from, to, resource_version, others } => {
                for (other, size) in others {
                    self.is_still(key, other, *size).await?;
                }
                let patch = json!([
                    {"op": "test", "path": "/metadata/uid", "value": uid},
                    {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
                    {"op": "test", "path": "/spec/replicas", "value": from},
                    {"op": "replace", "path": "/spec/replicas", "value": to},
                ]);
                let uri = format!("{}?fieldManager={FIELD_MANAGER}", replica_set_path(key, name));
                let answer = self.caller.write("replica_set", request(patch_request(uri), to_bytes(&patch)?)?).await?;
                let decision = &*gathered.decision;
                tracing::info!(workload = %key, decision, replica_set = name, from, to, "capacity is handed back");
                self.take_in_replica_set(&answer.object);
                Ok(())
            }
            Action::RevertTemplate { generation, uid: stable, name } => {
                let set =
                    self.caller.read(request(Request::get(replica_set_path(key, name)), Vec::new())?).await?.object;
                let is_it = set.pointer("/metadata/uid").and_then(Value::as_str) == Some(stable);
                let Some(template) = set.pointer("/spec/template").filter(|_| is_it) else {
                    return Err(CallError::Conflict("the stable ReplicaSet is gone".into()));
                };
                let live = self.caller.read(request(Request::get(deployment_path(key)), Vec::new())?).await?.object;
                let patch = revert_patch(gathered, &live, template, *generation);
                self.gate_patch(key, gathered, &patch, None).await
            }
        }
    }

    /// Patches the Deployment. Where admission undoes a pause, or makes one, that is no success: it is tried ever more
    /// rarely.
    async fn gate_patch(
        &self,
        key: &Key,
        gathered: &Gathered,
        patch: &Value,
        pauses: Option<bool>,
    ) -> Result<(), CallError> {
        let uri = format!("{}?fieldManager={FIELD_MANAGER}", deployment_path(key));
        let answer = self.caller.write("gate", request(patch_request(uri), to_bytes(patch)?)?).await?;
        self.take_in(key, gathered, &answer.object);
        let is_paused = answer.object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        if pauses.is_some_and(|pauses| pauses != is_paused) {
            return Err(CallError::Conflict("spec.paused was changed by admission".into()));
        }
        Ok(())
    }

    /// Whether a ReplicaSet has the size that was seen; a conflict if not, and then the picture has the new one.
    async fn is_still(&self, key: &Key, name: &str, size: u32) -> Result<(), CallError> {
        let set = self.caller.read(request(Request::get(replica_set_path(key, name)), Vec::new())?).await?.object;
        if set.pointer("/spec/replicas").and_then(Value::as_u64) == Some(size.into()) {
            return Ok(());
        }
        self.take_in_replica_set(&set);
        Err(CallError::Conflict(format!("the ReplicaSet {name} was scaled meanwhile")))
    }

    fn take_in_replica_set(&self, object: &Value) {
        let Some(owner) = deployment_of(object) else { return };
        let revision = Revision::read(object);
        self.world.with(|picture| picture.insert_replica_set(parse_uid(&revision.uid), parse_uid(&owner), revision));
    }
}

fn replica_set_path(key: &Key, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{}/replicasets/{name}", key.namespace)
}

/// The stable application template with today's policy fields, in one patch: native undo would bring back old probes
/// and start another rollout.
fn revert_patch(gathered: &Gathered, live: &Value, template: &Value, generation: i64) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    let mut reverted = live.clone();
    if let Some(slot) = reverted.pointer_mut("/spec/template") {
        *slot = template;
    }
    let spec = gathered.owner.as_ref().and_then(|(_, policy)| policy.object.spec.as_deref().ok());
    let held = gathered.health.as_ref().map(|health| health.held_fields.as_slice()).unwrap_or_default();
    let input = Input { policy: spec, deployment: &reverted, held, surroundings: &gathered.surroundings };
    let planned = plan::plan(&input).apply_to(&reverted).unwrap_or(reverted);
    let template = planned.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": &*gathered.deployment_uid}),
        json!({"op": "test", "path": "/metadata/generation", "value": generation}),
        json!({"op": "replace", "path": "/spec/template", "value": template}),
    ];
    if live.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        patch.push(json!({"op": "remove", "path": "/spec/paused"}));
    }
    Value::Array(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_long_names_are_their_replica_sets_own() {
        let long = "a-release-of-a-chart-with-a-rather-long-name-storefront-6b7f9c5d4";
        let pod = PodView { name: format!("{}abcde", &long[..58]).into(), revision: "1".into(), ..PodView::default() };
        let set = Revision { name: long.into(), uid: "1".into(), ..Revision::default() };
        let of = |name: &str| GateView {
            revisions: vec![set.clone()],
            pods: vec![PodView { name: name.into(), ..pod.clone() }],
            request: None,
        };
        assert!(!of(&pod.name).has_foreign_pods());
        assert!(of("somebody-elses").has_foreign_pods());
        let short = Revision { name: "web-5d4".into(), uid: "1".into(), ..Revision::default() };
        let view = GateView {
            revisions: vec![short],
            pods: vec![PodView { name: "web-5d47-x".into(), ..pod }],
            request: None,
        };
        assert!(view.has_foreign_pods(), "another ReplicaSet whose name goes on");
    }
}
