//! One situation for each row of the table, through `decide`: a row without an example, or one that is never taken,
//! fails here.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::story::{Stage, version};
use crate::api::gate::GateState::{self, *};
use crate::api::gate::{PausedByUs, Proven, Rejected, RolloutRecord};
use crate::api::rollout::{Approval, OnFailure, Step, WhenBudgetSpent};
use crate::api::workload_health::{Action as Asked, Request};
use crate::core::rollout::gate::decide_by_row;
use crate::core::rollout::table::{Guard, REVERTED, REVERTING, Reasons, Row, TABLE, Wants, wants};
use crate::core::rollout::{Paused, Seen};

/// What an example changes of its state's ordinary scene: `v1` is proven, and `v2` is being let in, with a pod of it that
/// is ready; or nothing is, and all run `v1`. Three replicas, maxSurge 1, maxUnavailable 0.
#[derive(Clone, Copy, Debug)]
enum Fact {
    /// `spec.paused`.
    Paused(Paused),
    /// Our pause was not seen yet.
    PauseUnseen,
    /// The policy is suspended.
    Suspended,
    /// The strategy is Recreate.
    Recreate,
    /// Adopted pods.
    ForeignPods,
    /// `spec.replicas`.
    Replicas(u32),
    /// The template is this version.
    Template(&'static str),
    /// The application of the template is the proven one, with other policy fields.
    AppOfStable,
    /// Nothing is proven yet.
    NothingProven,
    /// A person let the version of the template pass.
    LetPass,
    /// The version of the template was rejected before.
    WasRejected,
    /// It was even taken back.
    WasTakenBack,
    /// The error budget is spent, and freezes rollouts.
    Frozen,
    /// A person asks.
    Asked(Asked),
    /// A version has so many pods, of which so many are ready and the others crash.
    Pods(&'static str, u32, u32),
    /// A version has no ReplicaSet any more.
    Gone(&'static str),
    /// Its pods are ready again since a moment, after a restart.
    Restarted(&'static str),
    /// A pod of it cannot pull its image, though it did once.
    CannotPull(&'static str),
    /// What the policy does with a failing version.
    OnFailure(OnFailure),
    /// Stops at so many pods each.
    Steps(&'static [i32]),
    /// The steps wait for a person.
    Manual,
    /// The bake, or the time without evidence, began long ago.
    LongAgo,
    /// As many swaps as are tried were tried.
    OutOfSwaps,
    /// The way back has been stuck for long.
    StuckForLong,
    /// The API server refuses the stable template.
    Refused,
}
use Fact::*;

/// A state with its reason, the guard of the row that it takes, and how it comes to that.
type Example = (GateState, &'static str, Guard, &'static [Fact]);

const EXAMPLES: &[Example] = &[
    (Held, "Failing", Guard::PausePending, &[Fact::Paused(Paused::No), PauseUnseen]),
    (Rolling, "Rolling", Guard::ResumePending, &[Fact::Paused(Paused::ByUs)]),
    (Rolling, "Rolling", Guard::GatingOff, &[Suspended]),
    (Stable, "Proven", Guard::Recreate, &[Fact::Recreate]),
    (Rolling, "Rolling", Guard::ForeignPods, &[Fact::ForeignPods]),
    (Held, "Failing", Guard::UnpausedByOther, &[Fact::Paused(Paused::No)]),
    (Rolling, "Rolling", Guard::PausedByOther, &[Fact::Paused(Paused::ByOther)]),
    (Stable, "Proven", Guard::NoReplicas, &[Replicas(0)]),
    (Restored, "Restored", Guard::TemplateIsStable, &[Template("v1"), Pods("v2", 0, 0)]),
    (Reverted, REVERTED, Guard::RevertComplete, &[Template("v1"), Pods("v1", 3, 3), Pods("v2", 0, 0)]),
    (NotGated, "Suspended", Guard::TemplateIsStable, &[]),
    (NotGated, "NothingProven", Guard::CompleteUngated, &[Fact::NothingProven]),
    (NotGated, "Overridden", Guard::Overridden, &[Template("v2"), LetPass, Pods("v2", 1, 0)]),
    (NotGated, "PausedByUser", Guard::Overridden, &[Template("v2"), LetPass, Pods("v2", 1, 0)]),
    (NotGated, "NoPolicy", Guard::NothingProven, &[Fact::NothingProven, Pods("v1", 3, 2)]),
    (Rolling, "Rolling", Guard::NewAndRejected, &[Template("v3"), WasRejected]),
    (Held, "Failing", Guard::NewAndFrozen, &[Template("v3"), Frozen]),
    (Restored, "Restored", Guard::NewVersion, &[Template("v3")]),
    (Stable, "Proven", Guard::NewAndRejected, &[Template("v2"), WasRejected]),
    (Stable, "Proven", Guard::NewAndFrozen, &[Template("v2"), Frozen]),
    (Stable, "Proven", Guard::NewVersion, &[Template("v2")]),
    (Rolling, "Rolling", Guard::AskedHold, &[Fact::Asked(Asked::Hold)]),
    (AwaitingApproval, "Approval", Guard::AskedApprove, &[Steps(&[1]), Fact::Asked(Asked::Approve)]),
    (Held, "Failing", Guard::AskedRetry, &[Fact::Asked(Asked::Retry)]),
    (Held, "ByRequest", Guard::AskedResumeOfRejected, &[Template("v3"), WasRejected, Fact::Asked(Asked::Resume)]),
    (Held, "ByRequest", Guard::AskedResumeWhileFrozen, &[Template("v3"), Frozen, Fact::Asked(Asked::Resume)]),
    (Reverted, REVERTING, Guard::AskedRetry, &[Fact::Asked(Asked::Retry)]),
    (Reverted, REVERTING, Guard::AskedResume, &[Fact::Asked(Asked::Resume)]),
    (Held, "ByRequest", Guard::AskedResumeOwnHold, &[Fact::Asked(Asked::Resume)]),
    (Held, "Failing", Guard::AskedResume, &[Fact::Asked(Asked::Resume)]),
    (Baking, "Step", Guard::AskedSkip, &[Steps(&[1]), Fact::Asked(Asked::Skip)]),
    (Rolling, "Rolling", Guard::AgainstButStableBroken, &[Pods("v1", 2, 0), Pods("v2", 2, 1)]),
    (Baking, "Step", Guard::StableBroken, &[Steps(&[1]), Pods("v1", 3, 0)]),
    (Rolling, "Rolling", Guard::AgainstEnvironment, &[Pods("v1", 3, 0), Pods("v2", 1, 0)]),
    (Rolling, "Rolling", Guard::AgainstUnknown, &[Pods("v1", 3, 2), Pods("v2", 1, 0)]),
    (Rolling, "Rolling", Guard::AgainstHold, &[Pods("v2", 1, 0), Fact::OnFailure(OnFailure::Hold)]),
    (Rolling, "Rolling", Guard::AgainstTwice, &[Pods("v2", 1, 0), WasTakenBack]),
    (Rolling, "Rolling", Guard::AgainstNoStable, &[Pods("v2", 3, 2), Gone("v1")]),
    (
        Rolling,
        "Rolling",
        Guard::AgainstRevertInVain,
        &[AppOfStable, Pods("v2", 1, 0), Fact::OnFailure(OnFailure::Revert)],
    ),
    (Rolling, "Rolling", Guard::AgainstWorseStable, &[Pods("v1", 3, 3), CannotPull("v1"), Pods("v2", 2, 1)]),
    (Rolling, "Rolling", Guard::AgainstRevert, &[Pods("v2", 1, 0), Fact::OnFailure(OnFailure::Revert)]),
    (Baking, "AfterCompletion", Guard::AgainstSaturated, &[Pods("v1", 0, 0), Pods("v2", 3, 3), Restarted("v2")]),
    (Rolling, "Rolling", Guard::AgainstRestore, &[Pods("v2", 1, 0)]),
    (Held, "Undecided", Guard::ClearAtStep, &[Steps(&[1]), LongAgo]),
    (Held, "Environment", Guard::Clear, &[LongAgo]),
    (Held, "BudgetSpent", Guard::BudgetBack, &[]),
    (Rolling, "Rolling", Guard::StepReached, &[Steps(&[1])]),
    (Rolling, "Rolling", Guard::Complete, &[Pods("v1", 0, 0), Pods("v2", 3, 3)]),
    (Baking, "Step", Guard::BakedManual, &[Steps(&[1]), Manual, LongAgo]),
    (Baking, "Step", Guard::BakedAtNext, &[Steps(&[1, 2]), Pods("v2", 2, 2), LongAgo]),
    (Baking, "Step", Guard::Baked, &[Steps(&[1, 2]), LongAgo]),
    (Baking, "AfterCompletion", Guard::BakedAfter, &[Pods("v1", 0, 0), Pods("v2", 3, 3), LongAgo]),
    (Restoring, "Restoring", Guard::Saturated, &[Pods("v1", 0, 0), Pods("v2", 3, 3)]),
    (Restoring, "Restoring", Guard::StableGone, &[Pods("v2", 3, 2), Gone("v1")]),
    (Restoring, "Restoring", Guard::CapacityBack, &[Pods("v2", 0, 0)]),
    (Restoring, "Restoring", Guard::StuckOnBroken, &[Pods("v1", 3, 2), StuckForLong]),
    (Held, "StableFails", Guard::Freed, &[]),
    (Baking, "Step", Guard::StepWithoutPods, &[Steps(&[1]), Gone("v2")]),
    (Reverted, REVERTING, Guard::StableGone, &[Gone("v1")]),
    (Reverted, REVERTING, Guard::RevertRefused, &[Refused]),
    (Restoring, "Restoring", Guard::Blocked, &[Replicas(4), Pods("v1", 2, 2), Pods("v2", 3, 2), OutOfSwaps]),
    (Restored, "Restored", Guard::CandidateBack, &[]),
    (Reverted, REVERTING, Guard::TemplateReverted, &[Template("v1")]),
];

/// Row of an example: the one of its guard that starts from its state and reason.
fn row_of((state, reason, guard, _): &Example) -> &'static Row {
    let has_reason = |row: &Row| match row.with {
        Reasons::Any => true,
        Reasons::In(some) => some.contains(reason),
        Reasons::Except(some) => !some.contains(reason),
    };
    let mut rows = TABLE.iter().filter(|row| row.guard == *guard && row.from.contains(state) && has_reason(row));
    rows.next().unwrap_or_else(|| panic!("{guard:?} has no row from {state:?}, {reason}"))
}

/// A scene, and what of it the story's stage does not have.
struct Scene {
    stage: Stage,
    foreign: bool,
    spent: bool,
    refused: bool,
    request: Option<Request>,
}

fn scene((state, reason, _, facts): &Example) -> Scene {
    let mut stage = Stage::new(OnFailure::Restore);
    let since = Time(stage.now - SignedDuration::from_secs(3600));
    let mut proven = Proven { replica_set_uid: "v1".into(), replica_set: "v1".into(), version: version("v1") };
    proven.version = version("v1");
    stage.memory.stable = Some(proven);
    (stage.memory.state, stage.memory.reason, stage.memory.since) = (*state, (*reason).into(), Some(since.clone()));
    if !matches!(state, Stable | NotGated) {
        stage.deployment.version = version("v2");
        stage.set("v2", 2, 1, 1);
        stage.memory.rollout = Some(record(&since, *state == Baking && *reason == "AfterCompletion"));
    }
    if wants(*state, reason) == Wants::Pause {
        stage.deployment.paused = Paused::ByUs;
        let template_hash = stage.deployment.version.template_hash.clone();
        let pause = PausedByUs { template_hash, reason: (*reason).into(), generation: 1, seen: true };
        stage.memory.paused_by_us = Some(pause);
    }
    let mut scene = Scene { stage, foreign: false, spent: false, refused: false, request: None };
    for fact in *facts {
        put(&mut scene, *fact, &since);
    }
    scene
}

fn record(since: &Time, complete: bool) -> RolloutRecord {
    RolloutRecord {
        version: version("v2"),
        started: since.clone(),
        steps_passed: 0,
        complete,
        bake_since: None,
        clear_since: None,
        retried: None,
        stuck_since: None,
        stable_broken: false,
        swaps: 0,
        worst_ready: None,
        worst_of: None,
    }
}

fn put(scene: &mut Scene, fact: Fact, since: &Time) {
    let stage = &mut scene.stage;
    let current = stage.deployment.version.clone();
    let rejected =
        |taken_back| Rejected { version: current.clone(), reason: "Crash".into(), time: since.clone(), taken_back };
    let mut policy = stage.rollout.clone().unwrap();
    match fact {
        Fact::Paused(paused) => stage.deployment.paused = paused,
        PauseUnseen => stage.memory.paused_by_us.as_mut().unwrap().seen = false,
        Suspended => return stage.rollout = None,
        Fact::Recreate => stage.deployment.recreate = true,
        Fact::ForeignPods => scene.foreign = true,
        Replicas(replicas) => stage.deployment.replicas = replicas,
        Template(name) => stage.deployment.version = version(name),
        AppOfStable => {
            stage.deployment.version.app_hash = version("v1").app_hash;
            stage.memory.rollout.as_mut().unwrap().version = stage.deployment.version.clone();
        }
        Fact::NothingProven => stage.memory.stable = None,
        LetPass => stage.memory.overridden = Some(current),
        WasRejected => stage.memory.rejected = vec![rejected(false)],
        WasTakenBack => stage.memory.rejected = vec![rejected(true)],
        Frozen => (scene.spent, policy.when_budget_spent) = (true, WhenBudgetSpent::Freeze),
        Fact::Asked(action) => {
            let id = "1".into();
            scene.request = Some(Request { action, template_hash: current.template_hash, id });
        }
        Pods(name, size, ready) => stage.set(name, if name == "v1" { 1 } else { 2 }, size, ready),
        Gone(name) => {
            stage.revisions.retain(|revision| &*revision.name != name);
            stage.pods.retain(|pod| &*pod.revision != name);
        }
        Restarted(name) => {
            for pod in stage.pods.iter_mut().filter(|pod| &*pod.revision == name) {
                pod.was_ready = true;
                pod.containers[0].running_since = Some(stage.now);
                pod.containers[0].restarts = 1;
                pod.containers[0].last =
                    Some(serde_json::from_value(json!({"exitCode": 1, "reason": "Error"})).unwrap());
            }
        }
        CannotPull(name) => {
            let pod = stage.pods.iter_mut().find(|pod| &*pod.revision == name).unwrap();
            pod.ready = false;
            pod.containers[0].ready = false;
            pod.containers[0].running_since = None;
            pod.containers[0].waiting = Some(serde_json::from_value(json!({"reason": "ImagePullBackOff"})).unwrap());
            let revision = stage.revisions.iter_mut().find(|revision| &*revision.name == name).unwrap();
            (revision.ready, revision.available) = (revision.ready - 1, revision.available - 1);
        }
        Fact::OnFailure(what) => policy.on_failure = what,
        Steps(pods) => {
            let step =
                |pods: &i32| Step { pods: IntOrString::Int(*pods), bake_seconds: 60, approval: Approval::Automatic };
            policy.steps = pods.iter().map(step).collect();
        }
        Manual => policy.steps.iter_mut().for_each(|step| step.approval = Approval::Manual),
        LongAgo => {
            let record = stage.memory.rollout.as_mut().unwrap();
            (record.bake_since, record.clear_since) = (Some(since.clone()), Some(since.clone()));
        }
        StuckForLong => stage.memory.rollout.as_mut().unwrap().stuck_since = Some(since.clone()),
        Refused => scene.refused = true,
        OutOfSwaps => stage.memory.rollout.as_mut().unwrap().swaps = 5,
    }
    scene.stage.rollout = Some(policy);
}

#[test]
fn each_example_takes_the_row_of_its_guard() {
    for example in EXAMPLES {
        let (state, reason, ..) = example;
        let scene = scene(example);
        let seen = Seen {
            has_foreign_pods: scene.foreign,
            is_budget_spent: scene.spent,
            request: scene.request.as_ref(),
            refused_revert: scene.refused.then_some("no"),
            ..scene.stage.seen()
        };
        let (taken, verdict) = decide_by_row(&seen);
        let want = row_of(example);
        assert_eq!(
            taken.map(|row| (row.guard, row.from)),
            Some((want.guard, want.from)),
            "{state:?} {reason}: {example:?}"
        );
        assert_eq!(verdict.state(), want.to.unwrap_or(*state), "{example:?}");
        if want.to.is_some() && !want.reason.is_empty() {
            assert_eq!(verdict.reason(), want.reason, "{example:?}");
        }
    }
}

#[test]
fn each_row_has_an_example() {
    let shown: Vec<&Row> = EXAMPLES.iter().map(row_of).collect();
    for row in TABLE {
        assert!(shown.contains(&row), "no example takes {row:?}");
    }
}
