//! What was seen of pods that went, in `WorkloadHealth.status.shutdown`, and what it advises.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How the pods of a Deployment went, and what follows for `shutdown` of its policy. Figures are rounded, and written
/// only when one of them changes: times up, counts down to 1, 2, 3, 10, 30 and so on. They speak of the last one to two
/// weeks in which pods went.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownStatus {
    /// Pods that were seen to leave their EndpointSlices, at least.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_removals: i32,
    /// The slowest of these: from the deletion of the pod until all of its EndpointSlices showed it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub removal_millis: Option<i64>,
    /// Pods that were seen to finish after SIGTERM, at least.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_ends: i32,
    /// The slowest of these: from SIGTERM until its last container had ended, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub finish_seconds: Option<i64>,
    /// Pods with a container that was killed (exit code 137) when its grace period was over, at least.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_kills: i32,
    /// The longest time after SIGTERM that was too short for these, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub killed_after_seconds: Option<i64>,
    /// Advice for `shutdown.drainSeconds`; absent until enough was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub advised_drain_seconds: Option<i64>,
    /// Advice for `shutdown.finishSeconds`; absent until enough was seen, and where no time would be enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub advised_finish_seconds: Option<i64>,
    /// The application that was killed, by its hash (`template.appHash`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub killed_app: String,
    /// Whether pods of that application were seen to finish, too: then it heeds SIGTERM.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed_app_finishes: bool,
    /// The same figures by week, the newest first: the operator's memory of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub weeks: Vec<ShutdownWeek>,
}

/// What was seen within a week.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownWeek {
    /// When it began.
    pub since: Time,
    /// Pods that were seen to leave their EndpointSlices.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub removals: i32,
    /// The slowest of these.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub removal_millis: i64,
    /// Pods that were seen to finish.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ends: i32,
    /// The slowest of these.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub finish_seconds: i64,
    /// Pods that were killed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub kills: i32,
    /// The longest time that was too short.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub killed_after_seconds: i64,
}
