//! The process: start, stop, leader election, and what it says when it cannot start.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::namespace::{container, web_policy};
use crate::support::operator::{Identity, scratch};
use crate::support::{Operator, TestNamespace, eventually};

fn holder(ns: &TestNamespace) -> String {
    ns.cluster
        .try_kubectl(&["get", "lease", "gracekeeper", "-n", &ns.name, "-o", "jsonpath={.spec.holderIdentity}"], "")
        .unwrap_or_default()
}

#[tokio::test]
async fn a_stopped_leader_hands_over_within_seconds_and_a_killed_one_after_its_lease() {
    let ns = TestNamespace::new("leaders").await;
    ns.deployment("web", 1, container()).await;
    let identity = Identity::install(&ns);
    let quick = ["--lease-duration-seconds", "6", "--renew-deadline-seconds", "4", "--retry-period-seconds", "1"];
    let mut first = Operator::spawn(&ns, &identity, &quick);
    first.ready().await;
    let second = Operator::spawn(&ns, &identity, &quick);
    second.ready().await;
    let first_holder = eventually("someone leads", || async { Some(holder(&ns)).filter(|h| !h.is_empty()) }).await;

    first.signal("TERM");
    assert_eq!(first.ended().await, Some(0));
    let released = Instant::now();
    eventually("the second leads", || async {
        let now = holder(&ns);
        (!now.is_empty() && now != first_holder).then_some(())
    })
    .await;
    assert!(released.elapsed() < Duration::from_secs(4), "took {:?}", released.elapsed());
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;

    // A frozen leader must not write after its deadline, and ends itself when it wakes up to a lost lease.
    let second_holder = holder(&ns);
    second.signal("STOP");
    let third = Operator::spawn(&ns, &identity, &quick);
    third.ready().await;
    let frozen = Instant::now();
    eventually("the third leads", || async { (holder(&ns) != second_holder).then_some(()) }).await;
    assert!(frozen.elapsed() < Duration::from_secs(12), "took {:?}", frozen.elapsed());
    second.signal("CONT");
    let mut second = second;
    assert_eq!(second.ended().await, Some(1), "a leader that lost its lease ends");
    assert!(second.log_text().contains("the lease is lost"), "{}", second.log_text());
}

fn run_with(kubeconfig: &str, flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gracekeeper"))
        .args(["run", "--listen", "127.0.0.1:0", "--call-timeout-seconds", "3", "--log-format", "text"])
        .args(flags)
        .env("KUBECONFIG", kubeconfig)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn without_a_cluster_it_says_so_and_ends() {
    let nowhere = scratch("nowhere.kubeconfig");
    std::fs::write(
        &nowhere,
        r#"{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
           "clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"users":[{"name":"u","user":{}}]}"#,
    )
    .unwrap();
    let (code, error) = run_with(nowhere.to_str().unwrap(), &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("error: no cluster:") && error.contains("hint: set KUBECONFIG"), "{error}");
}

#[tokio::test]
async fn a_missing_right_is_named_by_verb_and_resource() {
    let ns = TestNamespace::new("rights").await;
    let identity = Identity::install(&ns);
    let patch = r#"[{"op": "remove", "path": "/rules/1"}]"#;
    let rules = ns.cluster.kubectl(&["get", "clusterrole", &identity.release, "-o", "jsonpath={.rules[1]}"]);
    ns.cluster.kubectl(&["patch", "clusterrole", &identity.release, "--type=json", "-p", patch]);
    let (code, error) =
        run_with(identity.kubeconfig.to_str().unwrap(), &["--namespaces", &ns.name, "--lease-namespace", &ns.name]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("missing rights of system:serviceaccount:"), "{error}");
    let lost: serde_json::Value = serde_json::from_str(&rules).unwrap();
    let line = format!("- {} {}", lost["verbs"][0].as_str().unwrap(), lost["resources"][0].as_str().unwrap());
    assert!(error.contains(&line), "{error} does not name {line}");
}

#[tokio::test]
async fn missing_crds_are_named() {
    let bare = crate::support::Cluster::start(&["--nodes", "0", "--without", "kube-controller-manager"]);
    let (code, error) = run_with(bare.kubeconfig.to_str().unwrap(), &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("CustomResourceDefinitions of gracekeeper.dev/v1alpha1 are missing"), "{error}");
}

#[tokio::test]
async fn metrics_are_served_and_readiness_names_what_is_missing() {
    let ns = TestNamespace::new("http").await;
    let operator = Operator::start(&ns).await;
    assert_eq!(operator.get("/livez").await.as_deref(), Some("ok\n"));
    let metrics = operator.get("/metrics").await.unwrap();
    assert!(metrics.contains("gracekeeper_leader 1"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
