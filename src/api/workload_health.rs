//! `WorkloadHealth`: what the operator knows of one governed Deployment. Its status is the operator's only memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability_status::AvailabilityStatus;
use super::gate::GateStatus;
use super::health_policy::Mode;
use super::shutdown_status::ShutdownStatus;

/// A WorkloadHealth has the name of the Deployment that it speaks of, is owned by it, and is made by the operator.
/// People talk to the rollout gate through its spec.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gracekeeper.dev",
    version = "v1alpha1",
    kind = "WorkloadHealth",
    plural = "workloadhealths",
    singular = "workloadhealth",
    namespaced,
    status = "WorkloadHealthStatus",
    shortname = "wh",
    category = "gracekeeper",
    derive = "PartialEq",
    selectable = ".status.policy.name",
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy.name"),
    printcolumn(
        name = "Gate",
        type_ = "string",
        json_path = ".status.gate.state",
        description = "State of the rollout gate"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(
        name = "Availability",
        type_ = "string",
        json_path = ".status.availability.replicaWeighted",
        description = "Measured availability, per cent"
    ),
    printcolumn(
        name = "Budget",
        type_ = "string",
        json_path = ".status.availability.budget",
        description = "Error budget left, per cent"
    ),
    printcolumn(
        name = "Compliant",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Compliant")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadHealthSpec {
    /// What a person asks of the rollout gate; applied once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// A request applies once, to the pod template that it names.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What to do.
    pub action: Action,
    /// Hash of the pod template that was seen when asking (`status.template.hash`).
    #[schemars(length(min = 1, max = 64))]
    pub template_hash: String,
    /// Any text that tells this request from the last one.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
}

/// What a person can ask of the rollout gate.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Let the step that waits for approval pass.
    Approve,
    /// Try a held or restored version again.
    Retry,
    /// Pause the rollout.
    Hold,
    /// End a hold.
    Resume,
    /// Skip the steps that are left.
    Skip,
}

/// What the operator knows of one Deployment.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadHealthStatus {
    /// Generation of this object's spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Compliant, RolloutHealthy, Available, WithinBudget, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The policy that owns the Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReference>,

    /// The pod template that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateReference>,

    /// What the policy would change, and what it found. Absent when there is nothing to change and nothing found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,

    /// Worst-case figures that follow from the probes and the shutdown settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["container"]))]
    pub timings: Vec<ContainerTimings>,

    /// Fields that hold a value of ours, each with the original that it replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub held_fields: Vec<HeldField>,

    /// Values that the API server did not store as they were asked for; not tried again until the policy asks for
    /// another value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub unsupported: Vec<HeldField>,

    /// The last write to the Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write: Option<LastWrite>,

    /// Another writer that keeps setting our fields back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contention: Option<Contention>,

    /// State of the rollout gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,

    /// Measured availability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<AvailabilityStatus>,

    /// How pods went, and what that advises for `shutdown` of the policy; absent until one was seen to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownStatus>,
}

/// The policy that owns the Deployment, as it was when this status was written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReference {
    /// Name in the same namespace.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Its mode.
    pub mode: Mode,
}

/// A pod template, by hashes over canonical JSON.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateReference {
    /// Of the whole template.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// Of the template without the fields that a policy can set.
    #[schemars(length(max = 64))]
    pub app_hash: String,
    /// Generation of the Deployment that carries it.
    #[serde(default)]
    pub generation: i64,
}

/// What the policy would change, and what it found.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Whether writing the changes restarts the pods.
    #[serde(default)]
    pub restarts_pods: bool,
    /// Changes still to be written, in the order of their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub changes: Vec<ChangeStatus>,
    /// Changes beyond the 64 that are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub changes_not_listed: i32,
    /// Findings, the most severe first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub findings: Vec<FindingStatus>,
    /// Findings beyond the 32 that are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub findings_not_listed: i32,
}

/// One change: a field, its value now, and the value that the policy asks for. Commands and header values are redacted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeStatus {
    /// Container, empty for a field of the pod or the Deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub container: String,
    /// Field, such as `livenessProbe`.
    #[schemars(length(max = 64))]
    pub field: String,
    /// Short form of the value now; empty when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub from: String,
    /// Short form of the value asked for; empty when it is removed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub to: String,
}

/// One finding.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingStatus {
    /// One CamelCase word from a fixed set.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
    /// Container, empty for the pod or the Deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub container: String,
    /// One sentence: what is wrong.
    #[schemars(length(max = 512))]
    pub message: String,
    /// One sentence: what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub remedy: String,
}

/// How bad a finding is.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Likely to hurt one day.
    Warning,
    /// Something asked for was not written, or the Deployment cannot work as written.
    Error,
}

/// Worst-case figures of one container, in seconds (`docs/reference/timings.md` has the formulas).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerTimings {
    /// Container.
    #[schemars(length(max = 63))]
    pub container: String,
    /// Time that a start may surely take before the kubelet kills the container; absent: no probe kills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_budget_seconds: Option<i64>,
    /// From a fault to not ready, at worst; absent: never noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_detection_seconds: Option<i64>,
    /// From a hang to the kill, at worst; absent: never noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_detection_seconds: Option<i64>,
    /// From a hang until the restarted container begins to start, at worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_restart_seconds: Option<i64>,
    /// preStop sleep: time in which endpoints forget the pod, at least. The kubelet begins up to 2 s late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<i64>,
    /// Time that the application has after SIGTERM, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_seconds: Option<i64>,
    /// From the deletion of the pod until the container is killed, at worst, the kubelet's late start included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_seconds: Option<i64>,
}

/// A field that holds a value of ours.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldField {
    /// Container, empty for a field of the pod or the Deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub container: String,
    /// Field, such as `livenessProbe`.
    #[schemars(length(max = 64))]
    pub field: String,
    /// Our value, as canonical JSON; only `#` and its hash when it is very long or has a command, header values or a
    /// query string, which may hold secrets.
    #[schemars(length(max = 65_536))]
    pub value: String,
    /// The value that it replaced, as JSON, to be given back; absent when the field was absent. The one place where a
    /// command or header value of a Deployment is repeated: whoever may read this object can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub original: Option<String>,
}

/// The last write to the Deployment.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastWrite {
    /// When.
    pub time: Time,
    /// Generation of the Deployment after it; 0 while the write is only intended.
    pub generation: i64,
    /// Fields that it changed, as `container/field`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)), extend("x-kubernetes-list-type" = "atomic"))]
    pub fields: Vec<String>,
}

/// Another writer that keeps setting our fields back.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contention {
    /// Its field manager, as far as the API server knows it.
    #[schemars(length(max = 128))]
    pub manager: String,
    /// The field, as `container/field`.
    #[schemars(length(max = 128))]
    pub field: String,
    /// Generation of the Deployment when that was last seen: a reversal counts once per write of ours.
    pub generation: i64,
    /// When our value was set back, the newest last.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub reversals: Vec<Time>,
    /// When the next try is due; absent while it has not yet been given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Time>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_zero(value: &i32) -> bool {
    *value == 0
}
