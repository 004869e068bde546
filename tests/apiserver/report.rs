//! `gracekeeper report` on what a real API server stores. No operator runs: the status is constructed, so that every
//! figure is known.

use std::process::{Output, Stdio};

use gracekeeper::core::availability::{Cause, Ledger, Level, Objective};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::namespace::{container, deployment};
use crate::support::operator::{Identity, scratch};
use crate::support::{Operator, TestNamespace, eventually};

const HOUR: i64 = 3_600_000;

async fn run(ns: &TestNamespace, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_gracekeeper"));
    command.arg("report").args(arguments).env("KUBECONFIG", &ns.cluster.kubeconfig).stdin(Stdio::null());
    command.args(["--lease-namespace", &ns.name]).output().await.unwrap()
}

/// In the test's namespace; must succeed. Standard output, and standard error.
async fn told(ns: &TestNamespace, arguments: &[&str]) -> (String, String) {
    let output = run(ns, &[&["-n", &ns.name], arguments].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

/// Must end so, with this sentence.
async fn refused(ns: &TestNamespace, arguments: &[&str], code: i32, sentence: &str) {
    let output = run(ns, arguments).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(sentence), "{sentence:?} is missing in: {text}");
}

/// Stores a Deployment and its WorkloadHealth with this status.
async fn workload(ns: &TestNamespace, name: &str, policy: &str, ledger: Option<&Ledger>) {
    ns.create_deployment(deployment(name, 0, vec![container()])).await;
    let health = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "WorkloadHealth",
                        "metadata": {"name": name}, "spec": {}});
    ns.healths().create(&PostParams::default(), &serde_json::from_value(health).unwrap()).await.unwrap();
    let objective = Objective::parse("99", 7).unwrap();
    let status = json!({"status": {
        "policy": {"name": policy, "uid": "u", "generation": 1, "mode": "Enforce"},
        "availability": ledger.map(|ledger| ledger.to_status(&objective, "99")),
    }});
    ns.healths().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// Four replicas for ten hours up to `as_of`; half of them were gone in the last hour but one.
fn hurt(as_of: i64) -> Ledger {
    let mut ledger = good(as_of - 2 * HOUR);
    ledger.change(Level::of(4, 2, 0, 2), Some(Cause::Crash), "");
    ledger.advance(as_of - HOUR);
    ledger.change(Level::of(4, 4, 0, 2), None, "");
    ledger.advance(as_of);
    ledger
}

fn good(as_of: i64) -> Ledger {
    let mut ledger = Ledger::begin(as_of - 8 * HOUR);
    ledger.change(Level::of(4, 4, 0, 2), None, "");
    ledger.advance(as_of);
    ledger
}

/// The operator's Lease, renewed at this moment.
fn renew(ns: &TestNamespace, at: i64) {
    let at = Timestamp::from_millisecond(at).unwrap();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "gracekeeper", "annotations": {"gracekeeper.dev/watched": "[]"}},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 3600, "renewTime": format!("{at:.6}")}});
    ns.cluster.try_kubectl(&["apply", "-n", &ns.name, "-f", "-"], &lease.to_string()).unwrap();
}

#[tokio::test]
async fn a_report_shows_what_the_status_holds_as_far_as_somebody_watched() {
    let ns = TestNamespace::new("report").await;
    let now: i64 = Timestamp::now().as_millisecond().div_euclid(1000) * 1000;
    let stored = now - HOUR;
    workload(&ns, "web", "front", Some(&hurt(stored))).await;
    workload(&ns, "api", "back", Some(&good(stored))).await;
    workload(&ns, "new", "back", None).await;

    // Without the Lease the figures are those of the last store.
    let (table, note) = told(&ns, &[]).await;
    assert!(note.contains("as of the last stored change of each workload: there is no Lease gracekeeper"), "{note}");
    assert!(note.contains("1 workload is not measured") && note.contains("/new (its policy has no"), "{note}");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAMESPACE") && lines[1].contains(" web ") && lines[2].contains(" api "), "{table}");
    // 30 minutes of all replicas in ten hours.
    assert!(lines[1].contains("95%") && lines[1].contains("30m0s") && lines[2].contains("100%"), "{table}");
    assert!(lines[3].starts_with("fleet") && !table.contains('\u{1b}'), "{table}");

    // With it, up to the last renewal.
    renew(&ns, now - 60_000);
    let (text, note) = told(&ns, &["-o", "json"]).await;
    assert!(!note.contains("last stored change"), "{note}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let renewed = Timestamp::from_millisecond(now - 60_000).unwrap().to_string();
    assert_eq!((&document["version"], &document["watchedUntil"]), (&json!(1), &json!(renewed)));
    let names: Vec<&Value> = document["workloads"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["web", "api"], "the worst first");
    assert_eq!(document["workloads"][0]["asOf"], renewed);
    assert_eq!(document["workloads"][0]["lost"]["faultSeconds"], 1800);
    assert_eq!(document["notMeasured"][0]["name"], "new");

    // Nobody has watched for half a day: that time is unknown.
    renew(&ns, now - 12 * HOUR);
    let (text, note) = told(&ns, &["-o", "json", "deploy/api"]).await;
    assert!(note.contains("no operator has watched since"), "{note}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let unknown = document["workloads"][0]["lost"]["unknownSeconds"].as_i64().unwrap();
    assert!((3600..3700).contains(&unknown), "since it was stored: {unknown}");

    let (csv, _) = told(&ns, &["-o", "csv"]).await;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("namespace,name,policy,objective,") && lines.len() == 5, "{csv}");
    assert!(lines[1].starts_with(&format!("{},web,front,99,7,", ns.name)), "{csv}");

    let (html, svg) = (scratch(&format!("{}.html", ns.name)), scratch(&format!("{}.svg", ns.name)));
    let files = ["--html", html.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let (table, _) = told(&ns, &files).await;
    assert!(table.starts_with("NAMESPACE"), "the table is shown as well");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Crash: containers crash"));
    assert!(std::fs::read_to_string(&svg).unwrap().contains("</svg>"));
    let (image, _) = told(&ns, &["--svg", "-"]).await;
    assert!(image.starts_with("<?xml") && !image.contains("NAMESPACE"));
}

#[tokio::test]
async fn a_report_is_of_what_was_asked_for() {
    let ns = TestNamespace::new("report-some").await;
    let now = Timestamp::now().as_millisecond();
    for (name, policy) in [("web", "front"), ("api", "back"), ("job", "back")] {
        workload(&ns, name, policy, Some(&good(now - HOUR))).await;
    }
    let names = async |arguments: &[&str]| {
        let (text, _) = told(&ns, &[&["-o", "json"], arguments].concat()).await;
        let document: Value = serde_json::from_str(&text).unwrap();
        let all = document["workloads"].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).await, ["api", "job", "web"]);
    assert_eq!(names(&["-l", "app in (web,job)"]).await, ["job", "web"]);
    assert_eq!(names(&["--policy", "back"]).await, ["api", "job"]);
    assert_eq!(names(&["--policy", "back", "-l", "app!=api"]).await, ["job"]);
    assert_eq!(names(&["deploy/web", "api", "web"]).await, ["api", "web"]);
    assert!(names(&["--policy", "none"]).await.is_empty());

    let all = run(&ns, &["-A", "-o", "csv"]).await;
    let all = String::from_utf8(all.stdout).unwrap();
    assert_eq!(all.matches(&format!("{},", ns.name)).count(), 3, "{all}");

    let space = ns.name.as_str();
    refused(&ns, &["-n", space, "deploy/none"], 1, "deploy/none in namespace").await;
    refused(&ns, &["-n", space, "--html", "-", "-o", "json"], 2, "both write to standard output").await;
    refused(&ns, &["-n", space, "--html", "/none/report.html"], 1, "cannot write /none/report.html").await;
    refused(&ns, &["-A", "deploy/web"], 2, "cannot be used with").await;
}

#[tokio::test]
async fn who_may_not_read_the_lease_still_gets_the_report() {
    let ns = TestNamespace::new("report-rights").await;
    let now = Timestamp::now().as_millisecond();
    workload(&ns, "web", "front", Some(&good(now - HOUR))).await;
    let identity = Identity::install(&ns);
    let asked = || async {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_gracekeeper"));
        command.args(["report", "-n", &ns.name, "--lease-namespace", "kube-system"]).stdin(Stdio::null());
        let output = command.env("KUBECONFIG", &identity.kubeconfig).output().await.unwrap();
        // The rights of a new ServiceAccount arrive a moment later.
        output.status.success().then(|| String::from_utf8(output.stderr).unwrap())
    };
    let note = eventually("the report is made", asked).await;
    assert!(note.contains("last stored change of each workload: not allowed to get leases in namespace kube-system"));
    assert_eq!(note.lines().count(), 1, "{note}");
}

#[tokio::test]
async fn a_report_of_a_live_operator_is_of_this_moment() {
    let ns = TestNamespace::new("report-live").await;
    ns.deployment("web", 2, container()).await;
    let _operator = Operator::start(&ns).await;
    ns.policy("web", json!({"selector": {}, "mode": "Audit", "availability": {"objective": "99.9"}})).await;
    let document = eventually("the report is up to the last renewal", || async {
        let (text, _) = told(&ns, &["-o", "json"]).await;
        let document: Value = serde_json::from_str(&text).unwrap();
        let [web] = &document["workloads"].as_array().unwrap()[..] else { return None };
        // What was stored once is read up to every later renewal.
        (web["asOf"] == document["watchedUntil"] && web["replicaWeighted"] == 100.0).then_some(document)
    })
    .await;
    assert_eq!(document["notes"], json!([]));
    assert_eq!(document["workloads"][0]["policy"], "web");
}
