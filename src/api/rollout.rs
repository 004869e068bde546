//! How a new version is let in.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gate of a rollout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Seconds that a pod must stay ready before it counts as available. Absent leaves the Deployment's own value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: Option<i32>,

    /// What happens to a version that the evidence speaks against.
    #[serde(default)]
    pub on_failure: OnFailure,

    /// Stops on the way: pods of the new version, each as a number or a percentage of the replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    // Percentages are compared by length, then as text: "5%" < "50%" < "100%". Parsing them would cost too much.
    #[x_kube(validation = Rule::new(
        "[1, 2, 3, 4, 5, 6, 7, 8, 9].all(i, i >= self.size() || \
         ((type(self[i].pods) != int || type(self[i - 1].pods) != int || int(self[i].pods) >= int(self[i - 1].pods)) && \
         (type(self[i].pods) != string || type(self[i - 1].pods) != string \
         || self[i].pods.size() > self[i - 1].pods.size() || (self[i].pods.size() == self[i - 1].pods.size() \
         && string(self[i].pods) >= string(self[i - 1].pods)))))"
    ).message("steps must not go down: each step has at least the pods of the one before"))]
    pub steps: Vec<Step>,

    /// How much may go wrong before it counts as a failure.
    #[serde(default)]
    pub tolerate: Tolerate,

    /// How long each phase of a pod's start may take before it counts as evidence.
    #[serde(default)]
    pub patience: Patience,

    /// Seconds after completion in which a regression still counts against the version.
    #[serde(default = "default_bake_after")]
    #[schemars(range(min = 0, max = 86_400))]
    pub bake_after_seconds: i32,

    /// What a spent error budget does to new rollouts.
    #[serde(default)]
    pub when_budget_spent: WhenBudgetSpent,
}

/// What happens to a bad version.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Report only.
    Observe,
    /// Pause the rollout.
    Hold,
    /// Pause, and hand the capacity back to the stable version; `spec.template` stays as Git wrote it.
    #[default]
    Restore,
    /// Write the stable version's template back; for clusters without GitOps.
    Revert,
}

/// One stop of a rollout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Pods of the new version: a number from 1, or a percentage from 1% to 100% (rounded up).
    #[schemars(extend("minimum" = 1, "maximum" = 100_000, "maxLength" = 4, "pattern" = "^(100|[1-9][0-9]?)%$"))]
    pub pods: IntOrString,
    /// Seconds to watch these pods before going on.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86_400))]
    pub bake_seconds: i32,
    /// Manual waits for a person after the bake.
    #[serde(default)]
    pub approval: Approval,
}

/// Who lets a step pass.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approval {
    /// The evidence alone.
    #[default]
    Automatic,
    /// A person as well.
    Manual,
}

/// How much may go wrong.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tolerate {
    /// Pods of the new version that may fail.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub failed_pods: i32,
    /// Container restarts of the new version that may happen, all pods together.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub restarts: i32,
}

/// How long each phase of a start may take, in seconds on the operator's own clock.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patience {
    /// Until a node is found.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 0, max = 86_400))]
    pub schedule_seconds: i32,
    /// Until the images are there.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 0, max = 86_400))]
    pub pull_seconds: i32,
    /// From container start to ready. 0 derives it from the probes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86_400))]
    pub start_seconds: i32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { schedule_seconds: default_patience(), pull_seconds: default_patience(), start_seconds: 0 }
    }
}

/// What a spent error budget does to new rollouts.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenBudgetSpent {
    /// Nothing.
    #[default]
    Proceed,
    /// Bake times are doubled.
    Slow,
    /// New rollouts are held.
    Freeze,
}

fn default_patience() -> i32 {
    300
}

fn default_bake_after() -> i32 {
    120
}
