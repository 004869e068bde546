//! Bad releases with real containers: what the gate makes of them, and how long it takes.

use std::time::Instant;

use serde_json::{Value, json};

use crate::seconds;
use crate::shop::{self, bare, gate_says, governed, policy};
use crate::support::TestNamespace;
use crate::world::World;

const REPLICAS: i32 = 3;

fn gated() -> Value {
    let mut policy = policy();
    policy["rollout"] =
        json!({"onFailure": "Restore", "bakeAfterSeconds": 5, "patience": {"startSeconds": 15, "pullSeconds": 10}});
    policy
}

/// Three pods of a first version, proven.
async fn proven(world: &'static World, topic: &str, changes: Value) -> TestNamespace {
    let ns = world.namespace(topic).await;
    let mut policy = gated();
    for (field, value) in changes.as_object().unwrap() {
        policy["rollout"][field] = value.clone();
    }
    ns.policy("web", policy).await;
    ns.apply(&bare("shop", REPLICAS, &[])).await;
    governed(&ns, "shop").await;
    gate_says(&ns, "shop", "Stable").await;
    ns
}

/// The next version comes and is taken back for this reason; the first one keeps serving with all of its pods.
async fn is_taken_back(world: &'static World, topic: &str, reasons: &[&str], next: impl Fn(Value) -> Value) {
    is_taken_back_under(world, topic, json!({}), reasons, next).await;
}

/// The same under other rules of the rollout.
async fn is_taken_back_under(
    world: &'static World,
    topic: &str,
    changes: Value,
    reasons: &[&str],
    next: impl Fn(Value) -> Value,
) {
    // What the strategy of the Deployment, 25 %, comes to: one pod more, and none fewer. A version that never is ready takes
    // the place of none; one that is ready at first takes those of its step.
    let replaced = usize::from(changes.get("steps").is_some());
    let ns = proven(world, topic, changes).await;
    let before = shop::runs(&ns, "shop").await;
    let start = Instant::now();
    let applied = ns.apply(&next(bare("shop", REPLICAS, &[("SHOP_VERSION", "2")]))).await;
    let gate = gate_says(&ns, "shop", "Restored").await;
    let took = start.elapsed();
    let reason = gate["rejected"][0]["reason"].as_str().unwrap().to_owned();
    world.figure(format!(
        "{topic}: taken back after {} for {reason}: {}",
        seconds(took),
        gate["message"].as_str().unwrap()
    ));
    assert!(reasons.contains(&reason.as_str()), "{gate}");
    let web = ns.get("shop").await;
    assert_eq!(web["spec"]["template"], applied["spec"]["template"], "the template stays as Git wrote it");
    assert_eq!(web["spec"]["paused"], true);
    crate::support::eventually("the first version has its capacity", || async {
        let pods = shop::pods(&ns, "shop").await;
        (pods.len() == REPLICAS as usize && pods.iter().all(shop::is_ready)).then_some(())
    })
    .await;
    let kept = shop::runs(&ns, "shop").await.iter().filter(|run| before.contains(run)).count();
    let least = REPLICAS as usize - replaced;
    world.figure(format!(
        "{topic}: {kept} of {REPLICAS} pods of the first version were never touched (asserted: {least} or more)"
    ));
    assert!(kept >= least, "{kept} of {before:?}");
}

/// With less patience a version is taken back before its startup probe has killed it.
fn patient() -> Value {
    json!({"patience": {"startSeconds": 60}})
}

fn with(mut manifest: Value, name: &str, value: &str) -> Value {
    let environment = manifest.pointer_mut("/spec/template/spec/containers/0/env").unwrap().as_array_mut().unwrap();
    environment.push(json!({"name": name, "value": value}));
    manifest
}

pub(crate) async fn a_version_that_never_gets_ready_is_taken_back(world: &'static World) {
    // The startup probe asks /livez here, so that it passes and readiness alone decides.
    let next = |manifest: Value| {
        let mut manifest = with(manifest, "SHOP_READINESS", "fail");
        manifest["spec"]["template"]["spec"]["containers"][0]["startupProbe"] =
            json!({"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 1, "failureThreshold": 10});
        manifest
    };
    is_taken_back(world, "never-ready", &["NotReadyInTime"], next).await;
}

pub(crate) async fn a_version_that_crashes_is_taken_back(world: &'static World) {
    // In its start: one that had been ready for a moment would be another case.
    is_taken_back(world, "crash-loop", &["Crash"], |manifest| {
        with(with(manifest, "SHOP_START_MILLIS", "3600000"), "SHOP_CRASH_AFTER_MILLIS", "300")
    })
    .await;
}

pub(crate) async fn a_version_without_an_image_is_taken_back(world: &'static World) {
    // Nobody listens there, on any cluster: a registry that does not answer, which is waited for as long as the policy says.
    is_taken_back(world, "no-image", &["ImagePull"], |mut manifest| {
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("localhost:1/shop:missing");
        manifest
    })
    .await;
}

pub(crate) async fn a_version_that_starts_slower_than_its_budget_is_taken_back(world: &'static World) {
    // It exits with 0 when its probe ends it, which is no crash (docs/reference/rollout-gate.md).
    is_taken_back_under(world, "too-slow", patient(), &["StartupFailed"], |manifest| {
        with(manifest, "SHOP_START_MILLIS", "3600000")
    })
    .await;
}

pub(crate) async fn a_version_that_hangs_in_its_start_is_taken_back_for_that(world: &'static World) {
    is_taken_back_under(world, "stuck", patient(), &["StartupFailed"], |manifest| {
        let mut manifest = with(with(manifest, "SHOP_START_MILLIS", "3600000"), "SHOP_ON_SIGTERM", "ignore");
        manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 11.into();
        manifest
    })
    .await;
}

pub(crate) async fn a_version_that_starts_slowly_within_its_budget_passes(world: &'static World) {
    let ns = proven(world, "slow", json!({})).await;
    let first = shop::gate(&ns, "shop").await["stable"]["replicaSet"].clone();
    let start = Instant::now();
    ns.apply(&with(bare("shop", REPLICAS, &[("SHOP_VERSION", "2")]), "SHOP_START_MILLIS", "6000")).await;
    let gate = shop::another_is_proven(&ns, "shop", &first).await;
    world.figure(format!("slow start of 6 s, three pods: proven after {}", seconds(start.elapsed())));
    assert_eq!(gate["rejected"].as_array().map_or(0, Vec::len), 0, "{gate}");
    for pod in shop::pods(&ns, "shop").await {
        assert_eq!(shop::status_of_container(&pod)["restartCount"], 0);
    }
}

pub(crate) async fn a_version_that_hangs_and_is_killed_by_its_probe_is_taken_back(world: &'static World) {
    let reasons = ["LivenessKilled", "RestartedAfterReady"];
    // It is ready at first: without a step all of its pods would be in before the first one hangs for long enough.
    let step = json!({"steps": [{"pods": 1, "bakeSeconds": 40}]});
    is_taken_back_under(world, "hangs", step, &reasons, |manifest| {
        let mut manifest = with(with(manifest, "SHOP_LIVENESS", "hang"), "SHOP_ON_SIGTERM", "ignore");
        manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 11.into();
        manifest
    })
    .await;
}

pub(crate) async fn a_healthy_version_that_its_liveness_probe_kills_is_taken_back(world: &'static World) {
    // It sells without its queue, which is away, and is ready; its own liveness probe asks for the queue all the same. It ends
    // with 0 when it is told to, so that nothing but the restart shows it.
    let step = json!({"steps": [{"pods": 1, "bakeSeconds": 40}]});
    is_taken_back_under(world, "eager", step, &["RestartedAfterReady"], |manifest| {
        let mut manifest = with(manifest, "SHOP_QUEUE", "127.0.0.1:1");
        manifest["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] =
            json!({"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 2, "failureThreshold": 3});
        manifest
    })
    .await;
}
