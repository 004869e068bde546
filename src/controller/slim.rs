//! What is kept of each watched object. A byte that no decision reads is dropped while parsing, never stored:
//! a typed `Pod` in a cache costs some 50 KB, these some hundreds of bytes.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::world::parse_uid;
use crate::core::deployment::{Projection, project};
use crate::core::rollout::{PodView, Revision};

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

/// A ReplicaSet: whose it is, and what the gate reads of it. Its template is only hashed.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = ReplicaSet)]
pub(crate) struct SlimReplicaSet {
    pub(crate) metadata: ObjectMeta,
    /// Uid of the Deployment that controls it.
    pub(crate) owner: Option<String>,
    pub(crate) revision: Revision,
}

impl<'de> Deserialize<'de> for SlimReplicaSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        let metadata = raw.get("metadata").map(slim_meta).unwrap_or_default();
        Ok(Self { metadata, owner: deployment_of(&raw), revision: Revision::read(&raw) })
    }
}

/// Uid of the Deployment that controls a ReplicaSet.
pub(crate) fn deployment_of(replica_set: &Value) -> Option<String> {
    let owners = replica_set.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true && owner["kind"] == "Deployment")?;
    owner["uid"].as_str().map(str::to_owned)
}

/// A pod, parsed straight into what evidence reads.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = Pod)]
pub(crate) struct SlimPod {
    pub(crate) metadata: ObjectMeta,
    pub(crate) view: PodView,
}

impl<'de> Deserialize<'de> for SlimPod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let view = PodView::deserialize(deserializer)?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let metadata = ObjectMeta {
            name: text(&view.name),
            namespace: text(&view.namespace),
            uid: text(&view.uid),
            resource_version: text(&view.resource_version),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, view })
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

/// An EndpointSlice: only which of its pods are on their way out.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = EndpointSlice)]
pub(crate) struct SlimSlice {
    pub(crate) metadata: ObjectMeta,
    /// Uids of pods that proxies send nothing new to, for they are being deleted.
    pub(crate) leaving: Vec<u128>,
}

impl<'de> Deserialize<'de> for SlimSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = raw::Slice::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            uid: Some(raw.metadata.uid),
            resource_version: Some(raw.metadata.resource_version),
            ..ObjectMeta::default()
        };
        // `ready` stays true while a pod goes where a Service publishes pods that are not ready: proxies go on then.
        let leaves =
            |one: &raw::Endpoint| one.conditions.terminating == Some(true) && one.conditions.ready == Some(false);
        let leaving = raw.endpoints.into_iter().flatten().filter(leaves).filter_map(|one| {
            let pod = one.target_ref.filter(|target| target.kind == "Pod")?;
            Some(parse_uid(&pod.uid))
        });
        Ok(Self { metadata, leaving: leaving.collect() })
    }
}

/// The parts of the API's shape that are read; everything else is skipped while parsing.
mod raw {
    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Slice {
        #[serde(default)]
        pub(super) metadata: Meta,
        #[serde(default)]
        pub(super) endpoints: Option<Vec<Endpoint>>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub(super) struct Meta {
        pub(super) uid: String,
        pub(super) resource_version: String,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub(super) struct Endpoint {
        pub(super) conditions: Conditions,
        pub(super) target_ref: Option<Target>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    pub(super) struct Conditions {
        pub(super) ready: Option<bool>,
        pub(super) terminating: Option<bool>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    pub(super) struct Target {
        pub(super) kind: String,
        pub(super) uid: String,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_slice_only_the_pods_that_go_are_kept() {
        let endpoint = |uid: &str, kind: &str, conditions: Value| json!({"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": {"kind": kind, "uid": uid}});
        let going = json!({"ready": false, "serving": true, "terminating": true});
        let raw = json!({
            "metadata": {"name": "web-x", "uid": "1", "resourceVersion": "7", "managedFields": [{"manager": "k"}]},
            "endpoints": [
                endpoint("a", "Pod", json!({"ready": true, "serving": true, "terminating": false})),
                endpoint("b", "Pod", going.clone()),
                endpoint("c", "Pod", json!({"ready": false, "serving": false, "terminating": false})),
                endpoint("d", "Pod", json!({"ready": true, "serving": true, "terminating": true})), // publishNotReadyAddresses
                endpoint("e", "Node", going.clone()),
                {"addresses": ["10.0.0.9"], "conditions": going},
                {"addresses": ["10.0.0.8"]},
            ],
        });
        let slice: SlimSlice = serde_json::from_value(raw).unwrap();
        assert_eq!(slice.leaving, [parse_uid("b")]);
        assert_eq!(slice.metadata.resource_version.as_deref(), Some("7"));
        for empty in [json!({}), json!({"endpoints": null})] {
            assert!(serde_json::from_value::<SlimSlice>(empty).unwrap().leaving.is_empty());
        }
    }
}
