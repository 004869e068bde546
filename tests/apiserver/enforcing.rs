//! One policy, one Deployment: what is written, how often, and what is said of it.

use std::time::Duration;

use serde_json::json;

use crate::support::namespace::{condition, container, deployment, pod, web_policy};
use crate::support::{Operator, TestNamespace, stays};

#[tokio::test]
async fn a_policy_fills_what_a_deployment_leaves_out_in_one_write() {
    let ns = TestNamespace::new("fill").await;
    let before = ns.deployment("web", 2, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;

    let health = ns.compliant("web", "InSync").await;
    let after = ns.settled("web").await;
    let app = &pod(&after)["containers"][0];
    assert_eq!(app["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(app["livenessProbe"]["failureThreshold"], 6);
    assert_eq!(app["startupProbe"]["failureThreshold"], 24);
    assert_eq!(app["lifecycle"]["preStop"]["sleep"]["seconds"], 10);
    assert_eq!(pod(&after)["terminationGracePeriodSeconds"], 37);
    assert_eq!(after["spec"]["replicas"], 2);
    assert_eq!(app["image"], pod(&before)["containers"][0]["image"]);
    assert_eq!(
        after["metadata"]["annotations"]["gracekeeper.dev/filled"],
        "/terminationGracePeriodSeconds,app/livenessProbe,app/preStop,app/readinessProbe,app/startupProbe"
    );
    assert_eq!(health["status"]["policy"]["name"], "web");
    assert_eq!(health["metadata"]["ownerReferences"][0]["uid"], after["metadata"]["uid"]);
    assert_eq!(ns.revisions("web").await, 2, "one rollout and no second one");
    if let Some(writes) = operator.audit().writes("deployments") {
        assert_eq!(writes.len(), 1, "{writes:?}");
    }
    let policy = ns.policy_says("web", "Ready", "AllCompliant").await;
    assert_eq!(policy["status"]["workloads"]["compliant"], 1);
    assert_eq!(condition(&policy, "RolloutGated"), json!(null), "no rollout section, no condition about it");
}

#[tokio::test]
async fn an_audit_reports_and_never_writes_to_a_deployment() {
    let ns = TestNamespace::new("audit").await;
    let before = ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    let mut spec = web_policy();
    spec["mode"] = json!("Audit");
    ns.policy("web", spec).await;

    let health = ns.compliant("web", "Planned").await;
    assert_eq!(health["status"]["plan"]["restartsPods"], true);
    assert_eq!(health["status"]["plan"]["changes"].as_array().unwrap().len(), 5);
    let policy = ns.policy_says("web", "Enforced", "Audit").await;
    assert_eq!(condition(&policy, "Ready")["status"], "True");
    assert_eq!(ns.get("web").await["metadata"]["generation"], before["metadata"]["generation"]);
    if let Some(writes) = operator.audit().writes("deployments") {
        assert!(writes.is_empty(), "{writes:?}");
    }
}

#[tokio::test]
async fn a_policy_edit_is_one_more_write_and_an_idle_operator_writes_nothing() {
    let ns = TestNamespace::new("edit").await;
    ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;

    let mut spec = web_policy();
    spec["containers"][0]["probes"]["liveness"]["failureThreshold"] = json!(9);
    ns.policy("web", spec).await;
    let is_nine = |d: &serde_json::Value| pod(d)["containers"][0]["livenessProbe"]["failureThreshold"] == 9;
    ns.until("web", "the edit arrives", is_nine).await;
    ns.settled("web").await;
    ns.policy_says("web", "Ready", "AllCompliant").await;
    let Some(writes) = operator.audit().writes("deployments") else { return };
    assert_eq!(writes.len(), 2, "{writes:?}");

    // The last summaries land within a second; after that there is silence but for the lease.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let all = || operator.audit().entries().unwrap().into_iter().filter(|e| e.resource != "leases").count();
    let before = all();
    stays("nothing but the lease is written", Duration::from_secs(10), || async { all() == before }).await;
}

#[tokio::test]
async fn a_restarted_operator_writes_nothing() {
    let ns = TestNamespace::new("restart").await;
    ns.deployment("web", 1, container()).await;
    let mut operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    ns.policy_says("web", "Ready", "AllCompliant").await;
    let settled = ns.settled("web").await;
    operator.signal("TERM");
    assert_eq!(operator.ended().await, Some(0));

    let again = Operator::start(&ns).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ns.get("web").await["metadata"]["generation"], settled["metadata"]["generation"]);
    let Some(entries) = again.audit().entries() else { return };
    // Both processes are the same user: what the first wrote is known.
    let writes =
        |resource: &str| entries.iter().filter(|e| e.resource == resource && e.verb == "patch" && !e.dry_run).count();
    assert_eq!(writes("deployments"), 1);
}

#[tokio::test]
async fn the_workloads_own_probe_stays_under_keep() {
    let ns = TestNamespace::new("keep").await;
    let mut own = container();
    own["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 7});
    ns.deployment("web", 1, own).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;

    let health = ns.compliant("web", "InSync").await;
    let app = &pod(&ns.get("web").await)["containers"][0].clone();
    assert_eq!(app["livenessProbe"]["tcpSocket"]["port"], 8080);
    assert_eq!(app["livenessProbe"].get("httpGet"), None, "handlers are never merged");
    assert_eq!(app["readinessProbe"]["httpGet"]["path"], "/readyz");
    let findings = health["status"]["plan"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["reason"] == "KeptExisting"), "{findings:?}");
}

#[tokio::test]
async fn replace_overwrites_a_foreign_handler_whole_and_gives_it_back() {
    let ns = TestNamespace::new("replace").await;
    let mut own = container();
    own["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 7});
    let before = ns.deployment("web", 1, own).await;
    let _operator = Operator::start(&ns).await;
    let mut spec = web_policy();
    spec["whenAlreadySet"] = json!("Replace");
    ns.policy("web", spec).await;

    ns.compliant("web", "InSync").await;
    let probe = pod(&ns.settled("web").await)["containers"][0]["livenessProbe"].clone();
    assert_eq!(probe["httpGet"]["path"], "/livez");
    assert_eq!(probe.get("tcpSocket"), None);

    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    let after = ns.settled("web").await;
    assert_eq!(after["spec"], before["spec"], "every original is back, and nothing else changed");
    assert_eq!(after["metadata"]["annotations"].get("gracekeeper.dev/filled"), None);
    ns.forgotten("web").await;
}

#[tokio::test]
async fn no_more_deployments_roll_at_once_than_allowed() {
    let ns = TestNamespace::new("slots").await;
    for index in 0..5 {
        let mut object = deployment(&format!("web-{index}"), 1, vec![container()]);
        object["spec"]["template"]["metadata"]["annotations"] = json!({"gracekeeper.dev/sim-ready-after": "2s"});
        ns.create_deployment(object).await;
    }
    for index in 0..5 {
        ns.settled(&format!("web-{index}")).await;
    }
    let _operator = Operator::start_with(&ns, &["--max-concurrent-enforcements", "2"]).await;
    ns.policy("web", web_policy()).await;
    crate::support::eventually("all five are compliant", || async {
        let (mut rolling, mut done) = (0, 0);
        for index in 0..5 {
            let object = ns.get(&format!("web-{index}")).await;
            let written = pod(&object)["containers"][0].get("livenessProbe").is_some();
            let updated = object["status"]["updatedReplicas"] == 1 && object["status"]["replicas"] == 1;
            let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let settled = updated && seen && object["status"]["availableReplicas"] == 1;
            rolling += usize::from(written && !settled);
            done += usize::from(written && settled);
        }
        assert!(rolling <= 2, "{rolling} Deployments roll at once");
        (done == 5).then_some(())
    })
    .await;
}
