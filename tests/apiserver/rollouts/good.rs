//! Versions that are fine pass, and nobody is bothered.

use serde_json::{Value, json};

use super::{Capacity, Rig, manifest};

fn strategy(surge: &str, unavailable: &str) -> Value {
    let value = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    let (surge, unavailable) = (value(surge), value(unavailable));
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

async fn passes(topic: &str, replicas: i32, surge: &str, unavailable: &str, floor: i64, changes: Value) -> Rig {
    let with_strategy = |version| {
        let mut object = manifest(replicas, version, "");
        object["spec"]["strategy"] = strategy(surge, unavailable);
        object
    };
    let rig = Rig::of(topic, with_strategy(1), changes).await;
    let capacity = Capacity::of(&rig.ns);
    rig.release(&with_strategy(2)).await;
    rig.says("Baking", "AfterCompletion").await;
    let gate = rig.says("Stable", "Proven").await;
    assert_ne!(gate["stable"]["replicaSet"], rig.stable.as_str());
    assert_eq!(gate["history"][0]["outcome"], "Completed");
    assert_eq!(gate["history"][1], Value::Null, "one rollout");
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"].get("paused"), None);
    assert_eq!(rig.events("RolloutHeld").await, 0);
    let least = capacity.least().await;
    assert!(least >= floor, "{least} ready pods, {floor} must be");
    rig
}

#[tokio::test]
async fn a_good_version_of_1_pod_passes() {
    passes("good-1", 1, "25%", "25%", 1, json!({})).await;
}

#[tokio::test]
async fn a_good_version_of_3_pods_passes() {
    let rig = passes("good-3", 3, "25%", "25%", 3, json!({})).await;
    if let Some(writes) = rig.writes() {
        assert_eq!(writes, (0, 0), "without steps there is nothing to write");
    }
}

#[tokio::test]
async fn a_good_version_of_10_pods_passes() {
    passes("good-10", 10, "25%", "25%", 8, json!({})).await;
}

#[tokio::test]
async fn a_good_version_of_50_pods_passes() {
    passes("good-50", 50, "25%", "25%", 38, json!({})).await;
}

#[tokio::test]
async fn a_good_version_passes_where_a_pod_goes_before_its_successor_comes() {
    passes("good-0-1", 3, "0", "1", 2, json!({})).await;
    passes("good-0-1-single", 1, "0", "1", 0, json!({})).await;
}

#[tokio::test]
async fn a_good_version_passes_where_no_pod_may_be_missing() {
    passes("good-1-0", 3, "1", "0", 3, json!({})).await;
}

#[tokio::test]
async fn a_good_version_passes_its_steps() {
    let steps = json!({"steps": [{"pods": 1, "bakeSeconds": 2}, {"pods": "50%", "bakeSeconds": 2}]});
    let rig = passes("good-steps", 10, "1", "0", 10, steps).await;
    assert_eq!(rig.events("RolloutBaking").await, 3, "two steps, and after completion");
    let metrics = rig.operator.get("/metrics").await.unwrap();
    assert!(metrics.contains("gracekeeper_reaction_seconds_count 0\n"), "a step is no reaction: {metrics}");
}

#[tokio::test]
async fn a_good_version_of_1_pod_passes_its_steps() {
    let steps = json!({"steps": [{"pods": 1, "bakeSeconds": 2}]});
    passes("good-1-steps", 1, "25%", "25%", 1, steps).await;
}

#[tokio::test]
async fn two_good_versions_in_a_row_end_with_the_second() {
    let rig = Rig::new("good-twice", 3, json!({})).await;
    rig.release(&manifest(3, 2, "")).await;
    rig.says("Rolling", "Rolling").await;
    rig.release(&manifest(3, 3, "")).await;
    let gate = rig.says("Stable", "Proven").await;
    let web = rig.ns.settled("web").await;
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "example.com/app:3");
    assert_eq!(gate["history"].as_array().unwrap().last().unwrap()["outcome"], "Completed");
    assert_eq!(rig.events("RolloutHeld").await, 0);
}

#[tokio::test]
async fn with_recreate_rollouts_are_not_gated() {
    let rig = Rig::new("recreate", 2, json!({})).await;
    let strategy = json!({"type": "Recreate", "rollingUpdate": null});
    rig.ns.merge("web", json!({"spec": {"strategy": strategy}})).await;
    rig.says("NotGated", "Recreate").await;
    rig.release(&manifest(2, 2, "crash")).await;
    rig.ns.until("web", "all pods are replaced", |web| web["status"]["updatedReplicas"] == 2).await;
    assert_eq!(rig.gate().await["reason"], "Recreate");
    assert_eq!(rig.writes().unwrap_or_default(), (0, 0));
}
