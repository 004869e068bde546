//! A namespace of one test, with everything that tests do in it.

use std::sync::atomic::{AtomicU32, Ordering};

use gracekeeper::api::{FINALIZER, HealthPolicy, WorkloadHealth};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::waiting::eventually;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct TestNamespace {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) cluster: &'static Cluster,
}

impl TestNamespace {
    /// Creates a namespace whose name tells the test.
    pub(crate) async fn new(topic: &str) -> Self {
        Self::labelled(topic, json!({})).await
    }

    /// A namespace in which a cluster administrator allows all that the guards of policies leave to one: exec, Revert.
    #[allow(dead_code)] // not every suite needs it
    pub(crate) async fn permissive(topic: &str) -> Self {
        Self::labelled(topic, permissive()).await
    }

    pub(crate) async fn labelled(topic: &str, labels: Value) -> Self {
        Self::on(Cluster::shared(), topic, labels).await
    }

    /// The same on a cluster of the test's own.
    pub(crate) async fn on(cluster: &'static Cluster, topic: &str, labels: Value) -> Self {
        let client = cluster.client().await;
        let name = format!("{topic}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        let namespaces: Api<DynamicObject> =
            Api::all_with(client.clone(), &resource("", "v1", "Namespace", "namespaces"));
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        // By this e2e/rig/clear-cluster knows on a cluster that is not ours what an interrupted run left.
        object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "gracekeeper-tests".into();
        namespaces.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        Self { name, client, cluster }
    }

    pub(crate) fn policies(&self) -> Api<HealthPolicy> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub(crate) fn healths(&self) -> Api<WorkloadHealth> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Deployments as raw JSON: a typed one would hide what this library does not know.
    pub(crate) fn deployments(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource("apps", "v1", "Deployment", "deployments"))
    }

    pub(crate) fn replica_sets(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource("apps", "v1", "ReplicaSet", "replicasets"))
    }

    pub(crate) fn pods(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource("", "v1", "Pod", "pods"))
    }

    pub(crate) fn leases(&self) -> Api<DynamicObject> {
        let lease = resource("coordination.k8s.io", "v1", "Lease", "leases");
        Api::namespaced_with(self.client.clone(), &self.name, &lease)
    }

    /// Applies a policy with this spec.
    pub(crate) async fn policy(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
                            "metadata": {"name": name}, "spec": spec});
        self.policies().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }

    /// Applies a policy where no operator is, with the finalizer that admission brings once the API server has read that it shall, and
    /// says of it what the operator would: that no other one stands against its riding along.
    #[allow(dead_code)] // not every suite has no operator
    pub(crate) async fn policy_that_rides(&self, name: &str, spec: Value) {
        eventually("the policy has its finalizer", || async {
            self.policy(name, spec.clone()).await;
            let policy = self.policies().get(name).await.unwrap();
            (spec["mode"] != "Enforce" || policy.finalizers().iter().any(|f| f == FINALIZER)).then_some(())
        })
        .await;
        let generation = self.policies().get(name).await.unwrap().metadata.generation;
        let status = json!({"status": {"rideAlong": {"generation": generation}}});
        self.policies().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// Creates a Deployment and waits until its pods run.
    pub(crate) async fn deployment(&self, name: &str, replicas: i32, container: Value) -> Value {
        self.create_deployment(deployment(name, replicas, vec![container])).await;
        self.settled(name).await
    }

    pub(crate) async fn create_deployment(&self, object: Value) -> Value {
        let created = self.deployments().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await;
        serde_json::to_value(created.unwrap()).unwrap()
    }

    /// Git brings this Deployment: a forced server-side apply, as GitOps tools do it.
    #[allow(dead_code)] // not every suite releases versions
    pub(crate) async fn apply(&self, manifest: &Value) -> Value {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply("git").force();
        let applied = self.deployments().patch(name, &params, &Patch::Apply(manifest)).await.unwrap();
        serde_json::to_value(applied).unwrap()
    }

    /// The Deployment as it is.
    pub(crate) async fn get(&self, name: &str) -> Value {
        serde_json::to_value(self.deployments().get(name).await.unwrap()).unwrap()
    }

    /// Waits until the Deployment's rollout is complete.
    pub(crate) async fn settled(&self, name: &str) -> Value {
        eventually(&format!("{name} is rolled out"), || async {
            let object = self.get(name).await;
            let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
            let wanted = number("/spec/replicas");
            let complete = number("/status/observedGeneration") == number("/metadata/generation")
                && ["replicas", "updatedReplicas", "availableReplicas"]
                    .iter()
                    .all(|field| number(&format!("/status/{field}")) == wanted);
            complete.then_some(object)
        })
        .await
    }

    /// Waits until the Deployment is as the check demands.
    pub(crate) async fn until(&self, name: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name}: {what}"), || async {
            let object = self.get(name).await;
            check(&object).then_some(object)
        })
        .await
    }

    /// Waits until the WorkloadHealth says this reason of `Compliant`; answers with the whole object.
    pub(crate) async fn compliant(&self, name: &str, reason: &str) -> Value {
        eventually(&format!("WorkloadHealth {name} says {reason}"), || async {
            let health = serde_json::to_value(self.healths().get_opt(name).await.unwrap()?).unwrap();
            (condition(&health, "Compliant")["reason"] == reason).then_some(health)
        })
        .await
    }

    /// Waits until the policy's condition has this reason; answers with the whole object.
    pub(crate) async fn policy_says(&self, name: &str, type_: &str, reason: &str) -> Value {
        eventually(&format!("HealthPolicy {name} says {type_} {reason}"), || async {
            let policy = serde_json::to_value(self.policies().get_opt(name).await.unwrap()?).unwrap();
            (condition(&policy, type_)["reason"] == reason).then_some(policy)
        })
        .await
    }

    /// Waits until there is no such WorkloadHealth.
    pub(crate) async fn forgotten(&self, name: &str) {
        eventually(&format!("WorkloadHealth {name} is gone"), || async {
            self.healths().get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    pub(crate) async fn delete_policy(&self, name: &str) {
        self.policies().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the policy is really gone.
    pub(crate) async fn policy_gone(&self, name: &str) {
        eventually(&format!("HealthPolicy {name} is gone"), || async {
            self.policies().get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    /// Changes a Deployment as a person would, by a JSON merge patch.
    pub(crate) async fn merge(&self, name: &str, patch: Value) -> Value {
        let params = PatchParams { field_manager: Some("a-person".into()), ..PatchParams::default() };
        let patched = self.deployments().patch(name, &params, &Patch::Merge(patch)).await.unwrap();
        serde_json::to_value(patched).unwrap()
    }

    /// ReplicaSets of a Deployment.
    pub(crate) async fn revisions(&self, deployment: &str) -> usize {
        let all = self.replica_sets().list(&kube::api::ListParams::default()).await.unwrap();
        all.iter().filter(|rs| rs.owner_references().iter().any(|owner| owner.name == deployment)).count()
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("GRACEKEEPER_KEEP").is_some() {
            return;
        }
        // An existing cluster is left as it was found; our own one goes with the run.
        if self.cluster.audit_log.is_none() {
            let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
        }
    }
}

/// Labels by which a cluster administrator allows what the guards refuse otherwise.
pub(crate) fn permissive() -> Value {
    json!({"gracekeeper.dev/allow-exec": "true", "gracekeeper.dev/allow-revert": "true"})
}

pub(crate) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// A Deployment with label `app`, to be changed as a test needs it.
pub(crate) fn deployment(name: &str, replicas: i32, containers: Vec<Value>) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name, "tier": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        }
    })
}

/// A container with a named port.
pub(crate) fn container() -> Value {
    json!({"name": "app", "image": "example.com/app:1", "ports": [{"name": "http", "containerPort": 8080}]})
}

/// A policy that enforces three probes and a shutdown on every Deployment.
pub(crate) fn web_policy() -> Value {
    json!({
        "selector": {}, "mode": "Enforce",
        "containers": [{"probes": {
            "startup": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5, "failureThreshold": 24},
            "readiness": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5},
            "liveness": {"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
        }}],
        "shutdown": {"drainSeconds": 10, "finishSeconds": 25},
    })
}

/// The condition of this type, or null.
pub(crate) fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|c| c["type"] == type_).cloned().unwrap_or_default()
}

/// The pod spec of a Deployment.
pub(crate) fn pod(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]
}
