//! The policy rides along in the users' own writes (`charts/gracekeeper/templates/ride-along.yaml`), on a real API server.

mod cost;
mod everyday;
#[allow(dead_code, unreachable_pub, unused_imports)] // made for the planner's own laws
#[path = "../../src/core/plan/tests/generate.rs"]
mod generate;
mod harmless;
mod operating;
mod same_as_planned;

use std::time::Duration;

use gracekeeper::api::{HealthPolicySpec, MARKER_ANNOTATION};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::namespace::{container, deployment, permissive};
use crate::support::{Cluster, TestNamespace, eventually};

/// A namespace in which policies ride along. It ends with the cluster, or with [`Drop`] on one that stays.
struct Ridden {
    ns: TestNamespace,
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
        let release = format!("{}-gracekeeper", ns.name);
        let ridden = Self { ns, release };
        ridden.install(&[]);
        ridden.is_active().await;
        Some(ridden)
    }

    /// Applies what the chart renders, for this namespace only.
    fn install(&self, values: &[&str]) {
        let name = &self.ns.name;
        let namespaces = format!("namespaces={{{name}}}");
        let more = [&["--set", &namespaces], values].concat();
        let rendered = self.ns.cluster.render(&self.release, name, &["ride-along"], &more);
        self.ns.cluster.try_kubectl(&["apply", "--server-side", "-f", "-"], &rendered).unwrap();
    }

    /// Waits until the API server evaluates it, and says that it found nothing wrong with the expressions.
    async fn is_active(&self) {
        self.policy(
            "warm-up",
            json!({"selector": {"matchLabels": {"warm": "up"}}, "mode": "Enforce",
            "shutdown": {"drainSeconds": 1, "finishSeconds": 1}}),
        )
        .await;
        let mut object = deployment("warm-up", 1, vec![container()]);
        object["metadata"]["labels"] = json!({"warm": "up"});
        eventually("the admission policy acts", || async { marker(&self.would_create(object.clone()).await) }).await;
        self.ns.delete_policy("warm-up").await;
    }

    /// Applies a policy and says of it what the operator would, when no other policy is there.
    async fn policy(&self, name: &str, spec: Value) {
        self.ns.policy(name, spec).await;
        self.is_known(name).await;
    }

    async fn is_known(&self, name: &str) {
        let generation = self.ns.policies().get(name).await.unwrap().metadata.generation;
        let status = json!({"status": {"rideAlong": {"generation": generation}}});
        self.ns.policies().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
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
        let name = format!("{}-ride-along", self.release);
        for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
            let _ = self.ns.cluster.try_kubectl(&["delete", kind, &name, "--ignore-not-found"], "");
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

/// Time in which an informer of the API server has surely seen a change; only where nothing can be waited for.
const INFORMED: Duration = Duration::from_secs(2);
