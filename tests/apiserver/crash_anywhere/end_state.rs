//! What has to be the same in the end, with crash and without. What is left out has a reason each.

use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Map, Value, json};

use crate::support::TestNamespace;

/// Everything that there is, without what must differ from run to run.
pub(super) async fn end_state(ns: &TestNamespace) -> Value {
    let deployment = ns.get("web").await;
    let sets = ns.replica_sets().list(&ListParams::default()).await.unwrap();
    let mut sets: Vec<Value> = sets.iter().map(|set| serde_json::to_value(set).unwrap()).collect();
    // Their names are made of their templates, so they tell the revisions.
    sets.sort_by_key(|set| set["metadata"]["name"].to_string());
    let health = ns.healths().get_opt("web").await.unwrap();
    let policies = ns.policies().list(&ListParams::default()).await.unwrap();
    let policies: Map<String, Value> =
        policies.iter().map(|one| (one.name_any(), policy_of(serde_json::to_value(one).unwrap()))).collect();
    let mut state = json!({
        "deployment": deployment_of(deployment),
        "replicaSets": sets.iter().map(replica_set_of).collect::<Vec<_>>(),
        "health": health.map(|health| health_of(serde_json::to_value(health).unwrap())),
        "policies": policies,
    });
    reword(&mut state);
    state
}

/// Pods have random names, and those that crash do so again while we look: what messages say of these is left out.
fn reword(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().filter(|_| key == "message") {
                    Some(message) => *value = json!(without_pods(message)),
                    None => reword(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(reword),
        _ => {}
    }
}

fn without_pods(message: &str) -> String {
    let mut words: Vec<String> = message.split(' ').map(Into::into).collect();
    for index in 0..words.len() {
        let is_pod = words[index].starts_with("web-") && words[index].matches('-').count() == 2;
        let is_count = words.get(index + 1).is_some_and(|next| next.starts_with("restart"));
        if is_pod || is_count {
            words[index] = "*".into();
        }
    }
    words.join(" ").replace("restarts", "restart")
}

fn deployment_of(object: Value) -> Value {
    let mut annotations = object["metadata"]["annotations"].clone();
    // The Deployment controller numbers revisions; a template that comes back gets a new number, whoever wrote it.
    without(&mut annotations, &["deployment.kubernetes.io/revision"]);
    let of_status = |field: &str| object["status"].get(field).cloned().unwrap_or_else(|| json!(0));
    json!({
        "generation": object["metadata"]["generation"],
        "annotations": annotations,
        "spec": object["spec"],
        "pods": of_status("replicas"), "updated": of_status("updatedReplicas"), "available": of_status("availableReplicas"),
    })
}

fn replica_set_of(object: &Value) -> Value {
    json!({
        "name": object["metadata"]["name"],
        "replicas": object["spec"]["replicas"],
        "ready": object["status"].get("readyReplicas").cloned().unwrap_or_else(|| json!(0)),
    })
}

fn health_of(object: Value) -> Value {
    let mut status = object["status"].clone();
    // How pods went is timed by whoever watched; a crash may miss some of it, and nothing is decided by it.
    if let Some(status) = status.as_object_mut() {
        status.remove("shutdown");
    }
    for condition in list(&mut status, "/conditions") {
        without(condition, &["lastTransitionTime"]);
    }
    within(&mut status, "/policy", &["uid"]);
    within(&mut status, "/lastWrite", &["time"]);
    if let Some(gate) = status.pointer_mut("/gate") {
        without(gate, &["since"]);
        within(gate, "/stable", &["replicaSetUid"]);
        // The fewest ready pods that were *seen*: who was dead has seen less.
        within(gate, "/rollout", &["started", "bakeSince", "clearSince", "retried", "worstReady", "worstOf"]);
        // Pods have random names, and crash on: how many show it, which, and in which words, depends on the moment.
        for evidence in list(gate, "/evidence") {
            without(evidence, &["pods", "pod", "message", "firstSeen"]);
        }
        for rejected in list(gate, "/rejected") {
            without(rejected, &["time"]);
        }
        for past in list(gate, "/history") {
            without(past, &["started", "seconds", "worstReady", "worstOf"]);
        }
    }
    json!({"spec": object["spec"], "status": status})
}

fn policy_of(object: Value) -> Value {
    let mut status = object["status"].clone();
    for condition in list(&mut status, "/conditions") {
        without(condition, &["lastTransitionTime"]);
    }
    json!({
        "generation": object["metadata"]["generation"],
        "finalizers": object["metadata"]["finalizers"],
        "status": status,
    })
}

fn list<'a>(value: &'a mut Value, path: &str) -> impl Iterator<Item = &'a mut Value> {
    value.pointer_mut(path).and_then(Value::as_array_mut).into_iter().flatten()
}

fn within(value: &mut Value, path: &str, fields: &[&str]) {
    if let Some(value) = value.pointer_mut(path) {
        without(value, fields);
    }
}

/// Leaves out, but shows whether it was there.
fn without(value: &mut Value, fields: &[&str]) {
    for field in fields {
        if let Some(value) = value.get_mut(field) {
            *value = json!("*");
        }
    }
}

/// Where two states differ, a line each.
pub(super) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", expected, found, &mut lines);
    lines
}

fn compare(path: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                compare(&format!("{path}/{key}"), &expected[key], &found[key], lines);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                let one = |of: &[Value]| of.get(index).cloned().unwrap_or_default();
                compare(&format!("{path}/{index}"), &one(left), &one(right), lines);
            }
        }
        _ if expected == found => {}
        _ => lines.push(format!("{path}: {expected} undisturbed, {found} here")),
    }
}
