//! From the status that shows a failure to the pause: the time between the two in the API server's audit log, by its own
//! clock, for many Deployments that fail one after another, first on an idle cluster and then under a load of pod
//! statuses. An echo client runs beside the operator on the same API server: a plain loop that watches the same pods and
//! pauses at the first evidence, without memory, comparison or preconditions. The ratio is what counts.
//!
//! No nodes run: this program writes the pods' statuses itself, so that each failure is one request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    dead_code,
    unused_imports
)] // a benchmark may fail

#[path = "../tests/apiserver/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use support::cluster::client_of;
use support::namespace::{container, deployment};
use support::{Audit, Cluster, Entry, Operator, TestNamespace, eventually};

const SAMPLES: usize = 120;
const GAP: Duration = Duration::from_millis(200);
const IN_FLIGHT: usize = 16;
/// Deployments and pods that the load is about; the policy selects them too, so that each status means a look.
const NOISE: usize = 20;
const NOISE_PODS: i32 = 5;
/// Tasks of the load, and the pause of each between two statuses: 200 a second together.
const NOISE_TASKS: u64 = 8;
const NOISE_PAUSE: Duration = Duration::from_millis(40);
/// Who writes the statuses: the rig's administrator.
const BENCH_USER: &str = "admin";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Echo,
}

impl Side {
    fn name(self, phase: &str, index: usize) -> String {
        format!("{}-{phase}-{index:03}", if self == Self::Ours { "ours" } else { "echo" })
    }
}

#[tokio::main]
async fn main() {
    let samples = std::env::var("GRACEKEEPER_BENCH_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(SAMPLES);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\nReaction: {samples} failures each, {cores} cores, load before it {}\n", load.trim());
    Cluster::share(Cluster::start(&["--nodes", "0"]));
    let ns = TestNamespace::new("reaction").await;
    let echo_user = echo_identity(&ns);
    let phases = ["idle", "busy"];
    let names: Vec<String> = phases
        .iter()
        .flat_map(|phase| (0..samples).map(move |index| (phase, index)))
        .flat_map(|(phase, index)| [Side::Ours.name(phase, index), Side::Echo.name(phase, index)])
        .collect();
    let noise: Vec<String> = (0..NOISE).map(|index| format!("noise-{index:02}")).collect();
    create(&ns, &names, 1).await;
    create(&ns, &noise, NOISE_PODS).await;
    all_ready(&ns, names.len() + NOISE * usize::try_from(NOISE_PODS).unwrap()).await;

    let operator = Operator::start(&ns).await;
    let patience = json!({"startSeconds": 3600, "pullSeconds": 3600, "scheduleSeconds": 3600});
    let rollout = json!({"onFailure": "Hold", "bakeAfterSeconds": 0, "patience": patience});
    ns.policy("web", json!({"selector": {"matchLabels": {"gate": "ours"}}, "mode": "Enforce", "rollout": rollout}))
        .await;
    let gated = names.len() / 2;
    in_state(&ns, "Stable", gated + NOISE).await;
    release(&ns, &names).await;
    in_state(&ns, "Rolling", gated).await;
    let candidates = candidates(&ns, names.len()).await;

    let echo = tokio::spawn(echo(client_of(&echo_user.kubeconfig).await, ns.name.clone()));
    // The first list of the echo client is over when it holds what is there; failures come only after that.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fail_all(&ns, &candidates, "idle", samples).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let began = Timestamp::now();
    let disturbance = disturb(&ns, is_over.clone()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fail_all(&ns, &candidates, "busy", samples).await;
    is_over.store(true, Ordering::SeqCst);
    for task in disturbance {
        task.await.unwrap();
    }
    let seconds = Timestamp::now().duration_since(began).as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    echo.abort();

    let statuses = statuses(&ns);
    let events = statuses.iter().filter(|entry| entry.name.starts_with("noise-") && moment(entry) >= began).count();
    let ours = operator.audit().writes("deployments").unwrap();
    let theirs = Audit::of(ns.cluster, &echo_user.user).writes("deployments").unwrap();
    println!("  {:<28}{:>9}{:>9}{:>9}{:>9}", "", "p50 ms", "p99 ms", "max ms", "samples");
    for phase in phases {
        let load =
            if phase == "busy" { format!("{:.0} pod statuses/s", events as f64 / seconds) } else { "idle".into() };
        let (a, b) = (
            times(&statuses, &ours, &candidates, Side::Ours, phase, samples),
            times(&statuses, &theirs, &candidates, Side::Echo, phase, samples),
        );
        for (who, times) in [("gracekeeper", &a), ("echo client", &b)] {
            let (p50, p99, max) = (percentile(times, 50), percentile(times, 99), percentile(times, 100));
            println!("  {:<28}{p50:>9.1}{p99:>9.1}{max:>9.1}{:>9}", format!("{load}, {who}"), times.len());
        }
        let ratio = |percent| percentile(&a, percent) / percentile(&b, percent);
        println!("  {:<28}{:>9.2}{:>9.2}", format!("{load}, ratio"), ratio(50), ratio(99));
    }
    let text = operator.get("/metrics").await.unwrap();
    println!("\n  what the operator says of itself");
    for line in text.lines().filter(|line| line.starts_with("gracekeeper_reaction_seconds")) {
        println!("  {line}");
    }
}

struct EchoIdentity {
    kubeconfig: std::path::PathBuf,
    user: String,
}

/// A ServiceAccount of its own, so that the audit log tells its writes from ours.
fn echo_identity(ns: &TestNamespace) -> EchoIdentity {
    let cluster = ns.cluster;
    cluster.kubectl(&["create", "serviceaccount", "echo", "-n", &ns.name]);
    let subject = format!("--serviceaccount={}:echo", ns.name);
    cluster.kubectl(&["create", "rolebinding", "echo", "-n", &ns.name, "--clusterrole=admin", &subject]);
    let token = cluster.kubectl(&["create", "token", "echo", "-n", &ns.name, "--duration=8h"]);
    let view = cluster.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let kubeconfig = support::operator::scratch("echo.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    EchoIdentity { kubeconfig, user: format!("system:serviceaccount:{}:echo", ns.name) }
}

/// Watches all pods of the namespace, and pauses a Deployment of its own at the first pod that says that it crashes.
async fn echo(client: Client, namespace: String) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client, &namespace);
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()));
    let mut done = HashSet::new();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(pod)) = event else { continue };
        let name = pod.labels().get("app").cloned().unwrap_or_default();
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let waiting = |reason: &str| {
            statuses.iter().any(|status| {
                let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
                waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
            })
        };
        if name.starts_with("echo-") && waiting("CrashLoopBackOff") && done.insert(name.clone()) {
            let pause = json!({"spec": {"paused": true}});
            deployments.patch(&name, &PatchParams::default(), &Patch::Merge(pause)).await.unwrap();
        }
    }
}

async fn create(ns: &TestNamespace, names: &[String], replicas: i32) {
    futures::stream::iter(names)
        .for_each_concurrent(IN_FLIGHT, |name| async move {
            let mut object = deployment(name, replicas, vec![container()]);
            if !name.starts_with("echo-") {
                object["metadata"]["labels"]["gate"] = json!("ours");
            }
            ns.create_deployment(object).await;
        })
        .await;
}

/// Waits for so many pods, and says of each that it is ready.
async fn all_ready(ns: &TestNamespace, count: usize) {
    let pods = pods(ns, count).await;
    futures::stream::iter(&pods)
        .for_each_concurrent(IN_FLIGHT, |pod| async move {
            let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
            set_status(ns, &pod.name_any(), true, running).await;
        })
        .await;
}

async fn pods(ns: &TestNamespace, count: usize) -> Vec<DynamicObject> {
    eventually("the pods are made", || async {
        let pods = ns.pods().list(&ListParams::default()).await.unwrap().items;
        (pods.len() == count).then_some(pods)
    })
    .await
}

async fn set_status(ns: &TestNamespace, pod: &str, ready: bool, state: Value) {
    let now = "2026-01-01T00:00:00Z";
    let word = if ready { "True" } else { "False" };
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastTransitionTime": now});
    let container = json!({"name": "app", "ready": ready, "started": ready, "restartCount": u8::from(!ready),
        "image": "example.com/app:1", "imageID": "", "state": state});
    let status = json!({"status": {"phase": "Running",
        "conditions": [condition("PodScheduled", "True"), condition("Ready", word), condition("ContainersReady", word)],
        "containerStatuses": [container]}});
    ns.pods().patch_status(pod, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
}

/// Waits until so many gates are in this state.
async fn in_state(ns: &TestNamespace, state: &str, count: usize) {
    eventually(&format!("{count} gates are {state}"), || async {
        let all = ns.healths().list(&ListParams::default()).await.unwrap();
        let there = all.iter().filter(|health| {
            serde_json::to_value(health).is_ok_and(|health| health["status"]["gate"]["state"] == state)
        });
        (there.count() == count).then_some(())
    })
    .await;
}

async fn release(ns: &TestNamespace, names: &[String]) {
    futures::stream::iter(names)
        .for_each_concurrent(IN_FLIGHT, |name| async move {
            let app = json!({"name": "app", "image": "example.com/app:2"});
            let patch = json!({"spec": {"template": {"spec": {"containers": [app]}}}});
            ns.deployments().patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
        })
        .await;
}

/// The pod of the new version, by Deployment.
async fn candidates(ns: &TestNamespace, count: usize) -> BTreeMap<String, String> {
    eventually("each has a pod of the new version", || async {
        let pods = ns.pods().list(&ListParams::default()).await.unwrap();
        let new = pods.iter().filter(|pod| pod.data["spec"]["containers"][0]["image"] == "example.com/app:2");
        let by_name: BTreeMap<_, _> = new.map(|pod| (pod.labels()["app"].clone(), pod.name_any())).collect();
        (by_name.len() == count).then_some(by_name)
    })
    .await
}

/// One failure after another; who is first changes from pair to pair.
async fn fail_all(ns: &TestNamespace, candidates: &BTreeMap<String, String>, phase: &str, samples: usize) {
    for index in 0..samples {
        let sides = if index % 2 == 0 { [Side::Ours, Side::Echo] } else { [Side::Echo, Side::Ours] };
        for side in sides {
            let pod = &candidates[&side.name(phase, index)];
            let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
            set_status(ns, pod, false, waiting).await;
            tokio::time::sleep(GAP).await;
        }
    }
}

/// Statuses of ready pods that say something new each time and speak against nobody.
async fn disturb(ns: &TestNamespace, is_over: Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<()>> {
    let pods = ns.pods().list(&ListParams::default()).await.unwrap();
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).filter(|name| name.starts_with("noise-")).collect();
    let (names, count) = (Arc::new(names), Arc::new(AtomicU64::new(0)));
    (0..NOISE_TASKS)
        .map(|_| {
            let (names, count, is_over, api) = (names.clone(), count.clone(), is_over.clone(), ns.pods());
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(NOISE_PAUSE);
                while !is_over.load(Ordering::SeqCst) {
                    tick.tick().await;
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let name = &names[usize::try_from(number).unwrap() % names.len()];
                    let started = Timestamp::from_second(1_767_225_600 + i64::try_from(number).unwrap()).unwrap();
                    let container = json!({"name": "app", "state": {"running": {"startedAt": started.to_string()}},
                        "ready": true, "started": true, "restartCount": 0, "image": "example.com/app:1", "imageID": ""});
                    let status = json!({"status": {"containerStatuses": [container]}});
                    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
                }
            })
        })
        .collect()
}

/// Statuses of pods that this program wrote.
fn statuses(ns: &TestNamespace) -> Vec<Entry> {
    let writes = Audit::of(ns.cluster, BENCH_USER).writes("pods").unwrap();
    writes.into_iter().filter(|entry| entry.subresource == "status").collect()
}

fn moment(entry: &Entry) -> Timestamp {
    entry.at.parse().unwrap()
}

/// Milliseconds from the status to the pause, both when the API server had answered; sorted.
fn times(
    statuses: &[Entry],
    writes: &[Entry],
    candidates: &BTreeMap<String, String>,
    side: Side,
    phase: &str,
    samples: usize,
) -> Vec<f64> {
    let mut times: Vec<f64> = (0..samples)
        .map(|index| {
            let name = side.name(phase, index);
            let shown = statuses.iter().find(|entry| entry.name == candidates[&name]).unwrap();
            let received: Timestamp = shown.received.parse().unwrap();
            let paused =
                writes.iter().filter(|entry| entry.name == name).map(moment).find(|moment| *moment >= received);
            let paused = paused.unwrap_or_else(|| panic!("{name} was never paused"));
            // Below zero where the watch was faster than the answer to the status.
            paused.duration_since(moment(shown)).as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// By the nearest rank.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}
