//! What is kept of each watched object. A byte that no decision reads is dropped while parsing, never stored:
//! a typed `Pod` in a cache costs some 50 KB, these some hundreds of bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::MARKER_ANNOTATION;
use crate::core::deployment::{Projection, project};

/// A Deployment, reduced to what planning reads, plus the hashes of the template that was dropped.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = Deployment)]
pub(crate) struct SlimDeployment {
    pub(crate) metadata: ObjectMeta,
    pub(crate) projection: Projection,
}

impl<'de> Deserialize<'de> for SlimDeployment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        let metadata = raw.get("metadata").map(slim_meta).unwrap_or_default();
        Ok(Self { metadata, projection: project(&raw) })
    }
}

/// The few parts of `ObjectMeta` that watching needs.
fn slim_meta(meta: &Value) -> ObjectMeta {
    let text = |field: &str| meta.get(field).and_then(Value::as_str).map(str::to_owned);
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

/// Metadata whose large parts are skipped while parsing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShortMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn short_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let meta = ShortMeta::deserialize(deserializer)?;
    let annotations = meta.annotations.into_iter().filter(|(key, _)| key == MARKER_ANNOTATION).collect();
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        deletion_timestamp: meta.deletion_timestamp,
        owner_references: Some(meta.owner_references.into_iter().filter(|o| o.controller == Some(true)).collect()),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    })
}

/// A ReplicaSet: whose it is.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = ReplicaSet)]
pub(crate) struct SlimReplicaSet {
    #[serde(deserialize_with = "short_meta")]
    pub(crate) metadata: ObjectMeta,
}

/// A pod: whose it is, since when it runs and since when it is ready.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Pod)]
pub(crate) struct SlimPod {
    #[serde(deserialize_with = "short_meta")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) status: SlimPodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlimPodStatus {
    #[serde(default)]
    pub(crate) conditions: Vec<SlimCondition>,
    #[serde(default)]
    pub(crate) container_statuses: Vec<SlimContainerStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlimCondition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) last_transition_time: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlimContainerStatus {
    #[serde(default)]
    pub(crate) restart_count: i32,
    #[serde(default)]
    pub(crate) state: SlimState,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SlimState {
    pub(crate) running: Option<SlimRunning>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlimRunning {
    pub(crate) started_at: Option<Time>,
}

impl SlimPod {
    /// Seconds from the start of the last container to Ready, when the pod is ready and never restarted.
    pub(crate) fn start_seconds(&self) -> Option<u32> {
        let ready = self.status.conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
        if self.status.container_statuses.iter().any(|c| c.restart_count > 0) {
            return None;
        }
        let started: Timestamp = self
            .status
            .container_statuses
            .iter()
            .filter_map(|c| Some(c.state.running.as_ref()?.started_at.as_ref()?.0))
            .max()?;
        let seconds = ready.last_transition_time.as_ref()?.0.as_second() - started.as_second();
        u32::try_from(seconds).ok()
    }
}

/// A PodDisruptionBudget, as the linter needs it.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = PodDisruptionBudget)]
pub(crate) struct SlimBudget {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Value,
}

/// A HorizontalPodAutoscaler, as the linter needs it.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = HorizontalPodAutoscaler)]
pub(crate) struct SlimAutoscaler {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Value,
}

macro_rules! spec_only {
    ($kind:ident, [$($field:literal),*]) => {
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut raw = Value::deserialize(deserializer)?;
                let metadata = raw.get("metadata").map(slim_meta).unwrap_or_default();
                let mut spec = serde_json::Map::new();
                $(if let Some(value) = raw.pointer_mut(concat!("/spec/", $field)) {
                    spec.insert($field.into(), value.take());
                })*
                Ok(Self { metadata, spec: Value::Object(spec) })
            }
        }
    };
}
spec_only!(SlimBudget, ["minAvailable", "maxUnavailable", "selector"]);
spec_only!(SlimAutoscaler, ["scaleTargetRef", "minReplicas", "maxReplicas"]);
