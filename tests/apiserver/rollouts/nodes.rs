//! Nodes are lost and drained in the middle of a rollout: that says nothing of the version.

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::{Rig, manifest};
use crate::support::namespace::resource;
use crate::support::{TestNamespace, eventually};

const ONLY_FOR: &str = "gracekeeper.dev/only-for";
const REPLICAS: i32 = 6;

/// Two simulated nodes that take the pods of one test, and no others.
struct Nodes {
    api: Api<DynamicObject>,
    names: [String; 2],
}

impl Nodes {
    async fn of(client: Client, namespace: &str) -> Self {
        let api: Api<DynamicObject> = Api::all_with(client, &resource("", "v1", "Node", "nodes"));
        let names = [format!("{namespace}-first"), format!("{namespace}-second")];
        for name in &names {
            let room = json!({"cpu": "64", "memory": "64Gi", "pods": "200"});
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {ONLY_FOR: namespace, "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": namespace}},
                "spec": {"taints": [{"key": ONLY_FOR, "value": namespace, "effect": "NoSchedule"}]},
                "status": {"allocatable": room, "capacity": room},
            });
            api.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        }
        for name in &names {
            eventually("the node takes pods", || async {
                let node = api.get(name).await.unwrap();
                // New nodes are tainted as not ready.
                let taints = node.data["spec"]["taints"].as_array().map_or(0, Vec::len);
                (has_condition(&node, "Ready") && taints == 1).then_some(())
            })
            .await;
        }
        Self { api, names }
    }

    /// The node's kubelet stops. What follows is what its own cluster would show: the node's condition and the pods'
    /// readiness as the node lifecycle controller writes them after its grace period. The taint, and that pods are
    /// deleted for it, is the work of the rig's own controllers.
    ///
    /// Answers with the pods of the node that were not ready then.
    async fn lose(&self, rig: &Rig) -> Vec<String> {
        let name = &self.names[0];
        let gone = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "lost"}}});
        self.api.patch(name, &PatchParams::default(), &Patch::Merge(gone)).await.unwrap();
        let pods = rig.ns.pods();
        let there = on_node(rig, name).await;
        for pod in &there {
            let stuck = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "as-it-is"}}});
            // One that is just being replaced may be gone.
            let _ = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(stuck)).await;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let unknown = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": now});
        let status = json!({"status": {"conditions": [unknown]}});
        self.api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
        let (ready, others): (Vec<_>, Vec<_>) = on_node(rig, name).await.into_iter().partition(is_ready);
        for pod in ready {
            let turned = json!({"type": "Ready", "status": "False", "lastTransitionTime": now});
            let status = json!({"status": {"conditions": [turned]}});
            let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await;
        }
        let is_new = |pod: &DynamicObject| !pod.name_any().starts_with(&format!("{}-", rig.stable));
        others.iter().filter(|pod| is_new(pod)).map(ResourceExt::name_any).collect()
    }

    async fn remove(&self) {
        for name in &self.names {
            self.api.delete(name, &DeleteParams::default()).await.unwrap();
        }
    }
}

async fn on_node(rig: &Rig, node: &str) -> Vec<DynamicObject> {
    let pods = rig.ns.pods().list(&ListParams::default()).await.unwrap();
    pods.items.into_iter().filter(|pod| pod.data["spec"]["nodeName"] == node).collect()
}

fn has_condition(object: &DynamicObject, type_: &str) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

fn is_ready(pod: &DynamicObject) -> bool {
    has_condition(pod, "Ready")
}

/// A version whose pods run on the test's own nodes, and leave a lost one after some seconds.
fn on_own_nodes(namespace: &str, version: u32, stays_seconds: u32, stop_after: &str) -> Value {
    let mut object = manifest(REPLICAS, version, "");
    let template = &mut object["spec"]["template"];
    template["metadata"]["annotations"] =
        json!({"gracekeeper.dev/sim-ready-after": "2500ms", "gracekeeper.dev/sim-stop-after": stop_after});
    template["spec"]["nodeSelector"] = json!({ONLY_FOR: namespace});
    let leaves = |taint: &str| {
        let key = format!("node.kubernetes.io/{taint}");
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": stays_seconds})
    };
    template["spec"]["tolerations"] =
        json!([{"key": ONLY_FOR, "operator": "Exists"}, leaves("unreachable"), leaves("not-ready")]);
    // As many of each version on both, as long as both take pods.
    template["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}, "matchLabelKeys": ["pod-template-hash"],
        "nodeTaintsPolicy": "Honor",
    }]);
    object
}

/// A rollout is under way, and the first node has a pod of the new version that is ready, or is not.
async fn under_way(topic: &str, stays_seconds: u32, stop_after: &str, ready: bool) -> (Rig, Nodes) {
    let ns = TestNamespace::new(topic).await;
    let name = ns.name.clone();
    let nodes = Nodes::of(ns.client.clone(), &name).await;
    let version = |number| on_own_nodes(&name, number, stays_seconds, stop_after);
    let rig = Rig::within(ns, version(1), json!({"patience": {"startSeconds": 6, "scheduleSeconds": 20}})).await;
    rig.release(&version(2)).await;
    eventually("the new version has such a pod on the node", || async {
        let there = on_node(&rig, &nodes.names[0]).await;
        let is_new = |pod: &&DynamicObject| !pod.name_any().starts_with(&format!("{}-", rig.stable));
        let has_old = there.iter().any(|pod| !is_new(&pod) && is_ready(pod));
        let mut new = there.iter().filter(is_new).filter(|pod| pod.data["status"]["phase"] == "Running");
        (has_old && new.any(|pod| is_ready(pod) == ready)).then_some(())
    })
    .await;
    (rig, nodes)
}

async fn passes_undisturbed(rig: &Rig) {
    let gate = rig.another_is_proven().await;
    rig.ns.settled("web").await;
    assert_eq!(gate["history"][0]["outcome"], "Completed", "{gate}");
    for reason in ["RolloutHeld", "RolloutRestoring"] {
        assert_eq!(rig.events(reason).await, 0, "{reason}");
    }
    assert_eq!(rig.writes().unwrap_or_default(), (0, 0));
}

/// Waits until pods are ended for what happened to their node.
async fn pods_leave(rig: &Rig, node: &str) {
    eventually("pods leave the node", || async {
        let there = on_node(rig, node).await;
        there.iter().any(|pod| has_condition(pod, "DisruptionTarget")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_lost_in_mid_rollout_neither_holds_nor_restores_it() {
    let (rig, nodes) = under_way("node-lost", 2, "600s", true).await;
    nodes.lose(&rig).await;
    pods_leave(&rig, &nodes.names[0]).await;
    passes_undisturbed(&rig).await;
    nodes.remove().await;
}

#[tokio::test]
async fn a_pod_that_had_not_started_when_its_node_was_lost_says_nothing_of_its_version() {
    // Pods stay for longer on the lost node than a start may take.
    let (rig, nodes) = under_way("node-lost-early", 12, "600s", false).await;
    let early = nodes.lose(&rig).await;
    pods_leave(&rig, &nodes.names[0]).await;
    // What the simulated kubelet was just writing when it was lost may have come after all: it is ready, and no case of this.
    let mut never_ready = 0;
    for pod in &early {
        never_ready += usize::from(!is_ready(&rig.ns.pods().get(pod).await.unwrap()));
    }
    assert!(never_ready > 0, "none of {early:?}");
    passes_undisturbed(&rig).await;
    nodes.remove().await;
}

#[tokio::test]
async fn a_node_that_is_drained_in_mid_rollout_neither_holds_nor_restores_it() {
    let (rig, nodes) = under_way("node-drained", 300, "1s", true).await;
    let drained = rig.ns.cluster.try_kubectl(&["drain", &nodes.names[0], "--ignore-daemonsets"], "");
    assert!(drained.is_ok_and(|said| said.contains("evicting") || said.contains("drained")));
    passes_undisturbed(&rig).await;
    assert!(on_node(&rig, &nodes.names[0]).await.is_empty());
    nodes.remove().await;
}
