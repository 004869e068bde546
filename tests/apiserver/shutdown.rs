//! What is seen of pods that go, on a real API server with the real EndpointSlice controller, and what it advises. The
//! kubelets are simulated: tests write how containers ended.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::namespace::{condition, container, deployment, resource};
use crate::support::{Operator, TestNamespace, eventually, stays};

const SLEEP: i64 = 10;
const GRACE: i64 = 30;

/// A Deployment whose pods do what tests write, and a Service in front of it.
async fn served(ns: &TestNamespace, replicas: usize) {
    let mut app = container();
    app["lifecycle"] = json!({"preStop": {"sleep": {"seconds": SLEEP}}});
    let mut object = deployment("web", i32::try_from(replicas).unwrap(), vec![app]);
    let template = &mut object["spec"]["template"];
    template["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
    // Tests let them go.
    template["metadata"]["annotations"] = json!({"gracekeeper.dev/sim-stop-after": "3600s"});
    ns.create_deployment(object).await;
    ns.settled("web").await;
    let services: Api<DynamicObject> =
        Api::namespaced_with(ns.client.clone(), &ns.name, &resource("", "v1", "Service", "services"));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                         "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    eventually("the Service has all pods", || async {
        let slices = slices(ns).list(&ListParams::default()).await.unwrap();
        let ready = slices.iter().flat_map(|slice| slice.data["endpoints"].as_array().cloned().unwrap_or_default());
        (ready.filter(|one| one["conditions"]["ready"] == true).count() == replicas).then_some(())
    })
    .await;
}

fn slices(ns: &TestNamespace) -> Api<DynamicObject> {
    Api::namespaced_with(
        ns.client.clone(),
        &ns.name,
        &resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    )
}

/// Audit reads everything and writes nothing, so nothing but the test makes pods go.
async fn audited(ns: &TestNamespace) {
    ns.policy(
        "web",
        json!({"selector": {}, "mode": "Audit", "shutdown": {"drainSeconds": SLEEP, "finishSeconds": 18}}),
    )
    .await;
    ns.compliant("web", "InSync").await;
}

/// One pod that runs is deleted, ends as told so many seconds after its deletion, and goes.
async fn goes(ns: &TestNamespace, exit: i32, after: i64) {
    let pods = ns.pods().list(&ListParams::default().labels("app=web")).await.unwrap();
    let running = |pod: &&DynamicObject| {
        pod.metadata.deletion_timestamp.is_none()
            && condition(&serde_json::to_value(pod).unwrap(), "Ready")["status"] == "True"
    };
    let name = pods.iter().find(running).unwrap().name_any();
    ns.pods().delete(&name, &DeleteParams::default()).await.unwrap();
    let pod = eventually("it is on its way, and its slice says so", || async {
        let pod = ns.pods().get(&name).await.unwrap();
        let slices = slices(ns).list(&ListParams::default()).await.unwrap();
        let mut endpoints =
            slices.iter().flat_map(|slice| slice.data["endpoints"].as_array().cloned().unwrap_or_default());
        let is_shown =
            endpoints.any(|one| one["targetRef"]["name"] == name && one["conditions"]["terminating"] == true);
        (pod.metadata.deletion_timestamp.is_some() && is_shown).then_some(pod)
    })
    .await;
    let until = pod.metadata.deletion_timestamp.clone().unwrap().0;
    let end = until - jiff::SignedDuration::from_secs(GRACE - after);
    let mut status = pod.data["status"]["containerStatuses"][0].clone();
    let started = status["state"]["running"]["startedAt"].clone();
    status["ready"] = json!(false);
    status["state"] = json!({"terminated": {"exitCode": exit, "reason": if exit == 0 { "Completed" } else { "Error" },
                                            "startedAt": started, "finishedAt": end.to_string()}});
    let patch = json!({"status": {"containerStatuses": [status]}});
    ns.pods().patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    // As the kubelet does once all containers have ended.
    ns.pods().delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    eventually("it is gone", || async { ns.pods().get_opt(&name).await.unwrap().is_none().then_some(()) }).await;
    ns.settled("web").await;
}

async fn shutdown(ns: &TestNamespace) -> Value {
    let health = serde_json::to_value(ns.healths().get("web").await.unwrap()).unwrap();
    health["status"]["shutdown"].clone()
}

async fn findings(ns: &TestNamespace) -> Vec<String> {
    let health = serde_json::to_value(ns.healths().get("web").await.unwrap()).unwrap();
    let findings = health["status"]["plan"]["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().map(|finding| finding["reason"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the status shows this field with this value.
async fn shows(ns: &TestNamespace, field: &str, want: impl Into<Value>) -> Value {
    let want = want.into();
    eventually(&format!("status.shutdown.{field} is {want}"), || async {
        let shown = shutdown(ns).await;
        (shown[field] == want).then_some(shown)
    })
    .await
}

#[tokio::test]
async fn pods_that_go_advise_a_drain_and_a_finish_in_a_few_writes() {
    let ns = TestNamespace::new("goes").await;
    served(&ns, 2).await;
    let operator = Operator::start(&ns).await;
    audited(&ns).await;
    followed(&operator).await;
    assert_eq!(shutdown(&ns).await, Value::Null, "nothing was seen yet");

    for _ in 0..3 {
        goes(&ns, 0, SLEEP + 4).await;
    }
    let shown = shows(&ns, "observedEnds", 3).await;
    assert_eq!(shown["finishSeconds"], 4, "{shown}");
    assert_eq!(shown["advisedFinishSeconds"], 7, "{shown}");
    assert_eq!(shown["observedRemovals"], 3, "{shown}");
    let removal = shown["removalMillis"].as_i64().unwrap();
    // 0 to 3 s here, and what proxies need.
    assert!((0..=3000).contains(&removal), "{shown}");
    eprintln!("out of the slices within {removal} ms");
    let advised = shown["advisedDrainSeconds"].as_i64().unwrap();
    assert!((5..=8).contains(&advised), "{shown}");
    assert!(findings(&ns).await.iter().all(|reason| !reason.contains("BelowObserved")), "10 s of sleep are enough");
    let described = ns.cluster.kubectl(&["describe", "wh", "web", "-n", &ns.name]);
    assert!(described.contains("Advised Drain Seconds"), "{described}");

    // The same again is no news; a slower removal, which a loaded machine may bring, is.
    let Some(writes) = operator.audit().writes("workloadhealths") else { return };
    goes(&ns, 0, SLEEP + 4).await;
    goes(&ns, 0, SLEEP + 3).await;
    stays("nothing is written", Duration::from_secs(3), || async {
        operator.audit().writes("workloadhealths").unwrap().len() == writes.len()
            || shutdown(&ns).await["removalMillis"].as_i64() > Some(removal)
    })
    .await;
}

#[tokio::test]
async fn pods_that_are_killed_are_told_and_another_operator_goes_on_from_there() {
    let ns = TestNamespace::new("killed").await;
    served(&ns, 2).await;
    let mut operator = Operator::start(&ns).await;
    audited(&ns).await;
    goes(&ns, 0, SLEEP + 1).await;
    goes(&ns, 137, SLEEP + 5).await; // by somebody else: its time was not over
    goes(&ns, 137, GRACE).await;
    let shown = shows(&ns, "observedKills", 1).await;
    assert_eq!((&shown["killedAfterSeconds"], &shown["observedEnds"]), (&json!(20), &json!(1)), "{shown}");
    assert_eq!(shown["advisedFinishSeconds"], Value::Null, "two are not enough: {shown}");
    operator.signal("TERM");
    assert_eq!(operator.ended().await, Some(0));

    let _operator = Operator::start(&ns).await;
    goes(&ns, 0, SLEEP + 1).await;
    goes(&ns, 0, SLEEP + 1).await;
    let shown = shows(&ns, "observedEnds", 3).await;
    assert_eq!(shown["advisedFinishSeconds"], 40, "{shown}");
    eventually("the finding says so", || async {
        findings(&ns).await.contains(&"FinishBelowObserved".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_follow_slices_everything_else_works_and_the_log_says_so() {
    let ns = TestNamespace::new("older").await;
    served(&ns, 2).await;
    let identity = crate::support::operator::Identity::install(&ns);
    let role: Value =
        serde_json::from_str(&ns.cluster.kubectl(&["get", "clusterrole", &identity.release, "-o", "json"])).unwrap();
    let rules = role["rules"].as_array().unwrap().iter().filter(|rule| rule["resources"][0] != "endpointslices");
    let older = json!([{"op": "replace", "path": "/rules", "value": rules.collect::<Vec<_>>()}]);
    ns.cluster.kubectl(&["patch", "clusterrole", &identity.release, "--type=json", "-p", &older.to_string()]);
    let user = format!("--as={}", identity.user);
    eventually("the right is gone", || async {
        let can = ["auth", "can-i", "watch", "endpointslices.discovery.k8s.io", "-n", &ns.name, &user];
        ns.cluster.try_kubectl(&can, "").is_err().then_some(())
    })
    .await;

    let operator = Operator::spawn(&ns, &identity, &[]);
    operator.expect_denials();
    operator.ready().await;
    audited(&ns).await;
    let log = operator.log_text();
    assert!(log.contains("goes on without these rights"), "{log}");
    assert!(log.contains("watch endpointslices (discovery.k8s.io)"), "{log}");
    for _ in 0..3 {
        goes(&ns, 0, SLEEP + 4).await;
    }
    let shown = shows(&ns, "observedEnds", 3).await;
    assert_eq!((&shown["advisedFinishSeconds"], &shown["advisedDrainSeconds"]), (&json!(7), &Value::Null), "{shown}");
    eventually("its metrics say so", || async {
        let metrics = operator.get("/metrics").await?;
        metrics.contains("watch_failures_total{kind=\"EndpointSlice\"}").then_some(())
    })
    .await;
}

/// Waits until the operator follows EndpointSlices.
async fn followed(operator: &Operator) {
    eventually("slices are followed", || async {
        let entries = operator.audit().entries()?;
        entries.iter().any(|one| one.resource == "endpointslices" && one.verb == "watch").then_some(())
    })
    .await;
}
