//! Series of a Deployment, as a table: what is exposed is what is documented.

use super::sample::{AvailabilitySample, WorkloadSample};

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Observations by size.
    Histogram,
}

impl Kind {
    /// As OpenMetrics and the documentation say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What is said of a metric. The full name is `gracekeeper_`, the name, the unit, and `_total` of a counter.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Name, without prefix, unit and `_total`.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Unit; empty for a plain number.
    pub unit: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, without a full stop.
    pub meaning: &'static str,
}

impl Described {
    /// The name by which it is queried; that of a histogram without `_bucket`.
    pub fn full_name(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!("_{}", self.unit) };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("gracekeeper_{}{unit}{total}", self.name)
    }
}

/// A metric of every Deployment, and where its values come from.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What is said of it.
    pub described: Described,
    read: Read,
}

/// Where values come from.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// One value for each class.
    Classes(fn(&AvailabilitySample) -> Vec<(&'static str, i64)>),
    /// One value of the ledger, or none.
    Figure(fn(&AvailabilitySample) -> Option<f64>),
    /// One value of the Deployment, or none.
    Workload(fn(&WorkloadSample) -> Option<f64>),
}

/// One value with its labels, in the order of the family's names.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names and values of the labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

const BY_CLASS: &[&str] = &["namespace", "workload", "class"];
const BY_POLICY: &[&str] = &["namespace", "workload", "policy"];

const fn counter(name: &'static str, meaning: &'static str, read: Read) -> Family {
    Family { described: Described { name, kind: Kind::Counter, unit: "seconds", labels: BY_CLASS, meaning }, read }
}

const fn gauge(name: &'static str, unit: &'static str, meaning: &'static str, read: Read) -> Family {
    Family { described: Described { name, kind: Kind::Gauge, unit, labels: BY_POLICY, meaning }, read }
}

/// All of them. The counters have no policy: they go on when another policy takes over.
pub const FAMILIES: &[Family] = &[
    counter(
        "workload",
        "time since the first look, by what it was: good (at least `minAvailable` replicas were available), planned or fault \
         (fewer), unknown (nobody watched), excluded (none were wanted)",
        Read::Classes(|sample| {
            let life = &sample.life;
            let classes = [
                ("good", life.good),
                ("planned", life.planned),
                ("fault", life.fault),
                ("unknown", life.unknown),
                ("excluded", life.excluded),
            ];
            classes.into()
        }),
    ),
    counter(
        "workload_replica",
        "wanted replicas times time, by what became of them: available, or missing as planned or by a fault",
        Read::Classes(|sample| {
            let life = &sample.life;
            let available = life.desired.saturating_sub(life.missing()).max(0);
            [("available", available), ("planned", life.missing_planned), ("fault", life.missing_fault)].into()
        }),
    ),
    gauge(
        "workload_objective",
        "ratio",
        "objective of the policy, such as 0.999",
        Read::Figure(|sample| Some(sample.objective.share())),
    ),
    gauge(
        "workload_window",
        "seconds",
        "window of the objective",
        Read::Figure(|sample| u32::try_from(sample.objective.days()).ok().map(|days| f64::from(days) * 86_400.0)),
    ),
    gauge(
        "workload_availability",
        "ratio",
        "available replicas of those wanted, over the window; absent while nothing was counted",
        Read::Figure(|sample| sample.figures.replica_weighted),
    ),
    gauge(
        "workload_availability_time",
        "ratio",
        "good time of the counted time, over the window; absent while nothing was counted",
        Read::Figure(|sample| sample.figures.time_based),
    ),
    gauge(
        "workload_coverage",
        "ratio",
        "watched time of the time since the first look, over the window",
        Read::Figure(|sample| sample.figures.coverage),
    ),
    gauge(
        "workload_error_budget_left",
        "ratio",
        "error budget that is left of the window's; below 0 when more than all is spent",
        Read::Figure(|sample| Some(sample.figures.budget)),
    ),
    gauge(
        "workload_burn_rate_1h",
        "",
        "how many times as fast as the objective allows budget was spent in the last hour, of the time that was counted; \
         absent while nothing was",
        Read::Figure(|sample| sample.figures.burn_1h),
    ),
    gauge("workload_burn_rate_6h", "", "the same of the last six hours", Read::Figure(|sample| sample.figures.burn_6h)),
    gauge(
        "workload_hold_timestamp",
        "seconds",
        "since when its rollout is held or restored, in seconds since 1970; absent while it is not",
        Read::Workload(|sample| sample.held_since.map(exact)),
    ),
    gauge(
        "workload_contended",
        "",
        "1 while another writer contends for its fields",
        Read::Workload(|sample| Some(f64::from(u8::from(sample.contended)))),
    ),
];

/// The values of one family.
pub fn series(family: &Family, samples: &[WorkloadSample]) -> Vec<Series> {
    samples.iter().flat_map(|sample| of(family, sample)).collect()
}

fn of(family: &Family, sample: &WorkloadSample) -> Vec<Series> {
    let place = || [("namespace", sample.namespace.clone()), ("workload", sample.workload.clone())];
    let with =
        |name, of: &str, value| Series { labels: place().into_iter().chain([(name, of.to_owned())]).collect(), value };
    let known = sample.availability.as_ref();
    match family.read {
        Read::Classes(read) => {
            let classes = known.map(read).unwrap_or_default();
            classes.into_iter().map(|(class, millis)| with("class", class, seconds(millis))).collect()
        }
        Read::Figure(read) => {
            known.and_then(read).map(|value| with("policy", &sample.policy, value)).into_iter().collect()
        }
        Read::Workload(read) => read(sample).map(|value| with("policy", &sample.policy, value)).into_iter().collect(),
    }
}

fn seconds(millis: i64) -> f64 {
    exact(millis) / 1000.0
}

#[allow(clippy::cast_precision_loss)] // exact up to 2^53 milliseconds: a hundred thousand replicas for a thousand days
fn exact(number: i64) -> f64 {
    number as f64
}
