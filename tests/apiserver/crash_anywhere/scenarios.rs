//! The scripts. They wait on what the cluster and the status show, so they go on after a crash.

use futures::FutureExt;
use serde_json::{Value, json};

use super::run::{FAULT, READY_AFTER, Run, WAITS};
use super::{Scenario, a_crash_at_any_write_ends_in_the_same_place};
use crate::support::namespace::{container, deployment, pod, web_policy};

/// What Git has: a version by its number, and how its pods fare.
fn manifest(replicas: i32, version: u32, (annotation, value): (&str, &str)) -> Value {
    let mut app = container();
    app["image"] = json!(format!("example.com/app:{version}"));
    let mut object = deployment("web", replicas, vec![app]);
    object["spec"]["template"]["metadata"]["annotations"] = json!({annotation: value});
    object
}

const AT_ONCE: (&str, &str) = (READY_AFTER, "0s");
const WAITING: (&str, &str) = (READY_AFTER, WAITS);
const CRASHING: (&str, &str) = (FAULT, "crash");

/// A policy that gates. Patience is long: what fails here crashes, and what waits for the script may wait.
fn gated(on_failure: &str, steps: Value) -> Value {
    let patience = json!({"startSeconds": 600});
    let rollout = json!({"onFailure": on_failure, "bakeAfterSeconds": 1, "patience": patience, "steps": steps});
    json!({"selector": {}, "mode": "Enforce", "rollout": rollout})
}

/// A policy that replaces a probe and gates.
fn replacing(threshold: i32) -> Value {
    let mut spec = web_policy();
    spec["whenAlreadySet"] = json!("Replace");
    spec["containers"][0]["probes"]["liveness"]["failureThreshold"] = json!(threshold);
    spec["rollout"] = json!({"onFailure": "Restore", "bakeAfterSeconds": 1});
    spec
}

async fn policy_script(run: &Run) -> super::Outcome {
    let before = run.ns.get("web").await;
    for threshold in [6, 9] {
        run.ns.policy("web", replacing(threshold)).await;
        run.web("it is written", |web| pod(web)["containers"][0]["livenessProbe"]["failureThreshold"] == threshold)
            .await?;
        run.settled().await?;
        run.says("Stable", "Proven").await?;
        run.policy_is_ready().await?;
        run.checkpoint().await?;
    }
    run.ns.delete_policy("web").await;
    run.until("the policy is gone", async || run.ns.policies().get_opt("web").await.unwrap().is_none()).await?;
    run.until("nothing is remembered", async || run.health().await.is_null()).await?;
    run.settled().await?;
    if run.ns.get("web").await["spec"] != before["spec"] {
        return Err("the originals are not back".into());
    }
    run.checkpoint().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_of_a_policy_applied_changed_and_deleted_ends_in_the_same_place() {
    let mut first = manifest(2, 1, AT_ONCE);
    first["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 7});
    a_crash_at_any_write_ends_in_the_same_place(Scenario {
        topic: "crash-policy",
        first,
        policy: None,
        script: |run| policy_script(run).boxed_local(),
    })
    .await;
}

async fn approval_script(run: &Run) -> super::Outcome {
    run.release(&manifest(2, 2, WAITING)).await;
    run.says("Baking", "Step").await?;
    run.web("it is paused", |web| web["spec"]["paused"] == true).await?;
    run.let_ready().await;
    run.says("AwaitingApproval", "Approval").await?;
    run.checkpoint().await?;
    run.ask("Approve").await?;
    becomes_ready(run).await
}

/// The version that waits is let ready, and proven.
async fn becomes_ready(run: &Run) -> super::Outcome {
    run.until("it is proven", async || {
        run.let_ready().await;
        let gate = run.gate().await;
        gate["state"] == "Stable" && gate["history"][0]["outcome"] == "Completed"
    })
    .await?;
    run.settled().await?;
    run.checkpoint().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_of_a_step_and_its_approval_ends_in_the_same_place() {
    a_crash_at_any_write_ends_in_the_same_place(Scenario {
        topic: "crash-approve",
        first: manifest(2, 1, AT_ONCE),
        policy: Some(gated("Restore", json!([{"pods": 1, "bakeSeconds": 1, "approval": "Manual"}]))),
        script: |run| approval_script(run).boxed_local(),
    })
    .await;
}

async fn restore_script(run: &Run) -> super::Outcome {
    run.release(&manifest(3, 2, CRASHING)).await;
    run.says("Restored", "Restored").await?;
    run.checkpoint().await?;
    run.release(&manifest(3, 3, AT_ONCE)).await;
    run.says("Stable", "Proven").await?;
    run.settled().await?;
    run.checkpoint().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_of_a_restore_and_its_fix_ends_in_the_same_place() {
    a_crash_at_any_write_ends_in_the_same_place(Scenario {
        topic: "crash-restore",
        first: manifest(3, 1, AT_ONCE),
        policy: Some(gated("Restore", json!([]))),
        script: |run| restore_script(run).boxed_local(),
    })
    .await;
}

async fn hold_script(run: &Run) -> super::Outcome {
    run.release(&manifest(3, 2, CRASHING)).await;
    run.says("Held", "Failing").await?;
    run.checkpoint().await?;
    run.ask("Retry").await?;
    run.web("it goes on", |web| web["spec"].get("paused").is_none()).await?;
    // The pod that failed before would be given its patience anew.
    run.delete_crashing().await;
    run.says("Held", "Failing").await?;
    run.web("it is paused", |web| web["spec"]["paused"] == true).await?;
    run.checkpoint().await?;
    run.ask("Resume").await?;
    run.says("NotGated", "Overridden").await?;
    run.checkpoint().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_of_a_hold_its_retry_and_its_end_ends_in_the_same_place() {
    a_crash_at_any_write_ends_in_the_same_place(Scenario {
        topic: "crash-hold",
        first: manifest(3, 1, AT_ONCE),
        policy: Some(gated("Hold", json!([]))),
        script: |run| hold_script(run).boxed_local(),
    })
    .await;
}

async fn revert_script(run: &Run) -> super::Outcome {
    run.release(&manifest(3, 2, CRASHING)).await;
    run.until("it is reverted", async || {
        let gate = run.gate().await;
        gate["state"] == "Stable" && gate["history"][0]["outcome"] == "Reverted"
    })
    .await?;
    run.settled().await?;
    run.checkpoint().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_of_a_revert_ends_in_the_same_place() {
    a_crash_at_any_write_ends_in_the_same_place(Scenario {
        topic: "crash-revert",
        first: manifest(3, 1, AT_ONCE),
        policy: Some(gated("Revert", json!([]))),
        script: |run| revert_script(run).boxed_local(),
    })
    .await;
}

async fn request_script(run: &Run) -> super::Outcome {
    run.release(&manifest(2, 2, WAITING)).await;
    run.says("Rolling", "Rolling").await?;
    run.ask("Hold").await?;
    run.says("Held", "ByRequest").await?;
    run.web("it is paused", |web| web["spec"]["paused"] == true).await?;
    run.checkpoint().await?;
    run.ask("Resume").await?;
    becomes_ready(run).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_write_of_a_persons_hold_and_resume_ends_in_the_same_place() {
    a_crash_at_any_write_ends_in_the_same_place(Scenario {
        topic: "crash-request",
        first: manifest(2, 1, AT_ONCE),
        policy: Some(gated("Restore", json!([]))),
        script: |run| request_script(run).boxed_local(),
    })
    .await;
}
