//! A fleet and its operator in virtual time. The ledgers are measured, stored and resumed by the operator's code; only
//! the API server and the clock are played.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gracekeeper::api::gate::GateStatus;
use gracekeeper::controller::Metrics;
use gracekeeper::core::availability::{Ledger, Objective, Sight, Watched, measure};
use gracekeeper::core::deployment::project;
use gracekeeper::core::slo::{AvailabilitySample, WorkloadSample};
use serde_json::{Value, json};

/// A Monday, 00:00 UTC, in milliseconds since 1970. Promtool begins at 1970: see [`Scene::hold`].
const START: i64 = 1_700_438_400_000;
/// The lease was renewed so long before a scrape, in milliseconds.
const SINCE_RENEWAL: i64 = 1_700;
const REPLICAS: [&str; 2] = ["10.0.0.1:8080", "10.0.0.2:8080"];

/// Seconds since the start of a scene.
pub(crate) fn at(hours: u32, minutes: u32, seconds: u32) -> u32 {
    hours * 3600 + minutes * 60 + seconds
}

struct Workload {
    ledger: Ledger,
    stored: Ledger,
    objective: Option<Objective>,
    deployment: Value,
    held_since: Option<i64>,
    contended: bool,
}

pub(crate) struct Scene {
    /// Seconds between two scrapes.
    pub(crate) interval: u32,
    now: u32,
    workloads: BTreeMap<String, Workload>,
    watched: Watched,
    lease: String,
    renewed: i64,
    /// Which replica leads.
    leader: Option<usize>,
    last: usize,
    is_anybody_there: bool,
    metrics: [Metrics; 2],
    samples: Arc<Mutex<Vec<WorkloadSample>>>,
    /// Values by series, one for each scrape.
    pub(crate) series: BTreeMap<String, Vec<Option<f64>>>,
    pub(crate) scrapes: usize,
}

impl Scene {
    pub(crate) fn new(interval: u32) -> Self {
        let samples: Arc<Mutex<Vec<WorkloadSample>>> = Arc::default();
        let metrics = [Metrics::default(), Metrics::default()];
        for one in &metrics {
            let source = samples.clone();
            one.set_workloads(Arc::new(move || source.lock().unwrap().clone()));
        }
        metrics[0].set_leader(true);
        Self {
            interval,
            now: 0,
            workloads: BTreeMap::new(),
            watched: Watched::default(),
            lease: Watched::default().encode(),
            renewed: START,
            leader: Some(0),
            last: 0,
            is_anybody_there: true,
            metrics,
            samples,
            series: BTreeMap::new(),
            scrapes: 0,
        }
    }

    fn millis(&self) -> i64 {
        START + i64::from(self.now) * 1000
    }

    pub(crate) fn deploy(&mut self, name: &str, objective: Option<(&str, i32)>, replicas: u32) {
        self.deploy_with(name, objective, replicas, replicas);
    }

    pub(crate) fn deploy_with(&mut self, name: &str, objective: Option<(&str, i32)>, replicas: u32, available: u32) {
        let created = jiff::Timestamp::from_millisecond(self.millis()).unwrap().to_string();
        let deployment = json!({
            "metadata": {"name": name, "generation": 1, "creationTimestamp": created},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}}},
            "status": {
                "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available,
                "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
            },
        });
        let ledger = Ledger::begin(self.millis());
        let objective = objective.map(|(percent, days)| Objective::parse(percent, days).unwrap());
        let workload =
            Workload { stored: ledger.clone(), ledger, objective, deployment, held_since: None, contended: false };
        self.workloads.insert(name.into(), workload);
        self.look(name);
    }

    /// So many pods are available from now on, and nobody wants it so.
    pub(crate) fn available(&mut self, name: &str, pods: u32) {
        self.workloads.get_mut(name).unwrap().deployment["status"]["availableReplicas"] = pods.into();
        self.look(name);
    }

    /// A rollout is under way and leaves so many pods available.
    pub(crate) fn rolls(&mut self, name: &str, pods: u32) {
        let deployment = &mut self.workloads.get_mut(name).unwrap().deployment;
        deployment["status"]["updatedReplicas"] = 1.into();
        deployment["spec"]["strategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
        deployment["status"]["conditions"][0]["reason"] = "ReplicaSetUpdated".into();
        self.available(name, pods);
    }

    /// The rollout is complete.
    pub(crate) fn settles(&mut self, name: &str) {
        let deployment = &mut self.workloads.get_mut(name).unwrap().deployment;
        let wanted = deployment["spec"]["replicas"].clone();
        deployment["status"]["updatedReplicas"] = wanted.clone();
        deployment["status"]["availableReplicas"] = wanted;
        deployment["status"]["conditions"][0]["reason"] = "NewReplicaSetAvailable".into();
        self.look(name);
    }

    /// Its rollout is held from now on, or no longer. By promtool's clock, which begins with the scene.
    pub(crate) fn hold(&mut self, name: &str, is_held: bool) {
        let now = i64::from(self.now);
        self.workloads.get_mut(name).unwrap().held_since = is_held.then_some(now);
    }

    pub(crate) fn contend(&mut self, name: &str, is_contended: bool) {
        self.workloads.get_mut(name).unwrap().contended = is_contended;
    }

    /// The leader is gone from now on, and its address with it; the other replica stands by.
    pub(crate) fn crash(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.last = leader;
        }
    }

    /// Nobody answers any more.
    pub(crate) fn crash_all(&mut self) {
        self.crash();
        self.is_anybody_there = false;
    }

    /// The other replica leads: it knows what was stored, and what the lease says.
    pub(crate) fn take_over(&mut self) {
        let now = self.millis();
        self.watched = Watched::resume(Some(&self.lease), Some(self.renewed), now);
        for workload in self.workloads.values_mut() {
            workload.ledger = Ledger::decode(&workload.stored.encode()).unwrap();
            workload.stored = workload.ledger.clone();
        }
        let leader = 1 - self.last;
        self.metrics[1 - leader].set_leader(false);
        self.metrics[leader].set_leader(true);
        self.leader = Some(leader);
        self.tick();
        let names: Vec<String> = self.workloads.keys().cloned().collect();
        for name in names {
            self.look(&name);
        }
    }

    /// Time passes, with its scrapes.
    pub(crate) fn until(&mut self, end: u32) {
        while self.now < end {
            let next = (self.now / self.interval + 1) * self.interval;
            if next > end {
                self.now = end;
                self.tick();
                return;
            }
            self.now = next;
            self.tick();
            self.scrape();
        }
    }

    fn tick(&mut self) {
        if self.leader.is_some() {
            let steady = Duration::from_secs(self.now.into());
            self.watched.tick(self.millis(), steady, true, Duration::from_secs(120));
            self.lease = self.watched.encode();
            self.renewed = self.renewed.max(self.millis() - SINCE_RENEWAL);
        }
    }

    fn look(&mut self, name: &str) {
        if self.leader.is_none() {
            return;
        }
        let now = self.millis();
        let workload = self.workloads.get_mut(name).unwrap();
        let deployment = project(&workload.deployment);
        let sight = Sight { now, deployment: &deployment, gate: &GateStatus::default(), pods: &[], enough: 1 };
        let is_first = workload.ledger == Ledger::begin(now);
        let measured = measure((!is_first).then(|| workload.ledger.clone()), &sight, &self.watched);
        workload.ledger = measured.ledger;
        if measured.is_new {
            workload.stored = workload.ledger.clone();
        }
    }

    fn scrape(&mut self) {
        let now = self.millis();
        let sampled = self.workloads.iter().map(|(name, workload)| WorkloadSample {
            namespace: "shop".into(),
            workload: name.clone(),
            policy: format!("{name}-policy"),
            availability: workload.objective.map(|objective| {
                let leads = (&self.watched, self.renewed);
                AvailabilitySample::of(&workload.ledger, &workload.stored, leads, objective, now)
            }),
            held_since: workload.held_since,
            contended: workload.contended,
        });
        *self.samples.lock().unwrap() = sampled.collect();
        for (index, instance) in REPLICAS.iter().enumerate() {
            let is_gone = self.leader.is_none() && index == self.last;
            if is_gone || !self.is_anybody_there {
                continue;
            }
            for (name, value) in parsed(&self.metrics[index].encode(), instance) {
                let values = self.series.entry(name).or_default();
                values.resize(self.scrapes, None);
                values.push(Some(value));
            }
        }
        self.scrapes += 1;
    }

    /// What the leader tells now.
    pub(crate) fn text(&self) -> String {
        self.metrics[self.leader.unwrap()].encode()
    }

    /// Names of all series of Deployments, those that are gone included.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.series.keys().cloned().collect()
    }

    pub(crate) fn assert_counters_only_grow(&self) {
        let mut counters: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let without_instance = |name: &str| {
            let (head, rest) = name.split_once("instance=\"").unwrap();
            format!("{head}{}", rest.split_once('"').unwrap().1)
        };
        for scrape in 0..self.scrapes {
            for (name, values) in self.series.iter().filter(|(name, _)| name.contains("_total{")) {
                if let Some(value) = values.get(scrape).copied().flatten() {
                    counters.entry(without_instance(name)).or_default().push(value);
                }
            }
        }
        assert!(counters.len() > 10);
        for (name, values) in counters {
            assert!(values.is_sorted(), "{name} falls");
        }
    }
}

/// Series of a text in the OpenMetrics format, with the label that a scrape adds.
fn parsed(text: &str, instance: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let labelled = match name.split_once('{') {
                Some((name, labels)) => format!("{name}{{instance=\"{instance}\",{labels}"),
                None => format!("{name}{{instance=\"{instance}\"}}"),
            };
            (labelled, value.parse().unwrap())
        })
        .filter(|(name, _)| name.contains("_workload_") || name.contains("_leader"))
        .collect()
}
