//! What the probes of a template say about the start of its pods.

use serde_json::Value;

use super::field::Field;
use super::timings;
use super::workload::Workload;

/// What the probes of a template say about the start of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The longest time that a start may surely take before a probe kills a container; None: no probe does.
    pub budget_seconds: Option<i64>,
    /// From a started container to a ready one, by what the readiness probes tolerate.
    pub readiness_seconds: i64,
    /// Containers that probes can kill.
    pub killers: Vec<Killers>,
}

/// Which probes can kill a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Killers {
    /// Container.
    pub container: Box<str>,
    /// The budget of its startup probe, if it has one.
    pub startup_seconds: Option<i64>,
    /// Whether it has a liveness probe.
    pub liveness: bool,
}

/// Reads the probes of a Deployment's template.
pub fn start(deployment: &Value) -> Start {
    let Some(workload) = Workload::read(deployment) else { return Start::default() };
    let killers = workload.lasting().filter_map(|container| {
        let startup = container.probe(Field::StartupProbe);
        let liveness = container.probe(Field::LivenessProbe).is_some();
        (startup.is_some() || liveness).then(|| Killers {
            container: container.name.into(),
            startup_seconds: startup.map(super::probe_view::ProbeView::budget),
            liveness,
        })
    });
    Start {
        budget_seconds: workload.lasting().filter_map(timings::startup_budget).max(),
        readiness_seconds: timings::readiness_wait(&workload),
        killers: killers.collect(),
    }
}

/// maxSurge and maxUnavailable of a Deployment in pods, as its controller resolves them for so many replicas.
pub fn stride(deployment: &Value, replicas: i64) -> (i64, i64) {
    timings::stride(deployment, replicas)
}
