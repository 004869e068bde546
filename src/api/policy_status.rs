//! Status of a HealthPolicy: counts and conditions, never a list that grows with the fleet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::selector::Selector;

/// What became of a policy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthPolicyStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted, Enforced, RolloutGated, AvailabilityMeasured, RidesAlong, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// How many Deployments are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadCounts>,

    /// Availability over all owned Deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<FleetAvailability>,

    /// When the policy may ride along in the users' own writes; its MutatingAdmissionPolicy reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ride_along: Option<RideAlongStatus>,
}

/// When a policy may ride along in the users' own writes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RideAlongStatus {
    /// Generation of the spec of which all weaker policies know. Changes of Deployments carry the policy only while it is
    /// the current one, so that two policies never act in one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub generation: Option<i64>,

    /// Whether the operator keeps originals of probes or hooks of some Deployment of the namespace. While it does, a change
    /// takes none of them out: only the operator can give an original back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub originals: bool,

    /// Stronger policies of the namespace: what they select, this one does not touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub stronger: Vec<StrongerPolicy>,
}

/// A policy that wins over this one.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StrongerPolicy {
    /// Its name; `*` stands for more than can be listed, and selects everything.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Its selector.
    pub selector: Selector,
}

/// Counts of Deployments.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCounts {
    /// Selected by this policy.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub matched: i32,
    /// Owned by this policy: selected, and no stronger policy selects them too.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub governed: i32,
    /// Owned, and carrying what the policy asks for.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub compliant: i32,
    /// Owned, and not (yet) carrying it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub drifted: i32,
    /// Selected, but owned by a stronger policy.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub conflicting: i32,
    /// Owned, and another writer keeps setting our fields back.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub contended: i32,
    /// Owned, with their rollout held.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub held: i32,
    /// Owned, and their rollout is not gated.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub not_gated: i32,
}

/// Availability over all owned Deployments, as decimal strings in per cent.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetAvailability {
    /// The lowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub worst: Option<String>,
    /// The mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub mean: Option<String>,
    /// The smallest error budget left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub budget: Option<String>,
}
