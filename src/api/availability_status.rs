//! What is measured of a Deployment's availability, in `WorkloadHealth.status.availability`. Every list is bounded.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measured availability over the window, as it was at `asOf`. Figures are decimal strings, rounded down; those of the
/// moment are in the metrics and in `gracekeeper report`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityStatus {
    /// When these figures were worked out. While nothing happens they are not written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Objective in per cent, of the policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub objective: String,
    /// Days of the window: today, by UTC, and the days before.
    #[serde(default)]
    #[schemars(range(min = 0, max = 90))]
    pub window_days: i32,
    /// Available replicas of those wanted, in per cent; absent while nothing was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub replica_weighted: Option<String>,
    /// Share of the counted time in which `minAvailable` replicas were available, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub time_based: Option<String>,
    /// Nines of the replica-weighted figure, such as 3.7; absent while nothing was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub nines: Option<String>,
    /// Share of the time since the first look that was watched, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub coverage: Option<String>,
    /// Error budget left, in per cent of it; negative when more than all is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub budget: Option<String>,
    /// How many times as fast as the objective allows the budget was spent in the last hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub burn_rate_1h: Option<String>,
    /// The same of the last six hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub burn_rate_6h: Option<String>,
    /// When the budget is spent if it burns on as in the last six hours; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted_at: Option<Time>,
    /// Replicas that were wanted at `asOf`; absent when nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub desired: Option<i64>,
    /// Of these, available: pods above that do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub available: Option<i64>,
    /// Available replicas from which on a moment is good: `minAvailable`, resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub enough: Option<i64>,
    /// Why replicas are missing, or nobody can tell: one CamelCase word from a fixed set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub cause: String,
    /// What was lost in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostTime>,
    /// The last stretches of lost time, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub episodes: Vec<EpisodeStatus>,
    /// The operator's memory of it: sums by day, in a form of its own (docs/reference/availability.md).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16_384))]
    pub ledger: String,
}

/// Lost time in the window, in whole seconds, rounded down. For replicas: the time for which all of them would have
/// been missing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostTime {
    /// Rollouts, drains, scaling.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub planned_seconds: i64,
    /// Crashes, probes, nodes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub fault_seconds: i64,
    /// Time that nobody watched; it counts neither as good nor as lost.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub unknown_seconds: i64,
}

/// Class of lost time.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LossClass {
    /// Rollouts, drains, scaling.
    Planned,
    /// Crashes, probes, nodes.
    Fault,
    /// Nobody can tell.
    Unknown,
}

/// A stretch of lost time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpisodeStatus {
    /// When it began.
    pub start: Time,
    /// When it ended; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// Its class.
    pub class: LossClass,
    /// Why: one CamelCase word from a fixed set.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Most replicas that were missing at once.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub missing: i64,
    /// Replicas that were wanted then.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub of: i64,
    /// Hash of the template that was rolling out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub rollout: String,
}
