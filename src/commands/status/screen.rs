//! What the screen shows, as data; `-o json` is this.

use jiff::Timestamp;
use serde::Serialize;

use crate::api::Mode;
use crate::api::gate::GateStatus;
use crate::api::rollout::Step;
use crate::api::shutdown_status::ShutdownStatus;
use crate::api::workload_health::Request;

/// Everything that is shown of one Deployment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Screen {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) now: Timestamp,
    pub(super) replicas: Replicas,
    pub(super) paused: bool,
    /// Hash of its template, as the gate counts it.
    pub(super) template_hash: String,
    /// None: not governed.
    pub(super) policy: Option<Policy>,
    pub(super) gate: Option<GateStatus>,
    pub(super) request: Option<Request>,
    pub(super) revisions: Vec<RevisionRow>,
    pub(super) pods: Vec<PodRow>,
    pub(super) compliant: Option<Compliance>,
    pub(super) findings: usize,
    /// How its pods went, and what that advises.
    pub(super) shutdown: Option<ShutdownStatus>,
    /// What is wrong with that, by the findings about it.
    pub(super) shutdown_findings: Vec<String>,
}

impl Screen {
    /// Whether another one says the same, but for the time.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { now: self.now, ..other.clone() }
    }
}

/// Pods of the Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replicas {
    pub(super) wanted: i64,
    pub(super) updated: i64,
    pub(super) ready: i64,
    pub(super) available: i64,
}

/// The policy that governs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) steps: Vec<Step>,
    pub(super) bake_after_seconds: i32,
}

/// What a revision is to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Mark {
    /// It has the template, and is proven.
    StableAndCurrent,
    Current,
    Stable,
    Old,
}

/// A ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionRow {
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) replicas: u32,
    pub(super) ready: u32,
    pub(super) available: u32,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodRow {
    pub(super) name: String,
    /// Name of its ReplicaSet.
    pub(super) revision: String,
    pub(super) ready_containers: usize,
    pub(super) containers: usize,
    pub(super) restarts: i64,
    pub(super) state: String,
    pub(super) message: String,
}

/// The condition `Compliant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compliance {
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}
