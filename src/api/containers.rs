//! What a policy asks of one container.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::probe::{ExecAction, HttpGetAction, Probe};

/// Probes and preStop hook of one container.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPolicy {
    /// Container or native sidecar. Absent means the main container: the only one, else the one that the annotation
    /// `kubectl.kubernetes.io/default-container` of the pod template names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,

    /// The three probes. A probe that is left out here is not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,

    /// An explicit preStop hook; `shutdown.drainSeconds` sets a sleep without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<PreStop>,
}

/// The three probes of a container, in the shape of core/v1 `Probe`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.readiness) || !has(self.readiness.terminationGracePeriodSeconds)")
    .message("terminationGracePeriodSeconds must not be set on a readiness probe: it never kills"))]
#[x_kube(validation = Rule::new(
    "!has(self.startup) || !has(self.startup.successThreshold) || self.startup.successThreshold == 1"
).message("successThreshold must be 1 for a startup probe"))]
#[x_kube(validation = Rule::new(
    "!has(self.liveness) || !has(self.liveness.successThreshold) || self.liveness.successThreshold == 1"
).message("successThreshold must be 1 for a liveness probe"))]
pub struct Probes {
    /// Runs until it passes once; the other two wait for it. Its budget is how long a start may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// Takes the pod out of its Services while it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// Restarts the container when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

/// A hook that runs before SIGTERM.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.sleep), has(self.exec), has(self.httpGet)].filter(h, h).size() == 1")
    .message("exactly one of sleep, exec or httpGet must be set"))]
pub struct PreStop {
    /// Sleeps in the kubelet: needs no shell in the image (stable since Kubernetes 1.34).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep: Option<SleepAction>,
    /// Runs a command in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Sends an HTTP GET to the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
}

/// Sleep of a preStop hook.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SleepAction {
    /// Seconds to sleep.
    #[schemars(range(min = 1, max = 3600))]
    pub seconds: i64,
}
