//! What the rollout gate remembers, in `WorkloadHealth.status.gate`. Every list is bounded.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries of [`GateStatus::evidence`].
pub const MAX_EVIDENCE: usize = 10;
/// Entries of [`GateStatus::history`].
pub const MAX_HISTORY: usize = 10;
/// Entries of [`GateStatus::rejected`].
pub const MAX_REJECTED: usize = 16;
/// Entries of [`GateStatus::applied_requests`].
pub const MAX_REQUESTS: usize = 8;

/// State of the rollout gate.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GateState {
    /// The template is the proven one.
    Stable,
    /// A new version is being let in.
    Rolling,
    /// The new version is watched, at a step or after completion.
    Baking,
    /// A step waits for a person.
    AwaitingApproval,
    /// The rollout is paused.
    Held,
    /// The capacity is being handed back to the stable version.
    Restoring,
    /// The stable version has the whole capacity; the template still names the rejected one.
    Restored,
    /// The stable version's template was written back.
    Reverted,
    /// Rollouts are not gated; the reason says why.
    #[default]
    NotGated,
}

impl GateState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Stable,
        Self::Rolling,
        Self::Baking,
        Self::AwaitingApproval,
        Self::Held,
        Self::Restoring,
        Self::Restored,
        Self::Reverted,
        Self::NotGated,
    ];
}

/// What speaks against a pod.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EvidenceClass {
    /// An image cannot be pulled.
    ImagePull,
    /// A container cannot be created or run as configured.
    Config,
    /// A container ends with an error.
    Crash,
    /// A container was killed for its memory.
    OOMKilled,
    /// A container was killed after it had run well: most likely by its liveness probe.
    LivenessKilled,
    /// A container was killed before it had started: most likely by its startup probe.
    StartupFailed,
    /// A pod is not ready after the time that its probes give it.
    NotReadyInTime,
    /// A pod loses its readiness without a restart.
    ReadyFlapping,
    /// A container restarted after its pod had been ready.
    RestartedAfterReady,
    /// No node is found.
    Unschedulable,
    /// The API server refuses the pods: quota, Pod Security, a webhook.
    Rejected,
    /// Containers are ready, but a readiness gate is not.
    ReadinessGatePending,
}

/// What the evidence speaks against.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Blame {
    /// The new version.
    Release,
    /// What both versions share.
    Environment,
    /// It cannot be told.
    #[default]
    Unknown,
}

/// How a rollout ended.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Proven.
    Completed,
    /// The stable version got its capacity back.
    Restored,
    /// The stable version's template was written back.
    Reverted,
    /// Stopped, and left so.
    Held,
    /// Another template came first.
    Superseded,
    /// A person let it pass.
    Overridden,
    /// The gate was switched off meanwhile.
    Ungated,
}

/// State and memory of the rollout gate.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// State.
    pub state: GateState,
    /// One CamelCase word from a fixed set.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// One sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Since when it is in this state, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The pause that is ours, intended or seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by_us: Option<PausedByUs>,
    /// The revision that is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Proven>,
    /// The rollout under way, or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutRecord>,
    /// What speaks against the new version, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub evidence: Vec<EvidenceStatus>,
    /// What the evidence speaks against, with the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blame: Option<BlameStatus>,
    /// Versions that the evidence spoke against, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub rejected: Vec<Rejected>,
    /// The version that a person let pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Version>,
    /// The last rollouts, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<PastRollout>,
    /// Requests that were taken up, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub applied_requests: Vec<String>,
}

/// A pause of ours.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PausedByUs {
    /// Hash of the template that was paused.
    #[schemars(length(max = 64))]
    pub template_hash: String,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Generation of the Deployment when the pause was intended, or first seen.
    pub generation: i64,
    /// Whether the pause was seen on the Deployment. From then on, whoever ends it overrides it.
    #[serde(default)]
    pub seen: bool,
}

/// An application version, by hashes over canonical JSON.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Of the whole template.
    #[schemars(length(max = 64))]
    pub template_hash: String,
    /// Of the template without the fields that a policy can set.
    #[schemars(length(max = 64))]
    pub app_hash: String,
    /// Of the fields that a policy can set, as the workload itself declares them; empty when that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub declared_hash: String,
}

/// The proven revision.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// Uid of its ReplicaSet.
    #[schemars(length(max = 64))]
    pub replica_set_uid: String,
    /// Name of its ReplicaSet.
    #[schemars(length(max = 253))]
    pub replica_set: String,
    /// Its version.
    pub version: Version,
}

/// The rollout under way.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRecord {
    /// The version.
    pub version: Version,
    /// When it was first seen.
    pub started: Time,
    /// Steps that it has passed.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub steps_passed: i32,
    /// Whether every pod runs it: it bakes after completion.
    #[serde(default)]
    pub complete: bool,
    /// Since when the pods of the present step are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_since: Option<Time>,
    /// Since when nothing speaks against it, during a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_since: Option<Time>,
    /// When a person asked to try it again: older pods get their patience anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<Time>,
    /// Whether the stable revision was seen to be broken: then this rollout is not stopped.
    #[serde(default)]
    pub stable_broken: bool,
    /// Since when the way back is stuck, because pods of the stable version fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_since: Option<Time>,
    /// How often the sizes of both revisions were tried to be swapped in two writes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub swaps: i32,
    /// Fewest ready pods that were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub worst_ready: Option<i32>,
    /// Replicas at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub worst_of: Option<i32>,
}

/// Evidence of one class.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceStatus {
    /// What it is.
    pub class: EvidenceClass,
    /// Pods that show it now.
    #[schemars(range(min = 0))]
    pub pods: i32,
    /// One of them.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// Its container; empty for the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub container: String,
    /// Its own message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub message: String,
    /// When it was first seen in this rollout.
    pub first_seen: Time,
}

/// Who is to blame, and how that was found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlameStatus {
    /// Who.
    pub verdict: Blame,
    /// The rule, and its numbers.
    #[schemars(length(max = 256))]
    pub rule: String,
}

/// A version that the evidence spoke against.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The version. Its application hash is empty when the stable version has the same: then only the template counts.
    pub version: Version,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When.
    pub time: Time,
    /// Whether the capacity was once taken back from it: that happens once.
    #[serde(default)]
    pub taken_back: bool,
}

/// A rollout of the past.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRollout {
    /// The version.
    pub version: Version,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When it was first seen.
    pub started: Time,
    /// How long it took.
    #[schemars(range(min = 0))]
    pub seconds: i64,
    /// Fewest ready pods that were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub worst_ready: Option<i32>,
    /// Replicas at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub worst_of: Option<i32>,
}
