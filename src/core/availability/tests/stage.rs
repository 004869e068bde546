//! One Deployment, its pods, two clocks and an operator that looks.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::api::availability_status::AvailabilityStatus;
use crate::api::gate::GateStatus;
use crate::core::availability::{Bucket, Cause, Ledger, Level, Objective, Sight, Watched, enough, measure};
use crate::core::deployment::{Projection, RolloutProgress, project};
use crate::core::rollout::pod::{ContainerView, Phase, Terminated, Waiting};
use crate::core::rollout::{Paused, PodView};

/// Eight in the morning, UTC.
pub(super) const MORNING: i64 = 1_800_000_000_000;
pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Stage {
    pub(super) now: i64,
    pub(super) steady: Duration,
    pub(super) deployment: Projection,
    pub(super) gate: GateStatus,
    pub(super) pods: Vec<PodView>,
    pub(super) min_available: IntOrString,
    pub(super) watched: Watched,
    pub(super) ledger: Option<Ledger>,
    pub(super) look_again: Option<i64>,
    /// What was last worth a write.
    pub(super) stored: Option<AvailabilityStatus>,
}

impl Stage {
    /// A Deployment that has run for long, all available.
    pub(super) fn new(replicas: u32) -> Self {
        Self::at(replicas, MORNING)
    }

    /// The same at another time.
    pub(super) fn at(replicas: u32, now: i64) -> Self {
        let mut deployment = project(&json!({}));
        deployment.generation = 1;
        deployment.rollout = RolloutProgress::Settled;
        let deployed = &mut deployment.deployed;
        (deployed.generation, deployed.observed_generation) = (1, 1);
        (deployed.replicas, deployed.available) = (replicas, replicas);
        (deployed.max_surge, deployed.max_unavailable) = (1, 1);
        deployed.version.template_hash = "1111111111111111".into();
        deployed.created = Some(moment(now - 86_400 * SECOND));
        let mut stage = Self {
            now,
            steady: Duration::ZERO,
            deployment,
            gate: GateStatus::default(),
            pods: Vec::new(),
            min_available: IntOrString::String("100%".into()),
            watched: Watched::default(),
            ledger: None,
            look_again: None,
            stored: None,
        };
        stage.pods = (0..replicas).map(|index| ready(&format!("p{index}"), now - 3_600 * SECOND)).collect();
        stage.tick(true);
        stage
    }

    pub(super) fn tick(&mut self, is_watching: bool) {
        self.watched.tick(self.now, self.steady, is_watching, PATIENCE);
    }

    /// One look; what it says anew is stored at once.
    pub(super) fn look(&mut self) -> bool {
        let pods: Vec<&PodView> = self.pods.iter().collect();
        let sight = Sight {
            now: self.now,
            deployment: &self.deployment,
            gate: &self.gate,
            pods: &pods,
            enough: enough(&self.min_available, self.deployment.deployed.replicas),
        };
        let measured = measure(self.ledger.take(), &sight, &self.watched);
        self.look_again = measured.look_again;
        self.ledger = Some(measured.ledger);
        if measured.is_new {
            self.store();
        }
        measured.is_new
    }

    pub(super) fn store(&mut self) {
        self.ledger.as_mut().unwrap().advance(self.now);
        self.stored = Some(status(self.ledger()));
    }

    /// Both clocks go on, somebody watches, and looks when it is due.
    pub(super) fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.pass(1);
            self.tick(true);
            if self.look_again.is_some_and(|at| at <= self.now) {
                self.look();
            }
        }
    }

    /// Both clocks go on, nobody ticks.
    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += seconds * SECOND;
        self.steady += Duration::from_secs(u64::try_from(seconds).unwrap());
    }

    /// The process ends, and the next one begins so many seconds later with what was stored.
    pub(super) fn restart(&mut self, seconds: i64) {
        let renewed = self.now;
        let lease = self.watched.encode();
        self.pass(seconds);
        self.watched = Watched::resume(Some(&lease), Some(renewed), self.now);
        self.ledger = self.stored.as_ref().map(again);
        self.look_again = None;
        self.tick(true);
    }

    /// Available pods, as the Deployment's status says, and a look.
    pub(super) fn available(&mut self, available: u32) {
        self.deployment.deployed.available = available;
        self.look();
    }

    /// A change of spec that the controller has taken note of.
    pub(super) fn generation(&mut self) {
        self.deployment.generation += 1;
        self.deployment.deployed.generation += 1;
        self.deployment.deployed.observed_generation = self.deployment.generation;
    }

    pub(super) fn scale(&mut self, replicas: u32) {
        self.generation();
        self.deployment.deployed.replicas = replicas;
    }

    pub(super) fn roll_out(&mut self, hash: &str) {
        self.generation();
        self.deployment.deployed.version.template_hash = hash.into();
        self.deployment.rollout = RolloutProgress::Moving;
    }

    pub(super) fn pause(&mut self, paused: Paused) {
        self.generation();
        self.deployment.deployed.paused = paused;
        self.deployment.rollout = RolloutProgress::Paused;
    }

    pub(super) fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    /// Sums of the window, in milliseconds, up to now.
    pub(super) fn sums(&self) -> Bucket {
        self.ledger().at(self.now).window(30)
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.ledger().cause()
    }

    /// Missing by plan and by fault, in this moment.
    pub(super) fn missing(&self) -> (u32, u32) {
        match self.ledger().level() {
            Level::Counted(count) => (count.planned(), count.faulty()),
            _ => (0, 0),
        }
    }
}

pub(super) fn objective() -> Objective {
    Objective::parse("99.9", 30).unwrap()
}

pub(super) fn status(ledger: &Ledger) -> AvailabilityStatus {
    ledger.to_status(&objective(), "99.9")
}

/// The ledger of a status that went through the API server.
pub(super) fn again(status: &AvailabilityStatus) -> Ledger {
    let text = serde_json::to_string(status).unwrap();
    Ledger::of_status(&serde_json::from_str(&text).unwrap()).unwrap().unwrap()
}

pub(super) fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

/// A moment as the API tells it.
pub(super) fn told(millis: i64) -> Timestamp {
    Timestamp::from_second(millis.div_euclid(SECOND)).unwrap()
}

/// A pod that is ready since then, and a minute older.
pub(super) fn ready(name: &str, since: i64) -> PodView {
    PodView {
        uid: name.into(),
        created: Some(told(since - MINUTE)),
        phase: Phase::Running,
        scheduled: true,
        ready: true,
        ready_since: Some(told(since)),
        was_ready: true,
        containers: vec![ContainerView {
            ready: true,
            running_since: Some(told(since - MINUTE)),
            ..ContainerView::default()
        }],
        ..PodView::default()
    }
}

/// A pod that starts.
pub(super) fn starting(name: &str, created: i64) -> PodView {
    let mut pod = PodView { ready: false, was_ready: false, created: Some(told(created)), ..ready(name, created) };
    pod.containers[0].ready = false;
    pod
}

/// The same pod, not ready since then because its container crashes.
pub(super) fn crashed(pod: &PodView, since: i64) -> PodView {
    let ended = Terminated { reason: "Error".into(), exit: 1, ..Terminated::default() };
    PodView {
        ready: false,
        ready_since: Some(told(since)),
        containers: vec![ContainerView {
            restarts: 1,
            waiting: Some(Waiting { reason: "CrashLoopBackOff".into(), message: "".into(), ..Waiting::default() }),
            last: Some(ended),
            ..ContainerView::default()
        }],
        ..pod.clone()
    }
}

/// The same pod, on its way out by the eviction API.
pub(super) fn evicted(pod: &PodView) -> PodView {
    PodView { deleting: true, disrupted: true, evicted: true, ..pod.clone() }
}

/// The same pod on a node that does not answer: its conditions say not ready, its container says ready.
pub(super) fn lost(pod: &PodView, since: i64) -> PodView {
    PodView { ready: false, ready_since: Some(told(since)), ..pod.clone() }
}
