//! `HealthPolicy`: what a platform team asks of the Deployments of one namespace.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability::Availability;
use super::containers::ContainerPolicy;
use super::policy_status::HealthPolicyStatus;
use super::rollout::Rollout;
use super::selector::Selector;

/// A HealthPolicy keeps probes, preStop hooks and grace periods right on the Deployments that it selects in its own
/// namespace, and says how their rollouts are gated and their availability is measured.
///
/// One policy owns one Deployment: the highest priority wins, then the oldest, then the name.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gracekeeper.dev",
    version = "v1alpha1",
    kind = "HealthPolicy",
    plural = "healthpolicies",
    namespaced,
    status = "HealthPolicyStatus",
    shortname = "hp",
    category = "gracekeeper",
    derive = "PartialEq",
    selectable = ".spec.mode",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Workloads",
        type_ = "integer",
        json_path = ".status.workloads.governed",
        description = "Deployments that this policy owns"
    ),
    printcolumn(
        name = "Compliant",
        type_ = "integer",
        json_path = ".status.workloads.compliant",
        description = "Owned Deployments that carry what the policy asks for"
    ),
    printcolumn(
        name = "Held",
        type_ = "integer",
        json_path = ".status.workloads.held",
        description = "Owned Deployments whose rollout is held"
    ),
    printcolumn(
        name = "Availability",
        type_ = "string",
        json_path = ".status.availability.mean",
        description = "Mean measured availability, per cent"
    ),
    printcolumn(
        name = "Budget",
        type_ = "string",
        json_path = ".status.availability.budget",
        description = "Smallest error budget left, per cent"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.containers) || self.containers.all(c, !has(c.preStop) || !has(c.preStop.sleep) || c.preStop.sleep.seconds \
     <= (has(self.shutdown) ? self.shutdown.drainSeconds + self.shutdown.finishSeconds : 30))"
).message("preStop.sleep must not be longer than shutdown.drainSeconds + shutdown.finishSeconds (30 without shutdown): \
           the pod would be killed while it still sleeps"))]
#[x_kube(validation = Rule::new(
    "!has(self.containers) || self.containers.all(c, self.containers.exists_one(d, \
     (has(c.name) ? c.name : '') == (has(d.name) ? d.name : '')))"
).message("each container may appear only once, and only one entry may leave out the name"))]
pub struct HealthPolicySpec {
    /// Which Deployments of this namespace, by their own labels (not the pod template's). Empty selects all of them.
    pub selector: Selector,

    /// Which policy owns a Deployment that several select: the higher number, then the older policy, then the name.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,

    /// Audit plans and reports, and never writes to a Deployment. Enforce writes. Suspended touches nothing: what was
    /// written stays, and nothing new is written.
    #[serde(default)]
    pub mode: Mode,

    /// Keep fills what a workload leaves out. Replace also overwrites what it sets, remembers the original, and gives
    /// it back when the policy goes.
    #[serde(default)]
    pub when_already_set: WhenAlreadySet,

    /// Probes and hooks, per container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub containers: Vec<ContainerPolicy>,

    /// How a pod leaves: sets the preStop sleep and the grace period together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,

    /// How a new version is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,

    /// Which availability is promised, and how it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
}

/// What the operator may do to the Deployments of a policy.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Plan and report only.
    #[default]
    Audit,
    /// Write the plan.
    Enforce,
    /// Touch nothing.
    Suspended,
}

/// What happens to a field that the workload sets itself.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenAlreadySet {
    /// The workload's own value stays.
    #[default]
    Keep,
    /// The policy's value is written; the original is remembered and given back.
    Replace,
}

/// How a pod leaves. Kubernetes removes a stopping pod from its Services and stops its containers at the same time,
/// and neither waits for the other (`kubernetes-semantics` 4.2): the sleep covers the difference.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// Seconds of preStop sleep, in which endpoints and load balancers forget the pod. 0 adds no sleep.
    #[schemars(range(min = 0, max = 3600))]
    pub drain_seconds: i64,

    /// Seconds that the application needs after SIGTERM. The grace period becomes at least drain + finish + 2, and is
    /// never lowered.
    #[schemars(range(min = 1, max = 86_400))]
    pub finish_seconds: i64,
}
