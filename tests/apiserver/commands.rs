//! The commands for people, against a live operator: what is asked is done, and told.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::namespace::{container, web_policy};
use crate::support::{Operator, TestNamespace, eventually};

/// A policy that only gates, with a short bake at the end.
fn gating(steps: Value) -> Value {
    json!({"selector": {}, "mode": "Enforce", "rollout": {"steps": steps, "bakeAfterSeconds": 1}})
}

/// The command as people type it, in the test's namespace.
fn command(ns: &TestNamespace, line: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_gracekeeper"));
    command.args(line.split(' ')).args(["-n", &ns.name]).env("KUBECONFIG", &ns.cluster.kubeconfig);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(ns: &TestNamespace, line: &str) -> Output {
    command(ns, line).output().await.unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_ended(output: &Output, code: i32, sentences: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for sentence in sentences {
        assert!(text.contains(sentence), "{sentence:?} is missing in: {text}");
    }
}

/// Waits until the gate is in this state.
async fn gate(ns: &TestNamespace, state: &str) -> Value {
    eventually(&format!("the gate is {state}"), || async {
        let health = serde_json::to_value(ns.healths().get_opt("web").await.unwrap()?).unwrap();
        (health["status"]["gate"]["state"] == state).then_some(health)
    })
    .await
}

/// A proven Deployment `web` of 3 pods, gated over these steps.
async fn proven(ns: &TestNamespace, steps: Value) -> Operator {
    ns.deployment("web", 3, container()).await;
    let operator = Operator::start(ns).await;
    ns.policy("web", gating(steps)).await;
    gate(ns, "Stable").await;
    operator
}

async fn release(ns: &TestNamespace, image: &str, annotations: Value) {
    ns.merge(
        "web",
        json!({"spec": {"template": {"metadata": {"annotations": annotations},
                                     "spec": {"containers": [{"name": "app", "image": image}]}}}}),
    )
    .await;
}

#[tokio::test]
async fn a_held_rollout_goes_on_when_a_person_resumes_it() {
    let ns = TestNamespace::new("cli-hold").await;
    let _operator = proven(&ns, json!([])).await;
    release(&ns, "example.com/app:2", json!({"gracekeeper.dev/sim-ready-after": "4s"})).await;
    gate(&ns, "Rolling").await;

    let held = run(&ns, "hold deploy/web --wait --timeout 60").await;
    assert_ended(&held, 0, &["Asked to hold the present version of deploy/web", "Held (ByRequest)"]);
    // The intent is stored first, the pause follows.
    ns.until("web", "paused", |web| web["spec"]["paused"] == true).await;
    let status = run(&ns, "status web").await;
    assert_ended(&status, 0, &["paused", "Held (ByRequest)", "`gracekeeper resume deploy/web -n "]);

    let resumed = run(&ns, "resume deployment/web --wait --timeout 80").await;
    assert_ended(&resumed, 0, &["Rolling (Released)", "Stable (Proven)"]);
    ns.settled("web").await;
    let health = gate(&ns, "Stable").await;
    let fields = health["metadata"]["managedFields"].as_array().unwrap();
    assert!(fields.iter().any(|entry| entry["manager"] == "gracekeeper-cli"), "{fields:?}");
}

#[tokio::test]
async fn a_manual_step_waits_for_a_person() {
    let ns = TestNamespace::new("cli-approve").await;
    let _operator = proven(&ns, json!([{"pods": 1, "bakeSeconds": 1, "approval": "Manual"}])).await;
    release(&ns, "example.com/app:2", json!({})).await;
    gate(&ns, "AwaitingApproval").await;
    assert_ended(
        &run(&ns, "status deploy/web").await,
        0,
        &["1 of 1: 1 pod, 1 s, then approval", "gracekeeper approve"],
    );

    let approved = run(&ns, "approve deploy/web --wait --timeout 80").await;
    assert_ended(&approved, 0, &["Rolling (StepPassed)", "Stable (Proven)"]);
    let again = run(&ns, "approve deploy/web").await;
    assert_ended(&again, 0, &["note: the gate is Stable", "only while it is AwaitingApproval"]);
}

#[tokio::test]
async fn a_restored_version_is_shown_with_its_evidence_and_can_be_tried_again() {
    let ns = TestNamespace::new("cli-retry").await;
    let _operator = proven(&ns, json!([])).await;
    release(&ns, "example.com/app:2", json!({"gracekeeper.dev/sim-fault": "crash"})).await;
    gate(&ns, "Restored").await;

    let status = run(&ns, "status deploy/web").await;
    assert_ended(&status, 0, &["Restored (Restored)", "EVIDENCE", "Crash", "Blame: Release", "the present template"]);
    assert_ended(&status, 0, &["HISTORY", "stable ", "current ", "`gracekeeper retry deploy/web -n "]);
    assert!(!said(&status).contains('\u{1b}'), "no colours in a pipe");
    let document = run(&ns, "status deploy/web -o json").await;
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["gate"]["state"], "Restored");
    assert_eq!(document["gate"]["evidence"][0]["class"], "Crash");

    // Asked again, the same version gets its pods back, fails again, and its capacity is not taken back twice.
    let again = run(&ns, "retry deploy/web --wait --timeout 80").await;
    assert_ended(&again, 1, &["Asked to try again the present version of deploy/web", "Held (AlreadyTakenBack)"]);
    let health = gate(&ns, "Held").await;
    assert_eq!(health["status"]["gate"]["appliedRequests"][0], health["spec"]["request"]["id"]);
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let ns = TestNamespace::new("cli-errors").await;
    ns.deployment("web", 1, container()).await;
    assert_ended(&run(&ns, "hold deploy/web").await, 1, &["deploy/web in namespace", "is not governed"]);
    assert_ended(&run(&ns, "status deploy/web").await, 0, &["no HealthPolicy governs", "Running"]);
    assert_ended(&run(&ns, "status deploy/none").await, 1, &["there is no Deployment none"]);

    let identity = crate::support::operator::Identity::install(&ns);
    let mut stranger = command(&ns, "hold deploy/web");
    ns.cluster.kubectl(&["delete", "clusterrolebinding", &identity.release]);
    let refused = stranger.env("KUBECONFIG", &identity.kubeconfig).output().await.unwrap();
    assert_ended(&refused, 1, &["not allowed to get workloadhealths"]);
    let nowhere = command(&ns, "hold deploy/web").env("KUBECONFIG", "/dev/null").output().await.unwrap();
    assert_ended(&nowhere, 1, &["no cluster"]);
}

/// `gracekeeper leave` of the test's namespace.
async fn leave(ns: &TestNamespace, timeout: &str) -> Output {
    leave_all(&[ns], timeout).await
}

async fn leave_all(all: &[&TestNamespace], timeout: &str) -> Output {
    let names: Vec<&str> = all.iter().map(|ns| ns.name.as_str()).collect();
    tokio::process::Command::new(env!("CARGO_BIN_EXE_gracekeeper"))
        .args(["leave", "--namespaces", &names.join(","), "--timeout", timeout])
        .env("KUBECONFIG", &all[0].cluster.kubeconfig)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn leaving_gives_everything_back_and_strands_nothing_without_an_operator() {
    let ns = TestNamespace::new("leave").await;
    assert_ended(&leave(&ns, "5").await, 0, &["There is no HealthPolicy: nothing is governed."]);
    ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    drop(operator);
    let refused = leave(&ns, "1").await;
    let policy = format!("HealthPolicy {}/web", ns.name);
    let workload = format!("Deployment {}/web", ns.name);
    assert_ended(&refused, 1, &["Deleted 1 HealthPolicy;", &policy, &workload, "Is the operator running"]);
    let kept = ns.policies().get("web").await.unwrap();
    assert!(kept.metadata.finalizers.is_some_and(|all| !all.is_empty()), "nothing was forced");
    let _operator = Operator::start(&ns).await;
    assert_ended(&leave(&ns, "60").await, 0, &["Every Deployment has been let go."]);
    let web = ns.get("web").await;
    assert!(web.pointer("/spec/template/spec/containers/0/readinessProbe").is_none());
    assert!(ns.policies().get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn a_policy_whose_namespace_is_gone_is_told_from_one_that_waits_for_the_operator() {
    let (ns, other) = (TestNamespace::new("orphan").await, TestNamespace::new("no-orphan").await);
    // With it come the guards, under which nothing there can be deleted.
    let identity = crate::support::operator::Identity::install(&ns);
    let mut policy = web_policy();
    policy["mode"] = "Audit".into();
    let finalizer = r#"{"metadata":{"finalizers":["gracekeeper.dev/release"]}}"#;
    for ns in [&ns, &other] {
        ns.policy("web", policy.clone()).await;
        ns.cluster.kubectl(&["patch", "healthpolicy", "web", "-n", &ns.name, "--type=merge", "-p", finalizer]);
    }
    // As a namespace controller does it that does not know the kind: it gives the namespace up before its content.
    ns.cluster.kubectl(&["delete", "namespace", &ns.name, "--wait=false"]);
    let path = format!("/api/v1/namespaces/{}/finalize", ns.name);
    let nothing =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns.name}, "spec": {"finalizers": []}});
    ns.cluster.try_kubectl(&["replace", "--raw", &path, "-f", "-"], &nothing.to_string()).unwrap();
    eventually("its namespace is gone", || async {
        let words = ["get", "namespace", &ns.name, "--ignore-not-found", "-o", "name"];
        ns.cluster.try_kubectl(&words, "").unwrap().is_empty().then_some(())
    })
    .await;
    assert!(ns.policies().get_opt("web").await.unwrap().is_some(), "it is still there");

    let policy = |ns: &TestNamespace| format!("HealthPolicy {}/web", ns.name);
    let remedy = format!("`kubectl create namespace {}`", ns.name);
    // Nobody answers, and one of them nobody can release.
    let both = leave_all(&[&ns, &other], "1").await;
    let orphan = format!("Without their namespaces nobody can release these: {}. Create", policy(&ns));
    let waits = format!("these are not let go: {}. Is the operator running", policy(&other));
    assert_ended(&both, 1, &[&waits, &orphan, &remedy, "Nothing was forced"]);
    // What no operator could help is told long before the time is over.
    let begun = std::time::Instant::now();
    assert_ended(&leave(&ns, "80").await, 1, &[&orphan, &remedy, "Nothing was forced"]);
    assert!(begun.elapsed().as_secs() < 60, "it does not wait for what cannot come");

    ns.cluster.kubectl(&["create", "namespace", &ns.name]);
    drop(identity);
    let _operators = (Operator::start(&ns).await, Operator::start(&other).await);
    assert_ended(&leave_all(&[&ns, &other], "60").await, 0, &["Every Deployment has been let go."]);
}

/// `helm template | kubeconform` never sees this hook: it is rendered only where Helm asks a cluster.
#[tokio::test]
async fn the_hook_that_leaves_before_an_uninstall_is_valid_and_restricted() {
    let ns = TestNamespace::labelled("leave-hook", json!({"pod-security.kubernetes.io/warn": "restricted"})).await;
    let on = "imagePullSecrets[0].name=registry,namespaces={shop,bank},extraEnv[0].name=RUST_BACKTRACE,extraEnv[0].value=x,\
              tolerations[0].operator=Exists,nodeSelector.pool=system,commonLabels.team=platform,runAsUser=null,runAsGroup=null";
    for (values, objects) in [("", 4), ("rbac.create=false", 1), (on, 4)] {
        // Of another name, and without the CRDs: those that are here belong to no release.
        let chart = ["template", "leaver", "charts/gracekeeper", "--namespace", &ns.name, "--dry-run=server"];
        let more = ["--show-only", "templates/pre-delete.yaml", "--set", "crds.install=false", "--set", values];
        let words = [&chart[..], &more].concat();
        let hook = ns.cluster.try_helm(&words, "").unwrap();
        assert_eq!(hook.matches("helm.sh/hook: pre-delete").count(), objects, "{hook}");
        let strict = ["apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"];
        let answer = ns.cluster.try_kubectl(&strict, &hook).unwrap_or_else(|error| panic!("{values}: {error}\n{hook}"));
        assert!(answer.contains("job.batch/leaver-gracekeeper-leave created (server dry run)"), "{answer}");
    }
}
