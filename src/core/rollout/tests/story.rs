//! Claims about what the gate tells and remembers on the way of one release.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::gate::{GateState, GateStatus, Outcome, Version};
use crate::api::rollout::{OnFailure, Patience, Rollout, Tolerate, WhenBudgetSpent};
use crate::api::workload_health::Request;
use crate::core::rollout::{Action, Deployed, Gating, Off, Paused, PodView, Revision, Seen, Verdict, decide};

/// A Deployment with its pods, the policy, and what the gate remembers.
pub(super) struct Stage {
    pub(super) now: Timestamp,
    pub(super) deployment: Deployed,
    pub(super) revisions: Vec<Revision>,
    pub(super) pods: Vec<PodView>,
    pub(super) memory: GateStatus,
    pub(super) rollout: Option<Rollout>,
    pub(super) request: Option<Request>,
}

pub(super) fn version(name: &str) -> Version {
    Version { template_hash: format!("t-{name}"), app_hash: format!("a-{name}"), declared_hash: String::new() }
}

fn policy(on_failure: OnFailure) -> Rollout {
    Rollout {
        min_ready_seconds: None,
        on_failure,
        steps: Vec::new(),
        tolerate: Tolerate::default(),
        patience: Patience::default(),
        bake_after_seconds: 120,
        when_budget_spent: WhenBudgetSpent::Proceed,
    }
}

impl Stage {
    /// Three replicas of v1, default strategy.
    pub(super) fn new(on_failure: OnFailure) -> Self {
        let mut stage = Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            deployment: Deployed {
                generation: 1,
                observed_generation: 1,
                replicas: 3,
                max_surge: 1,
                version: version("v1"),
                ..Deployed::default()
            },
            revisions: Vec::new(),
            pods: Vec::new(),
            memory: GateStatus::default(),
            rollout: Some(policy(on_failure)),
            request: None,
        };
        stage.set("v1", 1, 3, 3);
        stage
    }

    /// So many pods of a revision, of which so many are ready and the others crash.
    pub(super) fn set(&mut self, name: &str, age: i64, size: u32, ready: u32) {
        self.revisions.retain(|revision| &*revision.name != name);
        self.pods.retain(|pod| &*pod.revision != name);
        self.revisions.push(Revision {
            uid: name.into(),
            name: name.into(),
            created: Some(Timestamp::from_second(age).unwrap()),
            version: version(name),
            replicas: size,
            pods: size,
            ready,
            available: ready,
            desired: Some(self.deployment.replicas),
            most: Some(self.deployment.ceiling()),
            ..Revision::default()
        });
        for nth in 0..size {
            let state = if nth < ready {
                json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
            } else {
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
            };
            let status = if nth < ready { "True" } else { "False" };
            let pod = json!({
                "metadata": {"name": format!("{name}-{nth}"), "uid": format!("{name}-{nth}"), "ownerReferences":
                    [{"kind": "ReplicaSet", "uid": name, "controller": true}]},
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}],
                    "containerStatuses": [{"name": "app", "ready": nth < ready, "restartCount": 0, "state": state}]}});
            self.pods.push(serde_json::from_value(pod).unwrap());
        }
    }

    pub(super) fn push(&mut self, name: &str) {
        self.deployment.version = version(name);
        self.edited();
    }

    pub(super) fn edited(&mut self) {
        self.deployment.generation += 1;
        self.deployment.observed_generation += 1;
    }

    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            now: self.now,
            is_fresh: true,
            deployment: &self.deployment,
            revisions: &self.revisions,
            pods: &self.pods,
            has_foreign_pods: false,
            gating: self.rollout.as_ref().map_or(Gating::Off(Off::Suspended), Gating::On),
            is_budget_spent: false,
            memory: &self.memory,
            request: self.request.as_ref(),
            refused_revert: None,
            paused_at: None,
        }
    }

    /// Looks until nothing moves; pauses and resumes are carried out. The last verdict, and the last write of it all.
    pub(super) fn settle(&mut self) -> (Verdict, Action) {
        let mut last = Action::None;
        for _ in 0..20 {
            let verdict = decide(&self.seen());
            let is_over = verdict.memory == self.memory && verdict.action == Action::None;
            self.memory = verdict.memory.clone();
            match &verdict.action {
                Action::Pause { .. } => self.deployment.paused = Paused::ByUs,
                Action::Resume { .. } => self.deployment.paused = Paused::No,
                Action::None if is_over => return (verdict, last),
                Action::None => continue,
                Action::ScaleReplicaSet { .. } | Action::RevertTemplate { .. } => {
                    return (verdict.clone(), verdict.action);
                }
            }
            last = verdict.action;
            self.edited();
        }
        panic!("does not settle: {:?}", self.memory);
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }
}

#[test]
fn a_good_version_is_proven_after_its_bake() {
    let mut stage = Stage::new(OnFailure::Restore);
    let first = stage.settle().0;
    assert_eq!((first.state(), first.reason()), (GateState::Stable, "Proven"));
    stage.push("v2");
    stage.set("v2", 2, 1, 1);
    assert_eq!(stage.settle().0.state(), GateState::Rolling);
    stage.set("v1", 1, 0, 0);
    stage.set("v2", 2, 3, 3);
    let baking = stage.settle().0;
    assert_eq!((baking.state(), baking.reason()), (GateState::Baking, "AfterCompletion"));
    assert_eq!(baking.look_again.map(|wait| wait.as_secs()), Some(120));
    stage.pass(120);
    assert_eq!(stage.settle().0.state(), GateState::Stable);
    assert_eq!(stage.memory.history.last().map(|past| (past.outcome, past.seconds)), Some((Outcome::Completed, 120)));
    assert_eq!(stage.memory.stable.as_ref().map(|stable| stable.replica_set.as_str()), Some("v2"));
}

#[test]
fn a_bad_version_is_taken_back_and_its_fix_flows() {
    let mut stage = Stage::new(OnFailure::Restore);
    stage.settle();
    stage.push("bad");
    stage.set("bad", 2, 1, 0);
    let (verdict, action) = stage.settle();
    assert_eq!(verdict.state(), GateState::Restoring);
    assert_eq!(stage.deployment.paused, Paused::ByUs);
    assert!(matches!(action, Action::ScaleReplicaSet { from: 1, to: 0, .. }), "{action:?}");
    assert!(verdict.sentence().contains("Crash of 1 pod (such as bad-0, container app)"), "{}", verdict.sentence());
    assert!(verdict.sentence().contains("1 of 1 new pods, 0 of 3 stable pods"), "{}", verdict.sentence());
    stage.set("bad", 2, 0, 0);
    assert_eq!(stage.settle().0.state(), GateState::Restored);
    assert_eq!(stage.memory.history.last().map(|past| past.outcome), Some(Outcome::Restored));
    assert_eq!(stage.memory.evidence.len(), 1, "what it was rejected for can still be read");

    stage.push("fix");
    assert_eq!(stage.settle(), (decide(&stage.seen()), Action::Resume { generation: 4 }));
    assert_eq!((stage.memory.state, stage.deployment.paused), (GateState::Rolling, Paused::No));

    stage.push("bad");
    let again = stage.settle().0;
    assert_eq!((again.state(), again.reason()), (GateState::Held, "RejectedVersion"));
    assert!(again.sentence().contains("(Crash)"), "{}", again.sentence());
}

#[test]
fn the_same_failure_on_stable_pods_only_holds_and_ends_by_itself() {
    let mut stage = Stage::new(OnFailure::Restore);
    stage.settle();
    stage.push("v2");
    stage.set("v1", 1, 3, 0);
    stage.set("v2", 2, 1, 0);
    let held = stage.settle().0;
    assert_eq!((held.state(), held.reason()), (GateState::Held, "Environment"));
    stage.set("v1", 1, 3, 3);
    stage.set("v2", 2, 1, 1);
    assert_eq!(stage.settle().0.look_again.map(|wait| wait.as_secs()), Some(30));
    stage.pass(30);
    assert_eq!(stage.settle().0.state(), GateState::Rolling);
    assert_eq!(stage.deployment.paused, Paused::No);
}

/// A pod of the new version runs, and is not ready for far too long, on the node of a stable pod.
fn with_an_unready_pod() -> Stage {
    let mut stage = Stage::new(OnFailure::Restore);
    stage.settle();
    stage.push("v2");
    stage.set("v2", 2, 1, 1);
    stage.settle();
    let pod = stage.pods.iter_mut().find(|pod| &*pod.revision == "v2").unwrap();
    (pod.ready, pod.was_ready, pod.ready_since) = (false, false, None);
    pod.containers[0].ready = false;
    stage.revisions.iter_mut().filter(|revision| &*revision.name == "v2").for_each(|revision| {
        (revision.ready, revision.available) = (0, 0);
    });
    stage.pass(1_000);
    stage
}

#[test]
fn a_pod_that_never_gets_ready_is_evidence() {
    assert_eq!(with_an_unready_pod().settle().0.state(), GateState::Restoring);
}

#[test]
fn a_pod_that_had_not_become_ready_when_its_node_was_lost_says_nothing() {
    let mut stage = with_an_unready_pod();
    // Nobody is left on the node to say so of the containers.
    let neighbour = stage.pods.iter_mut().find(|pod| &*pod.revision == "v1").unwrap();
    neighbour.ready = false;
    assert_eq!(stage.settle().0.state(), GateState::Rolling);
    let neighbour = stage.pods.iter_mut().find(|pod| &*pod.revision == "v1").unwrap();
    neighbour.node = "another".into();
    assert_eq!(stage.settle().0.state(), GateState::Restoring, "its own node answers");
}

#[test]
fn observing_tells_and_touches_nothing() {
    let mut stage = Stage::new(OnFailure::Observe);
    stage.settle();
    stage.push("bad");
    stage.set("bad", 2, 1, 0);
    let (verdict, action) = stage.settle();
    assert_eq!((verdict.state(), action), (GateState::Rolling, Action::None));
    assert_eq!(stage.memory.evidence.len(), 1);
}

#[test]
fn a_person_who_resumes_is_not_held_again() {
    let mut stage = Stage::new(OnFailure::Hold);
    stage.settle();
    stage.push("bad");
    stage.set("bad", 2, 1, 0);
    assert_eq!(stage.settle().0.reason(), "Failing");
    stage.deployment.paused = Paused::No;
    stage.edited();
    let (verdict, action) = stage.settle();
    assert_eq!((verdict.state(), verdict.reason(), action), (GateState::NotGated, "Overridden", Action::None));
}

#[test]
fn a_person_who_resumes_before_the_gate_has_looked_at_its_own_pause_is_not_held_again() {
    let mut stage = Stage::new(OnFailure::Hold);
    stage.settle();
    stage.push("bad");
    stage.memory = decide(&stage.seen()).memory;
    stage.set("bad", 2, 1, 0);
    let verdict = decide(&stage.seen());
    let Action::Pause { generation } = verdict.action else { panic!("{:?} {}", verdict.action, verdict.sentence()) };
    stage.memory = verdict.memory;

    // An old view of before the pause says nothing of a person.
    let paused_at = Some(generation + 1);
    let old = decide(&Seen { paused_at, ..stage.seen() });
    assert_eq!((old.state(), &old.action), (GateState::Held, &Action::None));
    // The pause was not written, as far as this process knows: once more.
    stage.edited();
    let lost = decide(&stage.seen());
    assert!(matches!(lost.action, Action::Pause { .. }), "{:?}", lost.action);
    // It was, and has been ended since: two edits.
    stage.edited();
    let resumed = decide(&Seen { paused_at, ..stage.seen() });
    assert_eq!(
        (resumed.state(), resumed.reason(), &resumed.action),
        (GateState::NotGated, "Overridden", &Action::None)
    );
}

#[test]
fn a_policy_that_is_suspended_ends_the_hold_first() {
    let mut stage = Stage::new(OnFailure::Hold);
    stage.settle();
    stage.push("bad");
    stage.set("bad", 2, 1, 0);
    stage.settle();
    stage.rollout = None;
    let (verdict, action) = stage.settle();
    assert_eq!((verdict.state(), verdict.reason()), (GateState::NotGated, "Suspended"));
    assert!(matches!(action, Action::Resume { .. }));
    assert_eq!(stage.memory.paused_by_us, None);
}

#[test]
fn a_policy_edit_neither_clears_nor_triggers_a_verdict() {
    let mut stage = Stage::new(OnFailure::Restore);
    stage.settle();
    stage.push("bad");
    stage.set("bad", 2, 1, 0);
    stage.settle();
    stage.set("bad", 2, 0, 0);
    stage.settle();
    stage.deployment.version.template_hash = "t-bad-with-another-probe".into();
    stage.edited();
    assert_eq!(stage.settle().0.state(), GateState::Restored);
}

#[test]
fn nothing_is_decided_on_an_old_view() {
    let mut stage = Stage::new(OnFailure::Restore);
    stage.settle();
    stage.push("bad");
    stage.set("bad", 2, 1, 0);
    stage.deployment.observed_generation -= 1;
    let verdict = decide(&stage.seen());
    assert_eq!((verdict.memory == stage.memory, verdict.action), (true, Action::None));
}

#[test]
fn an_unset_memory_learns_in_silence() {
    let stage = Stage::new(OnFailure::Restore);
    let verdict = decide(&stage.seen());
    assert_eq!((verdict.state(), verdict.event), (GateState::Stable, None));
}
