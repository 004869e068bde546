//! The rollout gate on a real control plane: each test is a rollout that a user could have.

mod bad;
mod gitops;
mod good;
mod kubectl;
mod nodes;
mod people;
mod quick;
mod recovery;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::namespace::{container, deployment, resource};
use crate::support::{Audit, Entry, Operator, TestNamespace, eventually};

/// A policy that gates with short times, changed as a test needs it.
fn gated(changes: Value) -> Value {
    let mut rollout = json!({
        "onFailure": "Restore", "bakeAfterSeconds": 2, "patience": {"startSeconds": 4, "scheduleSeconds": 4},
    });
    for (key, value) in changes.as_object().unwrap() {
        rollout[key] = value.clone();
    }
    json!({"selector": {}, "mode": "Enforce", "rollout": rollout})
}

/// What Git has: a version by its number, and how its pods fare.
fn manifest(replicas: i32, version: u32, fault: &str) -> Value {
    let mut app = container();
    app["image"] = json!(format!("example.com/app:{version}"));
    let mut object = deployment("web", replicas, vec![app]);
    if !fault.is_empty() {
        object["spec"]["template"]["metadata"]["annotations"] = json!({"gracekeeper.dev/sim-fault": fault});
    }
    object
}

/// One Deployment `web`, proven, under one policy `web`, with an operator.
struct Rig {
    ns: TestNamespace,
    operator: Operator,
    /// ReplicaSet of the first version.
    stable: String,
}

impl Rig {
    async fn new(topic: &str, replicas: i32, changes: Value) -> Self {
        Self::of(topic, manifest(replicas, 1, ""), changes).await
    }

    async fn of(topic: &str, first: Value, changes: Value) -> Self {
        Self::within(TestNamespace::new(topic).await, first, changes).await
    }

    async fn within(ns: TestNamespace, first: Value, changes: Value) -> Self {
        ns.apply(&first).await;
        ns.settled("web").await;
        let operator = Operator::start(&ns).await;
        ns.policy("web", gated(changes)).await;
        let rig = Self { ns, operator, stable: String::new() };
        let gate = rig.says("Stable", "Proven").await;
        let stable = gate["stable"]["replicaSet"].as_str().unwrap().to_owned();
        Self { stable, ..rig }
    }

    /// Git brings its manifest: a forced server-side apply, as GitOps tools do it.
    async fn release(&self, manifest: &Value) -> Value {
        self.ns.apply(manifest).await
    }

    async fn health(&self) -> Value {
        let health = self.ns.healths().get_opt("web").await.unwrap();
        health.map(|health| serde_json::to_value(health).unwrap()).unwrap_or_default()
    }

    async fn gate(&self) -> Value {
        self.health().await["status"]["gate"].clone()
    }

    /// Waits until the gate says this; answers with all that it says.
    async fn says(&self, state: &str, reason: &str) -> Value {
        eventually(&format!("the gate says {state}, {reason}"), || async {
            let gate = self.gate().await;
            (gate["state"] == state && gate["reason"] == reason).then_some(gate)
        })
        .await
    }

    /// The same for a state that does not last: looks without a break.
    async fn passes_through(&self, state: &str) {
        let look = async {
            while self.gate().await["state"] != state {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("never {state}"));
    }

    async fn get(&self) -> Value {
        self.ns.get("web").await
    }

    /// Sizes of the ReplicaSets: of the first version, and of all others.
    async fn sizes(&self) -> (i64, i64) {
        let (mut stable, mut others) = (0, 0);
        for set in self.ns.replica_sets().list(&ListParams::default()).await.unwrap() {
            let size = set.data["spec"]["replicas"].as_i64().unwrap();
            if set.name_any() == self.stable { stable += size } else { others += size }
        }
        (stable, others)
    }

    /// Waits until the first version has this capacity, ready, and nothing else has any.
    async fn stable_has(&self, replicas: i64) {
        eventually(&format!("the stable version has {replicas} ready pods"), || async {
            let ready = ready_pods(&self.ns.pods(), &format!("{}-", self.stable)).await;
            (self.sizes().await == (replicas, 0) && ready == replicas).then_some(())
        })
        .await;
    }

    /// Events of this reason about the Deployment, each once per transition.
    async fn events(&self, reason: &str) -> usize {
        let events: Api<DynamicObject> = Api::namespaced_with(
            self.ns.client.clone(),
            &self.ns.name,
            &resource("events.k8s.io", "v1", "Event", "events"),
        );
        let all = events.list(&ListParams::default()).await.unwrap();
        all.iter().filter(|event| event.data["reason"] == reason).count()
    }

    /// A person asks something of the gate.
    async fn ask(&self, action: &str) {
        let health = self.health().await;
        let hash = &health["status"]["template"]["hash"];
        let patch = json!({"spec": {"request": {"action": action, "templateHash": hash, "id": format!("{action}-1")}}});
        self.ns.healths().patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// kubectl, as a person uses it on the Deployment; `Err` is what it complained of.
    fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.ns.cluster.try_kubectl(&[words, &["-n", &self.ns.name]].concat(), "")
    }

    fn scale(&self, replicas: i32) {
        self.kubectl(&["scale", "deployment/web", &format!("--replicas={replicas}")]).unwrap();
    }

    /// A version that crashes was released to a Deployment of this size, and taken back.
    async fn restored(topic: &str, replicas: i32) -> (Self, Value) {
        let rig = Self::new(topic, replicas, json!({})).await;
        let bad = rig.release(&manifest(replicas, 2, "crash")).await;
        rig.says("Restored", "Restored").await;
        rig.stable_has(replicas.into()).await;
        (rig, bad)
    }

    /// The same with a gate that only holds.
    async fn held(topic: &str, replicas: i32) -> (Self, Value) {
        let rig = Self::new(topic, replicas, json!({"onFailure": "Hold"})).await;
        let bad = rig.release(&manifest(replicas, 2, "crash")).await;
        rig.says("Held", "Failing").await;
        rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
        (rig, bad)
    }

    /// Another version than the first one is proven; answers with what the gate says.
    async fn another_is_proven(&self) -> Value {
        eventually("another version is proven", || async {
            let gate = self.gate().await;
            (gate["state"] == "Stable" && gate["stable"]["replicaSet"] != self.stable.as_str()).then_some(gate)
        })
        .await
    }

    async fn is_paused(&self) -> bool {
        self.get().await["spec"]["paused"] == true
    }

    /// Writes of the operator to the Deployment and its ReplicaSets so far; `None` without an audit log.
    fn writes(&self) -> Option<(usize, usize)> {
        let audit = self.operator.audit();
        Some((audit.writes("deployments")?.len(), audit.writes("replicasets")?.len()))
    }
}

async fn ready_pods(pods: &Api<DynamicObject>, prefix: &str) -> i64 {
    let pods = pods.list(&ListParams::default()).await.unwrap();
    let is_ready = |pod: &&DynamicObject| {
        let conditions = pod.data["status"]["conditions"].as_array();
        let is_true = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        pod.name_any().starts_with(prefix) && pod.metadata.deletion_timestamp.is_none() && is_true
    };
    i64::try_from(pods.iter().filter(is_ready).count()).unwrap()
}

/// Counts ready pods all the time, from now until it is asked for the fewest.
struct Capacity {
    least: Arc<AtomicI64>,
    is_over: Arc<AtomicBool>,
    looks: tokio::task::JoinHandle<()>,
}

impl Capacity {
    fn of(ns: &TestNamespace) -> Self {
        let (least, is_over) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::new(AtomicBool::new(false)));
        let (pods, lowest, end) = (ns.pods(), least.clone(), is_over.clone());
        let looks = tokio::spawn(async move {
            while !end.load(Ordering::SeqCst) {
                lowest.fetch_min(ready_pods(&pods, "web-").await, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { least, is_over, looks }
    }

    async fn least(self) -> i64 {
        self.is_over.store(true, Ordering::SeqCst);
        self.looks.await.unwrap();
        self.least.load(Ordering::SeqCst)
    }
}

impl Rig {
    /// Prints the time from the status that shows the failure, the nth of a pod of the new version, to our pause, both
    /// by the API server's clock.
    fn print_reaction(&self, topic: &str, nth: usize) {
        let name = &self.ns.name;
        let kubelet = Audit::of(self.ns.cluster, "kwok").entries().unwrap_or_default();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let is_status = |entry: &&Entry| entry.namespace == *name && entry.subresource == "status";
        let is_new = |entry: &&Entry| entry.resource == "pods" && !entry.name.starts_with(&format!("{}-", self.stable));
        let shown = kubelet.iter().filter(is_status).filter(is_new).find(|entry| {
            let count = seen.entry(entry.name.clone()).or_default();
            *count += 1;
            *count == nth
        });
        let writes = self.operator.audit().writes("deployments").unwrap_or_default();
        let Some((shown, paused)) = shown.zip(writes.first()) else { return };
        let moment = |entry: &Entry| entry.at.parse::<jiff::Timestamp>().unwrap();
        let time = moment(paused).duration_since(moment(shown));
        eprintln!("{topic}: {} ms from the pod's status to the pause", time.as_millis());
    }
}
