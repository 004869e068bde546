//! Looks at one Deployment, against an API server that does as it is told: what is told, counted and waited for when a
//! write fails, or when two things come together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{Method, StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Decisions, Workloads};
use crate::controller::availability::Availability;
use crate::controller::carry_out::CarryOut;
use crate::controller::clock::now;
use crate::controller::events::Publisher;
use crate::controller::fence::Fence;
use crate::controller::memory::Memory;
use crate::controller::metrics::Metrics;
use crate::controller::policy_object::StoredPolicy;
use crate::controller::queue::WorkQueue;
use crate::controller::readiness::{Part, Readiness};
use crate::controller::slim::{SlimDeployment, SlimPod, SlimReplicaSet};
use crate::controller::watches::{Context, Watched};
use crate::controller::watching::Watching;
use crate::controller::world::{Key, World};
use crate::controller::writes::{CallError, Caller};

/// The API server's side: one Deployment, its WorkloadHealth, and reasons of events.
#[derive(Default)]
struct Server {
    deployment: Value,
    health: Option<Value>,
    events: Vec<String>,
    version: u64,
    /// Writes whose path ends so fail; dry runs do not.
    fails: Option<&'static str>,
}

impl Server {
    fn answer(&mut self, method: &Method, uri: &Uri, body: &Value) -> (StatusCode, Value) {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        if self.fails.is_some_and(|fails| path.ends_with(fails)) && !query.contains("dryRun") {
            return (StatusCode::INTERNAL_SERVER_ERROR, json!({"message": "as it is told"}));
        }
        self.version += 1;
        if path.ends_with("/events") {
            self.events.push(body["reason"].as_str().unwrap().into());
            return (StatusCode::CREATED, json!({}));
        }
        if method == Method::POST {
            let mut health = body.clone();
            health["metadata"]["uid"] = json!("health-1");
            self.health = Some(health);
        }
        if method == Method::DELETE {
            self.health = None;
            return (StatusCode::OK, json!({}));
        }
        let is_health = path.contains("/workloadhealths");
        let mut object = if is_health { self.health.clone().unwrap() } else { self.deployment.clone() };
        if method == Method::PATCH {
            let mut operations = body.as_array().unwrap().clone();
            // Kubernetes takes null for what is absent.
            operations.retain(|one| one["op"] != "test" || !one["value"].is_null());
            let patch: json_patch::Patch = serde_json::from_value(operations.into()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
            if !is_health {
                // Its controller is quick.
                let generation = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
                object["metadata"]["generation"] = generation.clone();
                object["status"]["observedGeneration"] = generation;
            }
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        match (is_health, query.contains("dryRun")) {
            (_, true) => {}
            (true, _) => self.health = Some(object.clone()),
            (false, _) => self.deployment = object.clone(),
        }
        (StatusCode::OK, object)
    }
}

async fn serve(
    State(server): State<Arc<Mutex<Server>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> impl IntoResponse + use<> {
    let (code, object) =
        server.lock().unwrap().answer(&method, &uri, &serde_json::from_slice(&body).unwrap_or_default());
    (code, object.to_string())
}

struct Stage {
    server: Arc<Mutex<Server>>,
    workloads: Workloads,
    watch: Part,
    key: Key,
}

impl Stage {
    /// `web`, version 1, one replica that is ready since an hour.
    fn new() -> Self {
        let server: Arc<Mutex<Server>> = Arc::new(Mutex::new(Server { version: 100, ..Server::default() }));
        let client = Client::new(Router::new().fallback(serve).with_state(server.clone()), "shop");
        let fence = Fence::closed();
        fence.open_until(Instant::now() + Duration::from_secs(3600));
        let (world, metrics, readiness) =
            (Arc::new(World::default()), Arc::new(Metrics::default()), Readiness::default());
        let caller = Caller::new(client, fence, Duration::from_secs(5), metrics.clone());
        let watch = readiness.part("watch Pod", "first list");
        watch.ready();
        let publisher = Publisher { caller: caller.clone(), instance: "test".into() };
        let workloads = Workloads {
            world: world.clone(),
            queue: Arc::new(WorkQueue::new()),
            memory: Arc::new(Memory::new(1)),
            metrics,
            carry_out: CarryOut { caller, publisher, world: world.clone() },
            readiness,
            availability: Availability::new(world, Watching::new(Duration::from_secs(10))),
            decisions: Decisions::new(),
        };
        let mut stage = Self { server, workloads, watch, key: Key::new("shop", "web") };
        stage.shows_version(
            1,
            &json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}),
        );
        stage.shows_pod(1, &json!({"running": {"startedAt": hour_ago()}}));
        stage
    }

    fn shows(&self, object: impl Watched) {
        let context = Context { first_list: true, from_list: true, coalesce: SignedDuration::ZERO };
        self.workloads.world.with(|picture| object.apply(picture, context));
    }

    /// Somebody writes this version; its ReplicaSet has one pod.
    fn shows_version(&mut self, version: i64, status: &Value) {
        let mut server = self.server.lock().unwrap();
        server.version += 1;
        if version == 1 {
            server.deployment = json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "shop", "uid": "web-1", "generation": 0,
                             "creationTimestamp": hour_ago()},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template()},
            });
        }
        let mut object = server.deployment.clone();
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(format!("example.com/app:{version}"));
        object["status"] = status.clone();
        let generation = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        object["metadata"]["generation"] = generation.clone();
        object["metadata"]["resourceVersion"] = json!(server.version.to_string());
        object["status"]["observedGeneration"] = generation;
        server.deployment = object.clone();
        drop(server);
        let set = replica_set(version, &object["spec"]["template"]);
        self.shows(serde_json::from_value::<SlimDeployment>(object).unwrap());
        self.shows(serde_json::from_value::<SlimReplicaSet>(set).unwrap());
    }

    fn shows_pod(&self, version: i64, state: &Value) {
        self.shows(serde_json::from_value::<SlimPod>(pod(version, state)).unwrap());
    }

    fn policy(&self, generation: i64, sections: &Value) {
        let mut spec = json!({"selector": {}, "mode": "Enforce", "whenAlreadySet": "Replace"});
        spec.as_object_mut().unwrap().extend(sections.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
            "metadata": {"name": "web", "namespace": "shop", "uid": "policy-1", "generation": generation,
                         "resourceVersion": generation.to_string(), "finalizers": [crate::api::FINALIZER]},
            "spec": spec,
        });
        self.shows(serde_json::from_value::<StoredPolicy>(object).unwrap());
    }

    async fn look(&self) -> Result<(&'static str, Option<Duration>), CallError> {
        Box::pin(self.workloads.look(&self.key, Instant::now())).await
    }

    /// Looks until nothing is to be done at once; answers with the last answer.
    async fn comes_to_rest(&self) -> (&'static str, Option<Duration>) {
        for _ in 0..10 {
            let (reason, again) = self.look().await.unwrap();
            if again != Some(Duration::ZERO) {
                return (reason, again);
            }
        }
        panic!("it does not come to rest")
    }

    fn fails(&self, path: Option<&'static str>) {
        self.server.lock().unwrap().fails = path;
    }

    /// Reasons of events since the last call, sorted.
    fn events(&self) -> Vec<String> {
        let mut events = std::mem::take(&mut self.server.lock().unwrap().events);
        events.sort();
        events
    }

    fn gate(&self) -> Value {
        self.server.lock().unwrap().health.as_ref().map(|health| health["status"]["gate"].clone()).unwrap_or_default()
    }

    /// A line of the metrics that begins so: its value, or 0.
    fn counted(&self, series: &str) -> u64 {
        let text = self.workloads.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

fn hour_ago() -> String {
    Timestamp::from_second(now().as_second() - 3600).unwrap().to_string()
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}},
           "spec": {"containers": [{"name": "app", "readinessProbe": {"httpGet": {"path": "/old", "port": 8080}}, "ports": [{"name": "http", "containerPort": 8080}]}]}})
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn replica_set(version: i64, template: &Value) -> Value {
    let mut template = template.clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!(version.to_string());
    json!({
        "metadata": {"name": format!("web-{version}"), "namespace": "shop", "uid": format!("set-{version}"),
                     "resourceVersion": "1", "creationTimestamp": hour_ago(),
                     "ownerReferences": owner("Deployment", "web", "web-1")},
        "spec": {"replicas": 1, "template": template},
        "status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1},
    })
}

/// A pod of that version, ready when its container runs.
fn pod(version: i64, state: &Value) -> Value {
    let ready = state.get("running").is_some();
    let status = if ready { "True" } else { "False" };
    let of = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastTransitionTime": hour_ago()});
    let set = format!("web-{version}");
    json!({
        "metadata": {"name": format!("{set}-x"), "namespace": "shop", "uid": format!("pod-{version}"), "resourceVersion": "1",
                     "creationTimestamp": hour_ago(), "ownerReferences": owner("ReplicaSet", &set, &format!("set-{version}"))},
        "spec": {"nodeName": "one", "containers": [{"name": "app", "image": "x"}]},
        "status": {"phase": "Running",
                   "conditions": [of("PodScheduled", "True"), of("Initialized", "True"), of("Ready", status)],
                   "containerStatuses": [{"name": "app", "ready": ready, "started": ready, "image": "x", "imageID": "",
                                          "restartCount": if ready { 0 } else { 3 }, "state": state}]},
    })
}

fn gated() -> Value {
    json!({"rollout": {"bakeAfterSeconds": 0}})
}

fn probed() -> Value {
    json!({"containers": [{"probes": {"readiness": {"httpGet": {"path": "/readyz", "port": "http"}}}}]})
}

/// Version 1 is proven, and all that was told of it is read.
async fn proven() -> Stage {
    let stage = Stage::new();
    stage.policy(1, &gated());
    stage.comes_to_rest().await;
    stage.events();
    stage
}

/// Version 1 is proven, and version 2 is on its way: its pod is as it is said.
async fn rolling(state: Value) -> Stage {
    let mut stage = proven().await;
    assert_eq!(stage.gate()["state"], "Stable", "{}", stage.gate());
    let status = json!({"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    stage.shows_version(2, &status);
    stage.shows_pod(2, &state);
    stage.events();
    stage
}

#[tokio::test]
async fn what_the_gate_says_beside_a_write_of_the_plan_is_told_once() {
    let stage = proven().await;
    stage.policy(2, &probed());
    assert_eq!(stage.look().await.unwrap().1, Some(Duration::ZERO), "the gate has moved");
    assert_eq!(stage.events(), ["RolloutNotGated"], "stored and told before the plan is written");
    assert_eq!(stage.gate()["state"], "NotGated");
    stage.comes_to_rest().await;
    assert_eq!(stage.events(), ["Enforced"]);
}

#[tokio::test]
async fn what_the_gate_says_is_told_although_the_write_beside_it_fails_first() {
    let stage = proven().await;
    stage.policy(2, &probed());
    stage.fails(Some("/status"));
    stage.look().await.unwrap_err();
    assert_eq!(stage.events(), [""; 0]);
    assert_eq!(stage.gate()["state"], "Stable", "what is stored was told");
    stage.fails(Some("/deployments/web"));
    stage.look().await.unwrap();
    assert_eq!(stage.events(), ["RolloutNotGated"]);
    stage.look().await.unwrap_err();
    let held = stage.server.lock().unwrap().health.as_ref().unwrap()["status"]["heldFields"].clone();
    assert!(held[0]["original"].is_string() || held[0]["original"].is_object(), "the intent is stored: {held}");
    stage.fails(None);
    stage.comes_to_rest().await;
    assert_eq!(stage.events(), ["Enforced"]);
}

#[tokio::test]
async fn a_gate_that_goes_with_its_policy_says_so() {
    let stage = proven().await;
    assert_eq!(stage.counted("gracekeeper_gated_workloads{state=\"Stable\"}"), 1);
    stage.workloads.world.with(|picture| picture.policies.clear());
    assert_eq!(stage.comes_to_rest().await.0, "Released");
    assert_eq!(stage.events(), ["Released", "RolloutNotGated"]);
    assert!(stage.server.lock().unwrap().health.is_none());
    assert_eq!(stage.comes_to_rest().await.0, "NotGoverned");
    for state in ["Stable", "NotGated"] {
        assert_eq!(stage.counted(&format!("gracekeeper_gated_workloads{{state=\"{state}\"}}")), 0, "{state}");
    }
    assert_eq!(stage.events(), [""; 0]);
}

#[tokio::test]
async fn a_transition_counts_once_however_often_it_is_stored_in_vain() {
    let stage = rolling(json!({"waiting": {"reason": "CrashLoopBackOff"}})).await;
    let found = "gracekeeper_rollout_evidence_total{class=\"Crash\"}";
    let held = "gracekeeper_gated_workloads{state=\"Stable\"}";
    stage.fails(Some("/status"));
    for _ in 0..3 {
        stage.look().await.unwrap_err();
        assert_eq!((stage.counted(found), stage.counted(held)), (0, 1), "nothing is stored");
    }
    stage.fails(None);
    for _ in 0..5 {
        stage.look().await.unwrap();
    }
    assert_eq!((stage.counted(found), stage.counted(held)), (1, 0), "{:#}", stage.gate());
}

#[tokio::test]
async fn what_only_time_tells_is_waited_for_although_the_plan_waits_too() {
    let stage = rolling(json!({"waiting": {"reason": "ContainerCreating"}})).await;
    let mut both = gated();
    both["containers"] = probed()["containers"].clone();
    stage.policy(2, &both);
    for _ in 0..4 {
        let (reason, again) = stage.comes_to_rest().await;
        assert_eq!(reason, "WaitingForRollout");
        assert!(again.is_some(), "its patience ends without an event: {:#}", stage.gate());
        // What is not worth a write while the plan waits: a status that differs and is not stored.
        stage.workloads.world.with(|picture| picture.healths.get_mut(&stage.key).unwrap().generation += 1);
    }
}

#[tokio::test]
async fn what_was_looked_at_in_vain_is_looked_at_again_once_the_picture_is_whole() {
    let stage = rolling(json!({"waiting": {"reason": "ContainerCreating"}})).await;
    let (_, again) = stage.comes_to_rest().await;
    assert!(again.is_some(), "its patience ends without an event");
    stage.watch.not_ready("closed by the server");
    assert_eq!(stage.look().await.unwrap().1, None, "the gate says nothing");
    stage.workloads.catch_up();
    assert_eq!(stage.workloads.queue.len(), 0, "nothing is better yet");
    stage.watch.ready();
    stage.workloads.catch_up();
    assert_eq!(stage.workloads.queue.len(), 1);
    let (key, _) = stage.workloads.queue.next().await.unwrap();
    assert_eq!(key, stage.key);
    assert_eq!(stage.look().await.unwrap().1.is_some(), again.is_some());
    stage.workloads.queue.done(&key);
    stage.workloads.catch_up();
    assert_eq!(stage.workloads.queue.len(), 0, "once");
}
