//! One policy change over 1,000 Deployments with 10,000 pods, against a bare loop that sends the same patches, in one run
//! on one API server: the ratio is what counts, on shared machines seconds mean little.
//!
//! No controller manager runs: what is measured is the operator and the API server, not the creation of pods. The pods
//! are objects that this program wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    dead_code,
    unused_imports
)] // a benchmark may fail

#[path = "../tests/apiserver/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gracekeeper::core::plan::{Input, Surroundings, plan};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::namespace::{container, deployment, resource, web_policy};
use support::{Cluster, Operator, TestNamespace};

const DEPLOYMENTS: usize = 1000;
const PODS_EACH: usize = 10;
const IN_FLIGHT: usize = 32;
/// Most Deployments that the operator lets roll at once.
const SLOTS: usize = 1000;
/// Resource that is written while nothing happens.
const LEASES: &str = "leases";
/// What counts as quiet: longer than the wait for a status that lags.
const QUIET_SECONDS: f64 = 15.0;

#[tokio::main]
async fn main() {
    let scale = std::env::var("GRACEKEEPER_BENCH_DEPLOYMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(DEPLOYMENTS);
    println!(
        "\nFleet: {scale} Deployments, {} pods, {IN_FLIGHT} calls in flight, no controller manager\n",
        scale * PODS_EACH
    );
    Cluster::share(Cluster::start(&["--nodes", "0", "--without", "kube-controller-manager"]));
    let (fleet, bare) = (TestNamespace::new("fleet").await, TestNamespace::new("bare").await);
    let started = Instant::now();
    fill(&bare, scale, 0).await;
    fill(&fleet, scale, PODS_EACH).await;
    println!("  {:>8.1} s   filling the API server", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let flags = ["--max-concurrent-enforcements", "1000", "--max-concurrent-reconciles", "32"];
    let operator = Operator::start_with(&fleet, &flags).await;
    println!("  {:>8.1} s   operator start to synced", started.elapsed().as_secs_f64());
    println!(
        "  {:>8.1} MiB steady, {:.1} MiB peak: memory after the first list",
        rss(&operator, "VmRSS"),
        rss(&operator, "VmHWM")
    );

    // A B B A would need four fleets; the bare loop goes first, on a warm API server, to its own advantage.
    let reference = bare_loop(&bare).await;
    println!("  {reference:>8.2} s   bare patch loop");
    let ours = converge(&fleet, scale).await;
    println!("  {ours:>8.2} s   policy change until the last Deployment carries it");
    println!("  {:>8.2} x   ratio", ours / reference);
    catch_up(&fleet).await;
    let quiet = quiet(&operator).await;
    println!("  {quiet:>8.1} s   from then until nothing was written for {QUIET_SECONDS} s");
    println!("  {:>8.1} MiB steady, {:.1} MiB peak: memory after it", rss(&operator, "VmRSS"), rss(&operator, "VmHWM"));

    println!("\n  requests of the operator, by verb and resource (dry runs apart)");
    let entries = operator.audit().entries().unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        let dry = if entry.dry_run { " (dry run)" } else { "" };
        let slash = if entry.subresource.is_empty() { "" } else { "/" };
        *counts.entry(format!("{} {}{slash}{}{dry}", entry.verb, entry.resource, entry.subresource)).or_default() += 1;
    }
    for (what, count) in &counts {
        println!("  {count:>8}     {what}");
    }
    idle(&operator).await;
    one_flip(&fleet, &operator).await;
    flap(&fleet, &operator).await;
}

/// Nothing happens, while all of the fleet is measured.
async fn idle(operator: &Operator) {
    let seconds = std::env::var("GRACEKEEPER_BENCH_IDLE_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(30_u32);
    let (requests, writes, ticks) = (all(operator), writes(operator), cpu_ticks(operator));
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let cpu = (cpu_ticks(operator) - ticks) as f64 / 100.0;
    let rate = (all(operator) - requests) as f64 / f64::from(seconds);
    println!("\n  idle for {seconds} s");
    println!("  {rate:>8.2} /s  requests");
    println!("  {cpu:>8.2} s   CPU time, {:.2} % of a core", cpu * 100.0 / f64::from(seconds));
    println!("  {:>8.1} MiB steady, {:.1} MiB peak: memory", rss(operator, "VmRSS"), rss(operator, "VmHWM"));
    tell(&writes, &self::writes(operator));
}

/// Deployments that look rolled out, and their pods.
async fn fill(ns: &TestNamespace, deployments: usize, pods_each: usize) {
    let api = ns.deployments();
    let client = ns.client.clone();
    let name = ns.name.clone();
    // No controller makes it here, and a pod is refused without it.
    let _ = ns.cluster.try_kubectl(&["create", "serviceaccount", "default", "-n", &name], "");
    futures::stream::iter(0..deployments)
        .for_each_concurrent(IN_FLIGHT, |index| {
            let (api, client, namespace) = (api.clone(), client.clone(), name.clone());
            async move {
                let name = format!("web-{index:04}");
                let replicas = pods_each.max(1);
                let object = deployment(&name, i32::try_from(replicas).unwrap(), vec![container()]);
                let created = create(&api, object).await;
                let status = json!({"status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
                                               "readyReplicas": replicas, "availableReplicas": replicas}});
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
                if pods_each > 0 {
                    pods(&client, &namespace, &name, &created, pods_each).await;
                }
            }
        })
        .await;
}

async fn pods(client: &Client, namespace: &str, name: &str, deployment: &Value, count: usize) {
    let owner = |kind: &str, name: &str, uid: &Value| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let sets: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &resource("apps", "v1", "ReplicaSet", "replicasets"));
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    let set = create(
        &sets,
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
               "metadata": {"name": format!("{name}-abc"), "ownerReferences": owner("Deployment", name, &deployment["metadata"]["uid"])},
               "spec": {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": template}}),
    )
    .await;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource("", "v1", "Pod", "pods"));
    let env: Vec<Value> = (0..24).map(|n| json!({"name": format!("SETTING_{n}"), "value": "x".repeat(40)})).collect();
    for index in 0..count {
        let pod = format!("{name}-abc-{index:05}");
        let mut app = container();
        app["env"] = json!(env);
        create(
            &api,
            json!({"apiVersion": "v1", "kind": "Pod",
                   "metadata": {"name": pod, "labels": {"app": name},
                                "ownerReferences": owner("ReplicaSet", &format!("{name}-abc"), &set["metadata"]["uid"])},
                   "spec": {"containers": [app], "automountServiceAccountToken": false}}),
        )
        .await;
        let now = "2026-01-01T00:00:00Z";
        let status = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": now}, {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "Initialized", "status": "True", "lastTransitionTime": now}, {"type": "ContainersReady", "status": "True", "lastTransitionTime": now}],
            "containerStatuses": [{"name": "app", "ready": true, "started": true, "restartCount": 0, "image": "example.com/app:1",
                                   "imageID": "x", "state": {"running": {"startedAt": now}}}]}});
        api.patch_status(&pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
}

async fn create(api: &Api<DynamicObject>, object: Value) -> Value {
    let created = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    serde_json::to_value(created).unwrap()
}

/// The same patches, sent by a plain loop. Reading and planning are left out of the time.
async fn bare_loop(ns: &TestNamespace) -> f64 {
    let policy = serde_json::from_value(web_policy()).unwrap();
    let all = ns.deployments().list(&ListParams::default()).await.unwrap();
    let patches: Vec<(String, Value)> = all
        .items
        .iter()
        .map(|object| {
            let deployment = serde_json::to_value(object).unwrap();
            let input = Input {
                policy: Some(&policy),
                deployment: &deployment,
                held: &[],
                surroundings: &Surroundings::default(),
            };
            (object.metadata.name.clone().unwrap(), serde_json::to_value(plan(&input).patch()).unwrap())
        })
        .collect();
    let api = ns.deployments();
    let started = Instant::now();
    futures::stream::iter(patches)
        .for_each_concurrent(IN_FLIGHT, |(name, patch)| {
            let api = api.clone();
            async move {
                let patch = Patch::<()>::Json(serde_json::from_value(patch).unwrap());
                api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
            }
        })
        .await;
    started.elapsed().as_secs_f64()
}

/// Time from the policy's creation to the last Deployment that carries it.
async fn converge(ns: &TestNamespace, count: usize) -> f64 {
    let started = Instant::now();
    let mut policy = web_policy();
    policy["availability"] = json!({"objective": "99.9"});
    ns.policy("web", policy).await;
    let client = ns.client.clone();
    let metadata: Api<kube::core::PartialObjectMeta<k8s_openapi::api::apps::v1::Deployment>> =
        Api::namespaced(client, &ns.name);
    loop {
        let all = metadata.list(&ListParams::default()).await.unwrap();
        let marked = all.items.iter().filter(|object| {
            object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("gracekeeper.dev/filled"))
        });
        if marked.count() == count {
            return started.elapsed().as_secs_f64();
        }
        let patience = Duration::from_secs(300 + count as u64 / 5);
        assert!(started.elapsed() < patience, "no convergence");
        // Slots become free when a rollout is over, and nobody else says so here.
        if count > SLOTS {
            catch_up(ns).await;
        }
        // The list costs the API server more the longer it is: 5,000 five times a second would be most of its work.
        tokio::time::sleep(Duration::from_millis(200.max(count as u64 / 5))).await;
    }
}

/// The Deployments' statuses speak of what was written: nobody else says so here, and nothing is measured before.
async fn catch_up(ns: &TestNamespace) {
    let api = ns.deployments();
    let all = api.list(&ListParams::default()).await.unwrap();
    let is_behind =
        |object: &DynamicObject| object.data["status"]["observedGeneration"].as_i64() != object.metadata.generation;
    let behind = all.items.into_iter().filter(is_behind);
    let generations = behind.map(|object| (object.metadata.name.unwrap(), object.metadata.generation));
    futures::stream::iter(generations)
        .for_each_concurrent(IN_FLIGHT, |(name, generation)| {
            let api = api.clone();
            async move {
                let status = json!({"status": {"observedGeneration": generation}});
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
            }
        })
        .await;
}

/// One pod of the measured fleet is no longer ready, as its kubelet and the Deployment controller would say.
async fn one_flip(ns: &TestNamespace, operator: &Operator) {
    let before = writes(operator);
    let pods: Api<DynamicObject> =
        Api::namespaced_with(ns.client.clone(), &ns.name, &resource("", "v1", "Pod", "pods"));
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}]}});
    pods.patch_status("web-0001-abc-00000", &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    let status = json!({"status": {"availableReplicas": PODS_EACH - 1, "readyReplicas": PODS_EACH - 1}});
    ns.deployments().patch_status("web-0001", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!("\n  one pod is not ready any more, and 20 s later");
    tell(&before, &writes(operator));
    println!("  {:>8} B   its ledger", ledger(ns, "web-0001").await);
}

/// One Deployment of the measured fleet loses a pod and gets it back, ten times a minute.
async fn flap(ns: &TestNamespace, operator: &Operator) {
    const FLIPS: usize = 20;
    let api = ns.deployments();
    let before = writes(operator);
    for flip in 0..FLIPS {
        let available = if flip % 2 == 0 { PODS_EACH - 1 } else { PODS_EACH };
        let status = json!({"status": {"availableReplicas": available, "readyReplicas": available}});
        api.patch_status("web-0000", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    println!("\n  {FLIPS} flips of another one in two minutes");
    tell(&before, &writes(operator));
    println!(
        "  {:>8} B   its ledger; that of one that was never hurt: {} B",
        ledger(ns, "web-0000").await,
        ledger(ns, "web-0002").await
    );
}

async fn ledger(ns: &TestNamespace, name: &str) -> usize {
    let health = ns.healths().get(name).await.unwrap();
    health.status.and_then(|status| status.availability).map_or(0, |measured| measured.ledger.len())
}

/// Waits until nothing but the Lease was written for a while; answers with how long it took until then, in seconds.
async fn quiet(operator: &Operator) -> f64 {
    let started = Instant::now();
    let mut last = (writes(operator), 0.0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (now, at) = (writes(operator), started.elapsed().as_secs_f64());
        let is_same = |what: &str| now.get(what) == last.0.get(what);
        if !now.keys().all(|what| what == LEASES || is_same(what)) {
            last = (now, at);
        } else if at - last.1 >= QUIET_SECONDS {
            return last.1;
        }
    }
}

/// Writes between two counts, by resource.
fn tell(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>) {
    let more = |what: &String| after.get(what).unwrap_or(&0) - before.get(what).unwrap_or(&0);
    println!("  {:>8}     writes of the Lease", more(&LEASES.to_owned()));
    let others: Vec<&String> = after.keys().filter(|what| *what != LEASES && more(what) > 0).collect();
    for what in &others {
        println!("  {:>8}     writes: {what}", more(what));
    }
    if others.is_empty() {
        println!("  {:>8}     other writes", 0);
    }
}

/// Writes of the operator that were kept, by resource.
fn writes(operator: &Operator) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let is_write = |verb: &str| ["create", "update", "patch", "delete"].contains(&verb);
    for entry in operator.audit().entries().unwrap() {
        if is_write(&entry.verb) && !entry.dry_run && entry.code < 300 {
            let slash = if entry.subresource.is_empty() { "" } else { "/" };
            *counts.entry(format!("{}{slash}{}", entry.resource, entry.subresource)).or_default() += 1;
        }
    }
    counts
}

fn all(operator: &Operator) -> usize {
    operator.audit().entries().unwrap().len()
}

/// A line of `/proc/PID/status`, in MiB.
fn rss(operator: &Operator, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// CPU time of the operator in hundredths of a second.
fn cpu_ticks(operator: &Operator) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", operator.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
