//! All series, in one place. Labels are bounded: never a pod name, never a message. `docs/reference/metrics.md` is made
//! from what is said of them here and in [`crate::core::slo::FAMILIES`].

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::gate::{EvidenceClass, GateState, Outcome};
use crate::core::slo::{Described, FAMILIES, Kind, WorkloadSample, series};

/// What the operator tells of itself.
pub const OPERATOR: &[Described] = &[
    gauge("leader", &[], "1 on the replica that holds the lease"),
    counter("reconciles", &["reason"], "looks at a Deployment, by what came of them"),
    histogram("reconcile", "time of a look at a Deployment, calls included"),
    counter("panics", &[], "looks at a Deployment that ended in a bug of ours; it is tried again"),
    gauge("queued_workloads", &[], "Deployments that wait to be looked at, those that are due later included"),
    gauge("rolling_workloads", &[], "Deployments whose pods restart because of a policy: the slots in use"),
    counter("api_calls", &["call", "outcome"], "calls to the API server, watches left out"),
    histogram("api_call", "time of such a call"),
    counter("watch_failures", &["kind"], "failures of a watch, by the kind that is watched"),
    counter(
        "rollouts",
        &["outcome"],
        "rollouts that ended, by how: Completed, Restored, Reverted, Held, Superseded, Overridden, Ungated",
    ),
    gauge("gated_workloads", &["state"], "Deployments by the state of their rollout gate"),
    counter("rollout_evidence", &["class"], "evidence against a new version, once per rollout and class"),
    Described {
        unit: "seconds",
        ..gauge(
            "oldest_hold_timestamp",
            &[],
            "since when the oldest rollout is held or restored, in seconds since 1970; 0 when none is",
        )
    },
    histogram("reaction", "time from what shows a failure to the acknowledged pause; see below"),
];

const fn gauge(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Described {
    Described { name, kind: Kind::Gauge, unit: "", labels, meaning }
}

const fn counter(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Described {
    Described { name, kind: Kind::Counter, unit: "", labels, meaning }
}

const fn histogram(name: &'static str, meaning: &'static str) -> Described {
    Described { name, kind: Kind::Histogram, unit: "seconds", labels: &[], meaning }
}

/// Answers with what is known of every governed Deployment, at the moment of the call.
pub type Source = Arc<dyn Fn() -> Vec<WorkloadSample> + Send + Sync>;

/// Series of Deployments, made when they are asked for. Only the leader has them: told by two, a lost second would
/// count twice.
#[derive(Default)]
struct Workloads {
    leader: Gauge,
    source: Arc<OnceLock<Source>>,
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads").field("leader", &self.leader).finish_non_exhaustive()
    }
}

impl Collector for Workloads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let samples = self.source.get().filter(|_| self.leader.get() == 1).map(|source| source()).unwrap_or_default();
        for family in FAMILIES {
            let all = series(family, &samples);
            if all.is_empty() {
                continue;
            }
            let Described { name, kind, meaning, .. } = family.described;
            let unit = unit(&family.described);
            let of_type = if kind == Kind::Counter { MetricType::Counter } else { MetricType::Gauge };
            let mut encoder = encoder.encode_descriptor(name, &format!("{meaning}."), unit.as_ref(), of_type)?;
            for one in all {
                let mut encoder = encoder.encode_family(&one.labels)?;
                match kind {
                    Kind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&one.value, None)?,
                    _ => encoder.encode_gauge(&one.value)?,
                }
            }
        }
        Ok(())
    }
}

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
    workloads: Arc<OnceLock<Source>>,
}

/// Bounds of reactions, in seconds.
const REACTIONS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gracekeeper");
        let call_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let reconcile_seconds = Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        let workloads = Workloads::default();
        let metrics = Self {
            calls: told(&mut registry, "api_calls", Family::default()),
            call_seconds: told(&mut registry, "api_call", call_seconds),
            reconciles: told(&mut registry, "reconciles", Family::default()),
            reconcile_seconds: told(&mut registry, "reconcile", reconcile_seconds),
            panics: told(&mut registry, "panics", Counter::default()),
            watch_failures: told(&mut registry, "watch_failures", Family::default()),
            queued: told(&mut registry, "queued_workloads", Gauge::default()),
            rolling: told(&mut registry, "rolling_workloads", Gauge::default()),
            leader: told(&mut registry, "leader", workloads.leader.clone()),
            rollouts: told(&mut registry, "rollouts", Family::default()),
            gates: told(&mut registry, "gated_workloads", Family::default()),
            evidence: told(&mut registry, "rollout_evidence", Family::default()),
            oldest_hold: told(&mut registry, "oldest_hold_timestamp", Gauge::default()),
            reaction_seconds: told(&mut registry, "reaction", Histogram::new(REACTIONS)),
            workloads: workloads.source.clone(),
            registry: Registry::default(),
        };
        registry.register_collector(Box::new(workloads));
        Self { registry, ..metrics }
    }
}

/// Registers a metric under what [`OPERATOR`] says of it.
fn told<M: Clone + prometheus_client::registry::Metric>(registry: &mut Registry, name: &'static str, metric: M) -> M {
    let described = OPERATOR.iter().find(|described| described.name == name);
    let meaning = described.map_or("", |described| described.meaning);
    match described.and_then(unit) {
        Some(unit) => registry.register_with_unit(name, meaning, unit, metric.clone()),
        None => registry.register(name, meaning, metric.clone()),
    }
    metric
}

fn unit(described: &Described) -> Option<Unit> {
    match described.unit {
        "" => None,
        "seconds" => Some(Unit::Seconds),
        other => Some(Unit::Other(other.to_owned())),
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

    /// Says whether this replica leads; one that does not tells nothing of Deployments.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// Says where the series of Deployments come from, once. `source` is called at every scrape that meets a leader, on
    /// the task that answers it: it must not wait for anything.
    pub fn set_workloads(&self, source: Source) {
        let _ = self.workloads.set(source); // a second one would tell the same
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::availability::{Bucket, Figures, Objective};
    use crate::core::slo::AvailabilitySample;

    fn sample(workload: &str) -> WorkloadSample {
        let (figures, life) = (Figures::default(), Bucket { good: 1500, desired: 3000, ..Bucket::default() });
        let objective = Objective::parse("99.9", 30).unwrap();
        WorkloadSample {
            namespace: "shop".into(),
            workload: workload.into(),
            policy: "web".into(),
            availability: Some(AvailabilitySample { objective, figures, life }),
            held_since: Some(1_700_000_000),
            contended: true,
        }
    }

    /// Metrics in which every series was used once.
    fn touched() -> Metrics {
        let metrics = Metrics::default();
        metrics.called("lease", "ok", Duration::from_millis(3));
        metrics.reconciled("InSync", Duration::from_millis(3));
        metrics.panicked();
        metrics.watch_failed("Pod");
        metrics.rollout_ended(Outcome::Completed);
        metrics.evidence_found(EvidenceClass::Crash);
        metrics.set_gates(&BTreeMap::new(), None);
        metrics.set_leader(true);
        let mut all = sample("api");
        if let Some(known) = &mut all.availability {
            let half = Some(0.5);
            let figures = Figures { replica_weighted: half, time_based: half, coverage: half, ..Figures::default() };
            known.figures = Figures { burn_1h: half, burn_6h: half, ..figures };
        }
        metrics.set_workloads(Arc::new(move || vec![all.clone()]));
        metrics
    }

    #[test]
    fn every_series_is_described_as_it_is_told() {
        let text = touched().encode();
        let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = OPERATOR.iter().copied().chain(FAMILIES.iter().map(|family| family.described));
        let mut count = 0;
        for described in all {
            count += 1;
            let full = described.full_name();
            let family = full.strip_suffix("_total").unwrap_or(&full);
            assert!(told.contains(&&*format!("{family} {}", described.kind.as_str())), "{family}");
            assert!(text.contains(&format!("# HELP {family} {}.\n", described.meaning)), "{family}");
            assert_eq!(
                text.contains(&format!("# UNIT {family} {}", described.unit)),
                !described.unit.is_empty(),
                "{family}"
            );
            let series = if described.kind == Kind::Histogram { format!("{full}_count") } else { full };
            let is_it = |line: &&str| line.strip_prefix(&*series).is_some_and(|rest| rest.starts_with(['{', ' ']));
            let line = text.lines().find(is_it).unwrap_or_else(|| panic!("no {series}"));
            let labels: Vec<&str> =
                line.split(['{', ',']).skip(1).filter_map(|label| label.split('=').next()).collect();
            assert_eq!(labels, described.labels, "{line}");
        }
        assert_eq!(told.len(), count, "all that is told is described");
    }

    #[test]
    fn only_the_leader_tells_of_deployments() {
        let metrics = touched();
        let lines = |metrics: &Metrics| metrics.encode().lines().filter(|line| line.contains("_workload_")).count();
        assert!(lines(&metrics) > 0);
        metrics.set_leader(false);
        assert_eq!(lines(&metrics), 0);
    }

    #[test]
    fn what_is_told_is_worked_out_at_the_scrape() {
        let metrics = Metrics::default();
        metrics.set_leader(true);
        assert!(!metrics.encode().contains("shop"), "nobody knows a Deployment yet");
        let fleet = Arc::new(std::sync::Mutex::new(vec![sample("api")]));
        let source = fleet.clone();
        metrics.set_workloads(Arc::new(move || source.lock().unwrap().clone()));
        assert!(
            metrics.encode().contains(
                "gracekeeper_workload_seconds_total{namespace=\"shop\",workload=\"api\",class=\"good\"} 1.5\n"
            )
        );
        fleet.lock().unwrap().clear();
        assert!(!metrics.encode().contains("shop"), "a Deployment that is gone leaves no series");
    }
}
