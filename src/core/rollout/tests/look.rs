//! The gate's memory in a compact form, and one look of the gate at the model.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::model::{Cluster, Set, Setting, VERSIONS};
use crate::api::gate::{GateState, GateStatus, PausedByUs, Proven, Rejected, RolloutRecord, Version};
use crate::api::rollout::Rollout;
use crate::api::workload_health::{Action as Asked, Request};
use crate::core::rollout::pod::{ContainerView, Phase, Waiting};
use crate::core::rollout::table::{TABLE, Wants, wants};
use crate::core::rollout::{Action, Deployed, Gating, Off, PodView, Revision, Seen, decide};

/// A moment: none, just now, or so long ago that every wait is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum When {
    #[default]
    Never,
    Now,
    LongAgo,
}

/// Version of a memory's field.
pub(super) type Number = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) version: Number,
    pub(super) steps: u8,
    pub(super) complete: bool,
    pub(super) bake: When,
    pub(super) clear: When,
    pub(super) retried: When,
    pub(super) stuck: When,
    pub(super) stable_broken: bool,
    pub(super) swaps: u8,
}

/// The gate's memory without texts, history and exact times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    pub(super) state: GateState,
    pub(super) reason: &'static str,
    /// Generation, and whether it was seen.
    pub(super) pause: Option<(u8, bool)>,
    /// Version, and whether its ReplicaSet is the one that exists.
    pub(super) stable: Option<Number>,
    pub(super) record: Option<Record>,
    pub(super) rejected: [bool; VERSIONS],
    pub(super) taken_back: [bool; VERSIONS],
    pub(super) overridden: Option<Number>,
    pub(super) requests: u8,
}

/// What a person asks for: number of the request, action, and version that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) id: u8,
    pub(super) action: Asked,
    pub(super) version: Number,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    Pause {
        generation: u8,
    },
    Resume {
        generation: u8,
    },
    /// `others`: sizes that the view had, where it may be behind; they are read anew before the write.
    Scale {
        index: usize,
        from: Set,
        to: u8,
        others: Option<[u8; VERSIONS]>,
    },
    Revert {
        generation: u8,
        stable: Number,
    },
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn time(when: When) -> Option<Time> {
    match when {
        When::Never => None,
        When::Now => Some(Time(now())),
        When::LongAgo => Some(Time(now() - SignedDuration::from_hours(1))),
    }
}

fn when(time: Option<&Time>) -> When {
    match time {
        None => When::Never,
        Some(time) if time.0 == now() => When::Now,
        Some(_) => When::LongAgo,
    }
}

fn version(number: Number) -> Version {
    Version { template_hash: format!("t{number}"), app_hash: format!("a{number}"), ..Version::default() }
}

fn number(version: &Version) -> Number {
    version.template_hash[1..].parse().unwrap()
}

fn uid(number: Number) -> String {
    format!("uid{number}")
}

fn reason(text: &str) -> &'static str {
    let off = ["", "NoPolicy", "Audit", "Suspended", "NoRolloutSection"];
    let mut all = TABLE.iter().map(|row| row.reason).chain(off);
    all.find(|known| *known == text).unwrap_or_else(|| panic!("unknown reason {text}"))
}

impl Memory {
    pub(super) fn start() -> Self {
        Self {
            state: GateState::Stable,
            reason: "Proven",
            pause: None,
            stable: Some(0),
            record: None,
            rejected: [false; VERSIONS],
            taken_back: [false; VERSIONS],
            overridden: None,
            requests: 0,
        }
    }

    pub(super) fn wants(&self) -> Wants {
        wants(self.state, self.reason)
    }

    fn to_status(self) -> GateStatus {
        let rejected = (0..VERSIONS).filter(|index| self.rejected[*index]).map(|index| Rejected {
            version: version(u8::try_from(index).unwrap()),
            reason: "Crash".into(),
            time: Time(now()),
            taken_back: self.taken_back[index],
        });
        GateStatus {
            state: self.state,
            reason: self.reason.into(),
            since: Some(Time(now())),
            paused_by_us: self.pause.map(|(generation, seen)| PausedByUs {
                template_hash: String::new(),
                reason: self.reason.into(),
                generation: generation.into(),
                seen,
            }),
            stable: self.stable.map(|number| Proven {
                replica_set_uid: uid(number),
                replica_set: uid(number),
                version: version(number),
            }),
            rollout: self.record.map(|record| RolloutRecord {
                version: version(record.version),
                started: Time(now() - SignedDuration::from_hours(2)),
                steps_passed: record.steps.into(),
                complete: record.complete,
                bake_since: time(record.bake),
                clear_since: time(record.clear),
                retried: time(record.retried),
                stuck_since: time(record.stuck),
                stable_broken: record.stable_broken,
                swaps: record.swaps.into(),
                worst_ready: None,
                worst_of: None,
            }),
            rejected: rejected.collect(),
            overridden: self.overridden.map(version),
            applied_requests: (0..8).filter(|id| self.requests & (1 << id) != 0).map(|id| id.to_string()).collect(),
            ..GateStatus::default()
        }
    }

    fn of(status: &GateStatus) -> Self {
        let has = |index: usize, taken: bool| {
            let mut all = status.rejected.iter();
            all.any(|rejected| usize::from(number(&rejected.version)) == index && (rejected.taken_back || !taken))
        };
        Self {
            state: status.state,
            reason: reason(&status.reason),
            pause: status.paused_by_us.as_ref().map(|pause| (u8::try_from(pause.generation).unwrap(), pause.seen)),
            stable: status.stable.as_ref().map(|stable| number(&stable.version)),
            record: status.rollout.as_ref().map(|record| Record {
                version: number(&record.version),
                steps: u8::try_from(record.steps_passed).unwrap(),
                complete: record.complete,
                bake: when(record.bake_since.as_ref()),
                clear: when(record.clear_since.as_ref()),
                retried: when(record.retried.as_ref()),
                stuck: when(record.stuck_since.as_ref()),
                stable_broken: record.stable_broken,
                swaps: u8::try_from(record.swaps).unwrap(),
            }),
            rejected: std::array::from_fn(|index| has(index, false)),
            taken_back: std::array::from_fn(|index| has(index, true)),
            overridden: status.overridden.as_ref().map(number),
            requests: status.applied_requests.iter().map(|id| 1 << id.parse::<u8>().unwrap()).sum(),
        }
    }

    /// Time passes: every wait is over.
    pub(super) fn later(mut self) -> Self {
        let age = |when: &mut When| {
            if *when == When::Now {
                *when = When::LongAgo;
            }
        };
        if let Some(record) = &mut self.record {
            age(&mut record.bake);
            age(&mut record.clear);
            age(&mut record.retried);
            age(&mut record.stuck);
        }
        self
    }
}

/// Looks, and says what to remember and what to write.
pub(super) fn look(
    setting: &Setting,
    cluster: &Cluster,
    memory: Memory,
    rollout: Option<&Rollout>,
    wish: Option<Wish>,
    paused_at: Option<u8>,
) -> (Memory, Option<Write>) {
    let deployment = Deployed {
        generation: cluster.generation.into(),
        observed_generation: cluster.observed.into(),
        replicas: cluster.replicas.into(),
        paused: cluster.paused,
        max_surge: setting.surge.into(),
        max_unavailable: setting.unavailable.into(),
        version: version(cluster.template),
        history_limit: setting.history_limit.into(),
        ..Deployed::default()
    };
    let mut revisions = Vec::new();
    let mut pods = Vec::new();
    let mut indexes = BTreeMap::new();
    for (index, set) in cluster.sets.iter().enumerate().filter(|(_, set)| set.exists) {
        let number = u8::try_from(index).unwrap();
        indexes.insert(uid(number), index);
        revisions.push(Revision {
            uid: uid(number).into(),
            name: uid(number).into(),
            created: Some(Timestamp::from_second(i64::from(set.born)).unwrap()),
            version: version(number),
            replicas: set.size.into(),
            pods: set.pods().into(),
            ready: set.ready.into(),
            available: set.ready.into(),
            desired: Some(set.desired.into()),
            most: Some((set.desired + setting.surge).into()),
            ..Revision::default()
        });
        for nth in 0..set.pods() {
            pods.push(pod(number, nth, nth < set.ready, nth >= set.ready + set.starting));
        }
    }
    let status = memory.to_status();
    let request = wish.map(|wish| Request {
        action: wish.action,
        template_hash: version(wish.version).template_hash,
        id: wish.id.to_string(),
    });
    let verdict = decide(&Seen {
        now: now(),
        is_fresh: true,
        deployment: &deployment,
        revisions: &revisions,
        pods: &pods,
        has_foreign_pods: false,
        gating: rollout.map_or(Gating::Off(Off::Suspended), Gating::On),
        is_budget_spent: false,
        memory: &status,
        request: request.as_ref(),
        refused_revert: None,
        paused_at: paused_at.map(Into::into),
    });
    let small = |generation: i64| u8::try_from(generation).unwrap();
    let write = match verdict.action {
        Action::None => None,
        Action::Pause { generation } => Some(Write::Pause { generation: small(generation) }),
        Action::Resume { generation } => Some(Write::Resume { generation: small(generation) }),
        Action::ScaleReplicaSet { uid, to, others, .. } => Some(Write::Scale {
            index: indexes[&uid],
            from: cluster.sets[indexes[&uid]],
            to: u8::try_from(to).unwrap(),
            others: (!others.is_empty()).then(|| cluster.sets.map(|set| set.size)),
        }),
        Action::RevertTemplate { generation, uid, .. } => {
            Some(Write::Revert { generation: small(generation), stable: u8::try_from(indexes[&uid]).unwrap() })
        }
    };
    (Memory::of(&verdict.memory), write)
}

fn pod(revision: Number, nth: u8, ready: bool, failing: bool) -> PodView {
    let waiting = Some(Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into(), ..Waiting::default() });
    let container = ContainerView {
        name: "app".into(),
        ready,
        restarts: u32::from(failing),
        running_since: (!failing).then(now),
        waiting: waiting.filter(|_| failing),
        ..ContainerView::default()
    };
    PodView {
        name: format!("pod{revision}{nth}").into(),
        uid: format!("pod{revision}{nth}").into(),
        revision: uid(revision).into(),
        phase: Phase::Running,
        scheduled: true,
        ready,
        was_ready: ready,
        containers: vec![container],
        ..PodView::default()
    }
}
