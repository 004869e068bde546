//! The parts of the API's shape of a pod that are read; everything else is skipped while parsing.

use jiff::Timestamp;
use serde::Deserialize;

use super::{ContainerView, Phase, PodView, Pull, Terminated, message, printable};
use crate::core::shutdown::{Ending, Hook};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    reason: Box<str>,
    message: Option<Box<str>>,
}

impl From<Waiting> for super::Waiting {
    fn from(raw: Waiting) -> Self {
        let said = raw.message.unwrap_or_default();
        Self { reason: raw.reason, message: printable(&said).into(), pull: Pull::read(&said) }
    }
}

#[derive(Deserialize)]
pub(super) struct Pod {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    namespace: Box<str>,
    resource_version: Box<str>,
    name: Box<str>,
    uid: Box<str>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    deletion_grace_period_seconds: Option<i64>,
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    uid: Box<str>,
    kind: Box<str>,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<Box<str>>,
    readiness_gates: Vec<Gate>,
    termination_grace_period_seconds: Option<i64>,
    containers: Vec<Specified>,
}

#[derive(Deserialize)]
struct Specified {
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    lifecycle: Option<Lifecycle>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Lifecycle {
    pre_stop: Option<PreStop>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PreStop {
    sleep: Option<Sleep>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sleep {
    seconds: i64,
}

/// What a pod that is being deleted has left.
fn ending(meta: &Meta, spec: &mut Spec) -> Option<Box<Ending>> {
    let grace = meta.deletion_grace_period_seconds?;
    let began = meta.deletion_timestamp?.checked_sub(jiff::SignedDuration::from_secs(grace)).ok()?;
    let is_cut_short = spec.termination_grace_period_seconds.is_some_and(|own| grace < own);
    let hooks = std::mem::take(&mut spec.containers).into_iter().filter_map(|container| {
        let hook = container.lifecycle?.pre_stop?;
        Some((container.name, hook.sleep.map_or(Hook::Unknown, |sleep| Hook::Sleep(sleep.seconds))))
    });
    Some(Box::new(Ending { began, grace, is_cut_short, hooks: hooks.collect() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gate {
    condition_type: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Phase,
    reason: Option<Box<str>>,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<Container>,
    container_statuses: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    type_: Box<str>,
    #[serde(default)]
    status: Box<str>,
    #[serde(default)]
    reason: Box<str>,
    #[serde(default, deserialize_with = "message")]
    message: Box<str>,
    #[serde(default)]
    last_transition_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: Box<str>,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    started: Option<bool>,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    state: State,
    #[serde(default)]
    last_state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<super::Waiting>,
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    #[serde(default)]
    started_at: Option<Timestamp>,
}

impl Container {
    fn view(self, init: bool) -> ContainerView {
        ContainerView {
            name: self.name,
            init,
            ready: self.ready,
            started: self.started.unwrap_or(false),
            restarts: self.restart_count,
            running_since: self.state.running.and_then(|running| running.started_at),
            waiting: self.state.waiting,
            terminated: self.state.terminated,
            last: self.last_state.terminated,
        }
    }
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let Pod { metadata, mut spec, status } = pod;
        let ending = ending(&metadata, &mut spec);
        let condition = |type_: &str| status.conditions.iter().find(|condition| *condition.type_ == *type_);
        let holds = |type_: &str| condition(type_).is_some_and(|condition| &*condition.status == "True");
        let owner = metadata.owner_references.into_iter();
        let mut owner = owner.filter(|owner| owner.controller == Some(true) && &*owner.kind == "ReplicaSet");
        let ready = holds("Ready");
        let unready_gates = spec.readiness_gates.into_iter().map(|gate| gate.condition_type);
        let unschedulable = condition("PodScheduled").filter(|condition| &*condition.status == "False");
        let mut pod = Self {
            namespace: metadata.namespace,
            resource_version: metadata.resource_version,
            name: metadata.name,
            uid: metadata.uid,
            revision: owner.next().map(|owner| owner.uid).unwrap_or_default(),
            created: metadata.creation_timestamp,
            deleting: metadata.deletion_timestamp.is_some(),
            ending,
            phase: status.phase,
            disrupted: holds("DisruptionTarget"),
            evicted: condition("DisruptionTarget")
                .is_some_and(|one| &*one.status == "True" && &*one.reason == "EvictionByEvictionAPI"),
            scheduled: holds("PodScheduled") || spec.node_name.is_some(),
            node: spec.node_name.unwrap_or_default(),
            unschedulable: unschedulable.map(|condition| condition.message.clone()).unwrap_or_default(),
            ready,
            ready_since: condition("Ready").and_then(|condition| condition.last_transition_time),
            gates_waiting: unready_gates.filter(|gate| !holds(gate)).collect(),
            was_ready: ready,
            ready_losses: 0,
            reason: status.reason.unwrap_or_default(),
            containers: (status.init_container_statuses.into_iter().map(|container| container.view(true)))
                .chain(status.container_statuses.into_iter().map(|container| container.view(false)))
                .collect(),
        };
        pod.was_ready |= pod.must_have_been_ready();
        pod
    }
}
