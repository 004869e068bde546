//! The policy rides along in the users' own writes (`charts/gracekeeper/templates/ride-along.yaml`), on a real API server.

mod changed_as_planned;
mod cost;
mod everyday;
#[allow(dead_code, unreachable_pub, unused_imports)] // made for the planner's own laws
#[path = "../../src/core/plan/tests/generate.rs"]
mod generate;
mod given_back;
mod harmless;
mod merging;
mod not_along;
mod operating;
mod same_as_planned;
mod twins;

use std::sync::atomic::{AtomicU32, Ordering};

use gracekeeper::api::{HealthPolicySpec, MARKER_ANNOTATION};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::namespace::{container, deployment, permissive};
use crate::support::{Cluster, TestNamespace, eventually};

/// A namespace in which policies ride along. It ends with the cluster, or with [`Drop`] on one that stays.
struct Ridden {
    ns: TestNamespace,
    /// Another one, for policies that only tell how far the API server has read.
    canaries: TestNamespace,
    sent: AtomicU32,
    release: String,
}

impl Ridden {
    /// `None`, said aloud, where the API server does not have the kind.
    async fn new(topic: &str) -> Option<Self> {
        Self::on(Cluster::shared(), topic).await
    }

    async fn on(cluster: &'static Cluster, topic: &str) -> Option<Self> {
        Self::labelled(cluster, topic, permissive()).await
    }

    /// The same in a namespace with these labels.
    async fn labelled(cluster: &'static Cluster, topic: &str, labels: Value) -> Option<Self> {
        if !cluster.mutates_by_policy() {
            return None;
        }
        let ns = TestNamespace::on(cluster, topic, labels).await;
        let canaries = TestNamespace::on(cluster, &format!("{topic}-canaries"), json!({})).await;
        // The ServiceAccount of this name, in that namespace, is the operator's.
        let release = format!("{}-gracekeeper", ns.name);
        cluster.install_ride_along(&release, &ns.name, &[&ns.name, &canaries.name], &[]);
        let ridden = Self { ns, canaries, sent: AtomicU32::new(0), release };
        ridden.informed().await;
        Some(ridden)
    }

    /// Applies a policy and says of it what the operator would, when no other policy is there.
    async fn policy(&self, name: &str, spec: Value) {
        self.ns.policy_that_rides(name, spec).await;
    }

    /// The API server's admission has seen all policies as they are now. It reads them in the order in which they were
    /// written, so one that comes after them tells.
    async fn informed(&self) {
        let label = format!("c{}", self.sent.fetch_add(1, Ordering::SeqCst));
        let spec = json!({"selector": {"matchLabels": {"canary": label}}, "mode": "Enforce",
            "shutdown": {"drainSeconds": 1, "finishSeconds": 1}});
        self.canaries.policy_that_rides(&label, spec).await;
        let mut object = deployment("canary", 1, vec![container()]);
        object["metadata"]["labels"] = json!({"canary": label});
        eventually("the last policy rides along", || async {
            marker(&would_create(&self.canaries, object.clone()).await.unwrap())
        })
        .await;
    }

    /// The policy is seen by the API server: a Deployment that it selects gets this.
    async fn seen(&self, object: &Value, what: &str, check: impl Fn(&Value) -> bool) {
        eventually(what, || async { check(&self.would_create(object.clone()).await).then_some(()) }).await;
    }

    /// What the API server would store.
    async fn would_create(&self, object: Value) -> Value {
        would_create(&self.ns, object).await.unwrap()
    }
}

impl Drop for Ridden {
    fn drop(&mut self) {
        let names = ["ride-along", "marker", "policy-finalizer"].map(|name| format!("{}-{name}", self.release));
        for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
            let words = [&["delete", kind, "--ignore-not-found"], &names.each_ref().map(String::as_str)[..]].concat();
            let _ = self.ns.cluster.try_kubectl(&words, "");
        }
    }
}

async fn would_create(ns: &TestNamespace, object: Value) -> Result<Value, kube::Error> {
    let object = serde_json::from_value(object).unwrap();
    let params = PostParams { dry_run: true, field_manager: Some("a-person".into()) };
    Ok(serde_json::to_value(ns.deployments().create(&params, &object).await?).unwrap())
}

fn annotation(object: &Value, key: &str) -> Option<String> {
    object["metadata"]["annotations"].get(key).and_then(Value::as_str).map(str::to_owned)
}

fn marker(object: &Value) -> Option<String> {
    annotation(object, MARKER_ANNOTATION)
}

fn spec_of(value: &Value) -> HealthPolicySpec {
    serde_json::from_value(value.clone()).unwrap()
}

/// The container of a Deployment, with these fields too.
fn app(fields: &Value) -> Value {
    let mut app = container();
    app.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    app
}

fn kubectl(ns: &TestNamespace, words: &[&str], stdin: &str) -> Result<(), String> {
    // `replace` loses against the Deployment controller now and then, as it does for people.
    for _ in 0..20 {
        match ns.cluster.try_kubectl(&[words, &["-n", &ns.name]].concat(), stdin) {
            Err(error) if error.contains("(Conflict)") => {}
            answer => return answer.map(|_| ()),
        }
    }
    Err("conflicts, again and again".into())
}

fn apply_server_side(ns: &TestNamespace, manager: &str, manifest: &Value) -> Result<(), String> {
    kubectl(ns, &["apply", "--server-side", "--field-manager", manager, "-f", "-"], &manifest.to_string())
}
