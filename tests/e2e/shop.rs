//! The sample application on the cluster: its manifests, and what can be done to its pods.

use std::time::Duration;

use gracekeeper::api::WorkloadHealth;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::namespace::{deployment, resource};
use crate::support::{TestNamespace, eventually};
use crate::world::image;

/// The bare Deployment of somebody who has never heard of probes: its container has a port and nothing else.
pub(crate) fn bare(name: &str, replicas: i32, switches: &[(&str, &str)]) -> Value {
    let environment = switches.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let environment: Vec<Value> = environment.chain([json!({"name": "SHOP_SWITCHES", "value": "true"})]).collect();
    let shop = json!({
        "name": "shop", "image": image("shop"), "imagePullPolicy": "IfNotPresent", "env": environment,
        "ports": [{"name": "http", "containerPort": 8080}],
        "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false},
    });
    let mut object = deployment(name, replicas, vec![shop]);
    object["spec"]["template"]["spec"]["automountServiceAccountToken"] = json!(false);
    object
}

/// A policy with short times, so that a test need not wait for long ones; all three probes ask what they should.
pub(crate) fn policy() -> Value {
    json!({
        "selector": {}, "mode": "Enforce",
        "containers": [{"probes": {
            "startup": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 10},
            "readiness": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2, "failureThreshold": 2},
            "liveness": {"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 2, "failureThreshold": 3},
        }}],
        "shutdown": {"drainSeconds": 4, "finishSeconds": 5},
    })
}

/// The policy's fields are on the Deployment, and all of its pods have them.
pub(crate) async fn governed(ns: &TestNamespace, name: &str) -> Value {
    ns.compliant(name, "InSync").await;
    let shop = ns.settled(name).await;
    assert!(shop.pointer("/spec/template/spec/containers/0/readinessProbe").is_some());
    shop
}

/// Pods of a Deployment that are not on their way out, by name.
pub(crate) async fn pods(ns: &TestNamespace, name: &str) -> Vec<Value> {
    let pods = ns.pods().list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap();
    let stay = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    stay.map(|pod| serde_json::to_value(pod).unwrap()).collect()
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The only pod of a Deployment.
pub(crate) async fn only_pod(ns: &TestNamespace, deployment: &str) -> String {
    eventually(&format!("{deployment} has one pod"), || async {
        let pods = pods(ns, deployment).await;
        (pods.len() == 1).then(|| name(&pods[0]).to_owned())
    })
    .await
}

pub(crate) async fn pod(ns: &TestNamespace, name: &str) -> Option<Value> {
    let pod: Option<DynamicObject> = ns.pods().get_opt(name).await.unwrap();
    pod.map(|pod| serde_json::to_value(pod).unwrap())
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub(crate) fn status_of_container(pod: &Value) -> &Value {
    pod.pointer("/status/containerStatuses/0").unwrap_or(&Value::Null)
}

/// Who runs, since when: what a restart of any pod would change.
pub(crate) async fn runs(ns: &TestNamespace, deployment: &str) -> Vec<(String, Value, Value)> {
    let mut all: Vec<_> = pods(ns, deployment)
        .await
        .iter()
        .map(|pod| {
            let status = status_of_container(pod);
            (name(pod).to_owned(), status["containerID"].clone(), status["restartCount"].clone())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Turns a switch of a running shop, through the API server.
pub(crate) async fn switch(ns: &TestNamespace, pod: &str, words: &str) {
    let uri = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy/switch/{words}", ns.name);
    let request = http::Request::post(uri).body(Vec::new()).unwrap();
    let answer = ns.client.request_text(request).await;
    assert_eq!(answer.unwrap_or_else(|error| panic!("switch {words}: {error}")).trim(), "switched");
}

/// Whether a shop serves, asked through the API server.
pub(crate) async fn serves(ns: &TestNamespace, pod: &str) -> bool {
    let uri = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy/", ns.name);
    let request = http::Request::get(uri).body(Vec::new()).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(2), ns.client.request_text(request)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|text| text.contains("sold")))
}

pub(crate) async fn health(ns: &TestNamespace, name: &str) -> Value {
    let health: Option<WorkloadHealth> = ns.healths().get_opt(name).await.unwrap();
    health.map(|health| serde_json::to_value(health).unwrap()).unwrap_or_default()
}

pub(crate) async fn gate(ns: &TestNamespace, name: &str) -> Value {
    health(ns, name).await["status"]["gate"].clone()
}

/// Waits until the gate says this; answers with all that it says.
pub(crate) async fn gate_says(ns: &TestNamespace, name: &str, state: &str) -> Value {
    eventually(&format!("the gate of {name} says {state}"), || async {
        let gate = gate(ns, name).await;
        (gate["state"] == state).then_some(gate)
    })
    .await
}

/// Another version than that of this ReplicaSet is proven; answers with all that the gate says.
pub(crate) async fn another_is_proven(ns: &TestNamespace, name: &str, first: &Value) -> Value {
    assert!(first.is_string(), "a version was proven before");
    eventually(&format!("the next version of {name} is proven"), || async {
        let gate = gate(ns, name).await;
        (gate["state"] == "Stable" && gate["stable"]["replicaSet"] != *first).then_some(gate)
    })
    .await
}

pub(crate) async fn create(ns: &TestNamespace, kind: (&str, &str, &str, &str), object: Value) {
    let kind = resource(kind.0, kind.1, kind.2, kind.3);
    let api: Api<DynamicObject> = Api::namespaced_with(ns.client.clone(), &ns.name, &kind);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply("git").force(), &Patch::Apply(object)).await.unwrap();
}
