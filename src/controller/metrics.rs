//! All series, in one place. Labels are bounded: never a pod name, never a message. `docs/reference/metrics.md` lists
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::gate::{EvidenceClass, GateState, Outcome};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabel {
    class: String,
}

/// All series.
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    call_seconds: Histogram,
    reconciles: Family<ReasonLabel, Counter>,
    reconcile_seconds: Histogram,
    panics: Counter,
    watch_failures: Family<KindLabel, Counter>,
    queued: Gauge,
    rolling: Gauge,
    leader: Gauge,
    rollouts: Family<OutcomeLabel, Counter>,
    gates: Family<StateLabel, Gauge>,
    evidence: Family<ClassLabel, Counter>,
    oldest_hold: Gauge,
    reaction_seconds: Histogram,
}

/// Bounds of reactions, in seconds.
const REACTIONS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gracekeeper");
        let calls = Family::default();
        registry.register("api_calls", "Calls to the API server, watches left out, by outcome", calls.clone());
        let call_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register_with_unit(
            "api_call",
            "Time of a call to the API server",
            Unit::Seconds,
            call_seconds.clone(),
        );
        let reconciles = Family::default();
        registry.register("reconciles", "Looks at a Deployment, by what came of them", reconciles.clone());
        let reconcile_seconds = Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        registry.register_with_unit(
            "reconcile",
            "Time of a look at a Deployment, calls included",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        let panics = Counter::default();
        registry.register("panics", "Looks at a Deployment that ended in a bug of ours", panics.clone());
        let watch_failures = Family::default();
        registry.register("watch_failures", "Failures of a watch, by kind", watch_failures.clone());
        let queued = Gauge::default();
        registry.register("queued_workloads", "Deployments that wait to be looked at", queued.clone());
        let rolling = Gauge::default();
        registry.register("rolling_workloads", "Deployments whose pods restart because of a policy", rolling.clone());
        let leader = Gauge::default();
        registry.register("leader", "1 on the replica that holds the lease", leader.clone());
        let rollouts = Family::default();
        registry.register("rollouts", "Rollouts that ended, by how", rollouts.clone());
        let gates = Family::default();
        registry.register("gated_workloads", "Deployments with a rollout gate, by its state", gates.clone());
        let evidence = Family::default();
        registry.register("rollout_evidence", "Evidence against a new version, by class", evidence.clone());
        let oldest_hold = Gauge::default();
        registry.register(
            "oldest_hold_timestamp_seconds",
            "Since when the oldest rollout is held or restored, in seconds since 1970; 0 when none is",
            oldest_hold.clone(),
        );
        let reaction_seconds = Histogram::new(REACTIONS);
        registry.register_with_unit(
            "reaction",
            "Time from the change that shows a failure, as the watch brought it, to the acknowledged pause",
            Unit::Seconds,
            reaction_seconds.clone(),
        );
        Self {
            registry,
            calls,
            call_seconds,
            reconciles,
            reconcile_seconds,
            panics,
            watch_failures,
            queued,
            rolling,
            leader,
            rollouts,
            gates,
            evidence,
            oldest_hold,
            reaction_seconds,
        }
    }
}

impl Metrics {
    pub(crate) fn called(&self, call: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabels { call, outcome }).inc();
        self.call_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn reconciled(&self, reason: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ReasonLabel { reason }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn set_queued(&self, count: usize) {
        self.queued.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_rolling(&self, count: usize) {
        self.rolling.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn rollout_ended(&self, outcome: Outcome) {
        self.rollouts.get_or_create(&OutcomeLabel { outcome: format!("{outcome:?}") }).inc();
    }

    pub(crate) fn evidence_found(&self, class: EvidenceClass) {
        self.evidence.get_or_create(&ClassLabel { class: format!("{class:?}") }).inc();
    }

    pub(crate) fn reacted(&self, took: Duration) {
        self.reaction_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn set_gates(&self, counts: &BTreeMap<GateState, i64>, oldest_hold: Option<i64>) {
        for state in GateState::ALL {
            let count = counts.get(&state).copied().unwrap_or(0);
            self.gates.get_or_create(&StateLabel { state: format!("{state:?}") }).set(count);
        }
        self.oldest_hold.set(oldest_hold.unwrap_or(0));
    }

    pub(crate) fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// All series in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => "# EOF\n".into(), // a String never refuses a write
        }
    }
}
