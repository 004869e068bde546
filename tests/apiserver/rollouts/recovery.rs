//! What ends by itself, what a fix is, and a way back that somebody refuses.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::bad::break_pods;
use super::{Rig, gated, manifest};
use crate::contention::Admission;
use crate::support::{TestNamespace, eventually, stays};

/// All pods run again, and are ready: as a kubelet writes it after the back-off.
async fn mend_all(rig: &Rig) {
    let pods = rig.ns.pods();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let mut container = pod.data["status"]["containerStatuses"][0].clone();
        container["ready"] = json!(true);
        container["started"] = json!(true);
        container["state"] = json!({"running": {"startedAt": now}, "waiting": null});
        let turned = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now});
        let conditions = [turned("Ready"), turned("ContainersReady")];
        let status = json!({"status": {"containerStatuses": [container], "conditions": conditions}});
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    }
}

/// Names of the pods of the first version, and of the others.
async fn pods(rig: &Rig) -> (Vec<String>, Vec<String>) {
    let pods = rig.ns.pods().list(&ListParams::default()).await.unwrap();
    let stable = format!("{}-", rig.stable);
    pods.iter().map(ResourceExt::name_any).partition(|name| name.starts_with(&stable))
}

#[tokio::test]
async fn a_hold_for_a_failure_that_both_versions_share_ends_once_all_pods_are_well_again() {
    let rig = Rig::new("outage-over", 3, json!({})).await;
    rig.release(&manifest(3, 2, "never-ready")).await;
    let (stable, new) = eventually("a new pod runs", || async {
        let (stable, new) = pods(&rig).await;
        let runs = rig.ns.pods().get(new.first()?).await.ok()?;
        runs.data["status"]["containerStatuses"][0]["state"]["running"].is_object().then_some((stable, new))
    })
    .await;
    break_pods(&rig, &stable).await;
    break_pods(&rig, &new).await;
    rig.says("Held", "Environment").await;
    rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    mend_all(&rig).await;
    // A minute until restarts say nothing more, and half of one in which nothing speaks against the version.
    tokio::time::timeout(Duration::from_secs(150), async {
        while rig.gate().await["state"] == "Held" {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("the hold ends");
    let gate = rig.gate().await;
    assert_eq!(gate.get("rejected"), None, "{gate:#}");
    assert_eq!(rig.writes().map_or(0, |writes| writes.1), 0, "no capacity was taken back");
}

fn with_probe(path: &str) -> Value {
    let mut object = manifest(3, 2, "crash");
    object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": path, "port": 8080}});
    object
}

#[tokio::test]
async fn a_fix_of_a_workloads_own_probe_flows_and_an_edit_of_the_policy_does_not() {
    let rig = Rig::new("probe-fix", 3, json!({})).await;
    rig.release(&with_probe("/helthz")).await;
    rig.says("Restored", "Restored").await;

    let mut policy = gated(json!({}));
    policy["containers"] = json!([{"probes": {"liveness": {"httpGet": {"path": "/livez", "port": 8080}}}}]);
    rig.ns.policy("web", policy).await;
    rig.ns
        .until("web", "the policy is written", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["livenessProbe"].is_object()
        })
        .await;
    stays("an edit of the policy is no other version", Duration::from_secs(4), || async {
        rig.gate().await["state"] == "Restored"
    })
    .await;

    rig.release(&with_probe("/healthz")).await;
    let began = rig.gate().await["history"].as_array().map_or(0, Vec::len);
    eventually("the fix was let in, and judged by its own pods", || async {
        let gate = rig.gate().await;
        let history = gate["history"].as_array()?.len();
        (gate["state"] == "Restored" && history > began.max(1)).then_some(())
    })
    .await;
    assert_eq!(rig.gate().await["rejected"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_stable_template_that_admission_refuses_leaves_the_bad_version_paused() {
    let ns = TestNamespace::permissive("revert-refused").await;
    let rig = Rig::within(ns, manifest(3, 1, ""), json!({"onFailure": "Revert"})).await;
    let old = "object.spec.template.spec.containers.exists(c, c.image == 'example.com/app:1')";
    let bad = rig.release(&manifest(3, 2, "never-ready")).await;
    let _denies = Admission::validating(&rig.ns, &format!("!{old}"), "version 1 is not signed any more");
    let gate = rig.says("Held", "RevertRefused").await;
    assert!(gate["message"].as_str().unwrap().contains("version 1 is not signed any more"), "{gate:#}");
    let web = rig.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    assert_eq!(web["spec"]["template"], bad["spec"]["template"]);
    let generation = web["metadata"]["generation"].clone();
    stays("it is not tried again and again", Duration::from_secs(4), || async {
        rig.get().await["metadata"]["generation"] == generation && rig.gate().await["reason"] == "RevertRefused"
    })
    .await;
}
