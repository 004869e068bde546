use serde_json::json;

use super::*;
use crate::core::deployment::project;
use crate::core::plan::Reason;

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn policy(mode: &str) -> HealthPolicySpec {
    serde_json::from_value(json!({
        "selector": {}, "mode": mode,
        "containers": [{"probes": {"liveness": {"httpGet": {"path": "/livez", "port": 8080}, "failureThreshold": 6}}}],
        "shutdown": {"drainSeconds": 10, "finishSeconds": 25},
    }))
    .unwrap()
}

/// A live Deployment, as an update wrote it and the server defaulted it.
fn live(generation: i64, settled: bool) -> Value {
    let updated = i64::from(settled);
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "generation": generation, "labels": {"app": "web"}},
        "spec": {"replicas": 1, "progressDeadlineSeconds": 600, "template": {"spec": {
            "terminationGracePeriodSeconds": 30, "containers": [{"name": "app", "image": "web:1"}]}}},
        "status": {"observedGeneration": generation, "replicas": 1, "updatedReplicas": updated, "availableReplicas": 1}
    })
}

/// Everything that is observed, owned.
struct Scene {
    deployment: Value,
    spec: Option<HealthPolicySpec>,
    health: Option<WorkloadHealthStatus>,
    now: i64,
    slot_free: bool,
    leaves: bool,
    rival: Option<&'static str>,
    gate: GateStatus,
}

impl Scene {
    fn new(mode: &str) -> Self {
        let (deployment, spec) = (live(1, true), Some(policy(mode)));
        Self {
            deployment,
            spec,
            health: None,
            now: 0,
            slot_free: true,
            leaves: false,
            rival: None,
            gate: GateStatus::default(),
        }
    }

    fn with<R>(&self, look: impl FnOnce(&Observed<'_>) -> R) -> R {
        let deployment = project(&self.deployment);
        let owner = self.spec.as_ref().map(|spec| PolicyView {
            name: "web",
            uid: "p",
            generation: 1,
            spec: Some(spec),
            coalesced_at: at(0),
        });
        look(&Observed {
            availability: None,
            now: at(self.now),
            deployment: &deployment,
            owner,
            weaker: &[],
            health: self.health.as_ref(),
            health_generation: 1,
            last_owner_leaves: self.leaves,
            surroundings: &Surroundings::default(),
            slot_free: self.slot_free,
            refusal: None,
            rival: self.rival,
            gate: &self.gate,
        })
    }

    fn decide(&self) -> Decision {
        self.with(decide)
    }

    /// Carries a write out on the scene's Deployment, as the API server would.
    fn write(&mut self) -> Decision {
        let decision = self.decide();
        let Action::Write(plan) = &decision.action else { panic!("no write: {decision:?}") };
        let mut stored = plan.apply_to(&self.deployment).unwrap();
        stored["metadata"]["generation"] = json!(stored["metadata"]["generation"].as_i64().unwrap() + 1);
        stored["status"]["updatedReplicas"] = json!(0);
        let after = self.with(|observed| after_write(observed, plan, &project(&stored)));
        self.deployment = stored;
        self.health.clone_from(&after.status);
        after
    }

    fn settle(&mut self) {
        self.deployment["status"]["observedGeneration"] = self.deployment["metadata"]["generation"].clone();
        self.deployment["status"]["updatedReplicas"] = json!(1);
    }
}

#[test]
fn enforcing_is_one_write_and_then_nothing() {
    let mut scene = Scene::new("Enforce");
    let after = scene.write();
    assert_eq!((after.action, after.outcome), (Action::None, Outcome::InSync));
    let held: Vec<_> = scene.health.as_ref().unwrap().held_fields.iter().map(|h| h.field.as_str()).collect();
    assert_eq!(held, ["terminationGracePeriodSeconds", "livenessProbe", "preStop"]);
    scene.settle();
    let again = scene.decide();
    assert_eq!(again.action, Action::None);
    assert_eq!(again.status, scene.health, "the status says the same, times included, so it is not written again");
}

#[test]
fn an_original_is_recorded_before_it_is_replaced() {
    let scene = Scene::new("Enforce");
    let decision = scene.decide();
    let intent = scene.with(|observed| intent(&decision, observed)).expect("the grace period is replaced");
    let grace = intent.held_fields.iter().find(|h| h.field == "terminationGracePeriodSeconds").unwrap();
    assert_eq!((grace.value.as_str(), grace.original.as_deref()), ("37", Some("30")));
}

#[test]
fn fields_that_were_absent_need_no_intent() {
    let mut scene = Scene::new("Enforce");
    scene.spec.as_mut().unwrap().shutdown = None;
    let decision = scene.decide();
    assert!(matches!(decision.action, Action::Write(_)));
    assert_eq!(scene.with(|observed| intent(&decision, observed)), None);
}

#[test]
fn a_crash_between_any_two_writes_ends_in_the_same_place() {
    let undisturbed = {
        let mut scene = Scene::new("Enforce");
        scene.write();
        scene
    };
    // After the intent, before the write.
    let mut scene = Scene::new("Enforce");
    let decision = scene.decide();
    scene.health = scene.with(|observed| intent(&decision, observed));
    let mut early = scene;
    early.write();
    assert_eq!(early.deployment, undisturbed.deployment);
    assert_eq!(early.health.as_ref().unwrap().held_fields, undisturbed.health.as_ref().unwrap().held_fields);
    // After the write, before the memory of it.
    let mut late = Scene::new("Enforce");
    let decision = late.decide();
    let memory = late.with(|observed| intent(&decision, observed));
    late.write();
    late.health = memory;
    late.settle();
    let recovered = late.decide();
    assert_eq!(recovered.action, Action::None, "nothing is written twice");
    let (recovered, undisturbed) = (recovered.status.unwrap(), undisturbed.health.unwrap());
    assert_eq!(recovered.held_fields, undisturbed.held_fields);
    assert_eq!(
        recovered.last_write, undisturbed.last_write,
        "else a restarted operator takes the rollout for another's"
    );
}

#[test]
fn audit_and_suspended_never_write_to_a_deployment() {
    for (mode, reason) in [("Audit", "Planned"), ("Suspended", "Suspended")] {
        let decision = Scene::new(mode).decide();
        assert_eq!((decision.action, decision.outcome.reason()), (Action::None, reason));
    }
}

#[test]
fn a_restart_waits_for_the_rollout_and_for_its_turn() {
    let mut scene = Scene::new("Enforce");
    scene.deployment = live(1, false);
    assert_eq!(scene.decide().outcome.reason(), "WaitingForRollout");
    scene.deployment = live(1, true);
    scene.slot_free = false;
    assert_eq!(scene.decide().outcome.reason(), "WaitingForTurn");
    scene.now = -3;
    assert_eq!(scene.decide().outcome.reason(), "Coalescing");
    assert_eq!(scene.decide().look_again, Some(SignedDuration::from_secs(3)));
}

#[test]
fn pods_that_the_gate_watches_under_a_pause_stay_those_of_the_template() {
    use crate::api::gate::GateState::*;
    let mut scene = Scene::new("Enforce");
    scene.deployment["spec"]["paused"] = json!(true);
    for (state, reason, waits) in [
        (Baking, "Step", true),
        (AwaitingApproval, "Approval", true),
        (Held, "Environment", true),
        (Restoring, "Restoring", true),
        (Held, "Failing", false),
        (Held, "ByRequest", false),
        (Restored, "Restored", false),
        (NotGated, "PausedByUser", false),
    ] {
        scene.gate = GateStatus { state, reason: reason.into(), ..GateStatus::default() };
        let waited = scene.decide().outcome.reason() == "WaitingForRollout";
        assert_eq!(waited, waits, "{state:?} {reason}: a policy that mends what is stopped must get through");
    }
    let unready = json!({"class": "NotReadyInTime", "pods": 1, "pod": "p", "firstSeen": "2026-01-01T00:00:00Z"});
    let evidence = vec![serde_json::from_value(unready).unwrap()];
    scene.gate = GateStatus { state: Held, reason: "Undecided".into(), evidence, ..GateStatus::default() };
    assert_eq!(scene.decide().outcome.reason(), "Enforcing", "its own probe may be what it is held for");
    scene.deployment["spec"]["paused"] = json!(false);
    scene.gate = GateStatus { state: Baking, reason: "AfterCompletion".into(), ..GateStatus::default() };
    assert_eq!(scene.decide().outcome.reason(), "WaitingForRollout", "what is baked is proven first");
}

#[test]
fn what_restarts_nothing_waits_for_nothing() {
    let mut scene = Scene::new("Enforce");
    let spec = json!({"selector": {}, "mode": "Enforce", "rollout": {"minReadySeconds": 5}});
    scene.spec = Some(serde_json::from_value(spec).unwrap());
    scene.deployment = live(1, false);
    scene.slot_free = false;
    let decision = scene.decide();
    assert!(matches!(decision.action, Action::Write(plan) if !plan.restarts_pods()));
}

#[test]
fn without_an_owner_our_values_are_taken_out_and_the_memory_goes_last() {
    let mut scene = Scene::new("Enforce");
    let before = scene.deployment["spec"].clone();
    scene.write();
    scene.settle();
    scene.spec = None;
    let decision = scene.decide();
    assert_eq!(decision.outcome, Outcome::Releasing);
    let after = scene.write();
    assert_eq!(scene.deployment["spec"], before);
    assert_eq!((after.action, after.status), (Action::Forget, None));
}

#[test]
fn a_release_does_not_wait_for_a_rollout_that_may_never_settle() {
    let mut scene = Scene::new("Enforce");
    scene.write();
    scene.spec = None;
    assert!(matches!(scene.decide().action, Action::Write(_)), "still moving");
}

#[test]
fn values_of_a_leaving_policy_are_released_under_an_audit_that_takes_over() {
    let mut scene = Scene::new("Enforce");
    scene.write();
    scene.settle();
    scene.spec = Some(policy("Audit"));
    assert_eq!(scene.decide().action, Action::None, "its policy lives: an audit writes nothing");
    scene.leaves = true;
    assert_eq!(scene.decide().outcome, Outcome::Releasing);
}

#[test]
fn a_rival_is_named_counted_once_per_write_and_left_alone_after_three() {
    let mut scene = Scene::new("Enforce");
    scene.write();
    let mut writes = 1;
    for minute in 1..10 {
        scene.now = minute * 60;
        scene.settle();
        // Somebody puts the Deployment back as it was.
        scene.deployment["spec"] = live(1, true)["spec"].clone();
        let generation = scene.deployment["metadata"]["generation"].as_i64().unwrap() + 1;
        scene.deployment["metadata"]["generation"] = json!(generation);
        scene.deployment["metadata"]["annotations"] = json!({});
        scene.settle();
        scene.rival = None;
        if scene.decide().action == Action::NameRival {
            scene.rival = Some("argocd-controller");
        }
        let decision = scene.decide();
        match decision.action {
            Action::Write(_) => {
                scene.health = decision.status;
                writes += 1;
                scene.write();
            }
            _ => scene.health = decision.status,
        }
    }
    assert_eq!(writes, 3, "the third reversal stops us");
    let outcome = scene.decide().outcome;
    assert_eq!(outcome.reason(), "Contended");
    assert!(outcome.sentence().starts_with("argocd-controller keeps setting "), "{}", outcome.sentence());
    // An hour later there is one more try.
    scene.now = 75 * 60;
    assert!(matches!(scene.decide().action, Action::Write(_)));
}

#[test]
fn what_the_server_drops_is_asked_for_once() {
    let mut scene = Scene::new("Enforce");
    let decision = scene.decide();
    let Action::Write(plan) = &decision.action else { panic!() };
    let mut answer = plan.apply_to(&scene.deployment).unwrap();
    answer.pointer_mut("/spec/template/spec/containers/0").unwrap().as_object_mut().unwrap().remove("livenessProbe");
    let health = scene.with(|observed| after_dry_run(observed, plan, &answer)).expect("a value was dropped");
    scene.health = Some(health);
    let next = scene.decide();
    let Action::Write(plan) = &next.action else { panic!() };
    assert!(plan.changes.iter().all(|change| change.field.as_str() != "livenessProbe"));
    scene.write();
    scene.settle();
    let settled = scene.decide();
    assert_eq!((settled.action, settled.outcome.reason()), (Action::None, Reason::Unsupported.as_str()));
    // Another value is another question.
    let other = json!({"httpGet": {"path": "/other", "port": 8080}});
    let probes = scene.spec.as_mut().unwrap().containers[0].probes.as_mut().unwrap();
    probes.liveness = Some(serde_json::from_value(other).unwrap());
    assert!(matches!(scene.decide().action, Action::Write(_)));
}

#[test]
fn a_refused_plan_is_not_sent_again_but_another_one_is() {
    let scene = Scene::new("Enforce");
    let Action::Write(plan) = scene.decide().action else { panic!() };
    let finding = Finding::new(Reason::Denied, "", "policy x says no");
    let with = |hash: &str| {
        scene.with(|observed| decide(&Observed { refusal: Some(RefusedPlan { hash, finding: &finding }), ..*observed }))
    };
    let refused = with(&plan.hash());
    assert_eq!((refused.action, refused.outcome.reason()), (Action::None, "Denied"));
    assert!(matches!(with("another").action, Action::Write(_)));
}

#[test]
fn a_policy_that_cannot_be_understood_touches_nothing() {
    let mut scene = Scene::new("Enforce");
    scene.write();
    let held = scene.health.as_ref().unwrap().held_fields.clone();
    let decision = scene.with(|observed| {
        let owner = observed.owner.map(|owner| PolicyView { spec: None, ..owner });
        decide(&Observed { owner, ..*observed })
    });
    assert_eq!((decision.action, decision.outcome.reason()), (Action::None, "PolicyInvalid"));
    assert_eq!(decision.status.unwrap().held_fields, held, "nothing is forgotten either");
}

#[test]
fn every_reason_is_one_word_and_every_sentence_is_one() {
    let finding = Finding::new(Reason::Denied, "", "It says no.");
    let all = [
        Outcome::NotGoverned,
        Outcome::Deleting,
        Outcome::Releasing,
        Outcome::Released,
        Outcome::InSync,
        Outcome::Planned { changes: 1, restarts_pods: true },
        Outcome::Enforcing { changes: 2, restarts_pods: false },
        Outcome::Pending { cause: PendingCause::Coalescing, policy: "p".into() },
        Outcome::Pending { cause: PendingCause::Rollout, policy: "p".into() },
        Outcome::Pending { cause: PendingCause::Slot, policy: "p".into() },
        Outcome::Contended { manager: "m".into(), field: "f".into() },
        Outcome::Refused { finding: finding.clone() },
        Outcome::Blocked { finding, changes: 0 },
        Outcome::Suspended { policy: "p".into() },
        Outcome::PolicyInvalid { policy: "p".into() },
    ];
    for outcome in all {
        assert!(outcome.reason().chars().all(char::is_alphanumeric), "{outcome:?}");
        assert!(outcome.sentence().ends_with('.'), "{outcome:?}");
    }
}
