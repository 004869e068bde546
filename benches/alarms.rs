//! Good releases must pass, bad ones must be stopped. First: many good releases with slow starts, slow and failing pulls,
//! evicted pods and scaling meanwhile; each that is held or taken back is a false alarm, and makes this end with an
//! error. Then: one bad release of each kind, and when the gate stopped it, beside the moment at which Kubernetes itself
//! reports `ProgressDeadlineExceeded` for the same version in a twin that no policy selects.
//!
//! All choices follow from a seed, which is printed; `GRACEKEEPER_SEED` sets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    dead_code,
    unused_imports
)] // a benchmark may fail

#[path = "../tests/apiserver/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::namespace::{condition, container, deployment, resource};
use support::{Audit, Cluster, Entry, Operator, TestNamespace, eventually};
use tokio::time::{Instant, sleep};

const SEED: u64 = 20_260_101;
const RELEASES: usize = 200;
const RELEASES_EACH: usize = 5;
/// Longest time of one good release.
const LONGEST: Duration = Duration::from_secs(300);
/// `progressDeadlineSeconds` of the Deployments with bad releases.
const DEADLINE: i64 = 30;
/// How long bad releases are watched.
const WATCHED: Duration = Duration::from_secs(90);
const BENCH_USER: &str = "admin";

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn in_percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[tokio::main]
async fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("GRACEKEEPER_SEED").unwrap_or(SEED);
    let releases = number("GRACEKEEPER_BENCH_RELEASES").map_or(RELEASES, |count| usize::try_from(count).unwrap());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\nAlarms: seed {seed} (GRACEKEEPER_SEED), {cores} cores, load before it {}\n", load.trim());
    Cluster::share(Cluster::start(&["--nodes", "4"]));
    let alarms = if releases > 0 { good_releases(seed, releases).await } else { 0 };
    let missed = bad_releases().await;
    assert!(alarms == 0, "{alarms} false alarms with seed {seed}");
    assert!(missed == 0, "{missed} bad releases were not stopped");
}

// --- good releases ---------------------------------------------------------------------------------------------------

/// What one good release goes through.
#[derive(Default, Clone, Copy)]
struct Trouble {
    slow_pull: usize,
    failing_pull: usize,
    evicted: usize,
    scaled: usize,
    freed: usize,
}

async fn good_releases(seed: u64, releases: usize) -> usize {
    let ns = TestNamespace::new("good").await;
    let count = releases.div_ceil(RELEASES_EACH);
    let names: Vec<String> = (0..count).map(|index| format!("web-{index:02}")).collect();
    futures::stream::iter(names.iter().enumerate())
        .for_each_concurrent(16, |(index, name)| {
            let ns = &ns;
            async move {
                ns.create_deployment(first_version(index, name)).await;
            }
        })
        .await;
    for name in &names {
        ns.settled(name).await;
    }
    let operator = Operator::start(&ns).await;
    // What a cautious user would ask for. Starts take up to 6 s here, on a machine that may be busy.
    let rollout =
        json!({"bakeAfterSeconds": 5, "patience": {"startSeconds": 20, "pullSeconds": 30, "scheduleSeconds": 30}});
    ns.policy("web", json!({"selector": {}, "mode": "Enforce", "rollout": rollout})).await;
    for name in &names {
        proven(&ns, name, "").await.unwrap();
    }
    let began = Instant::now();
    let runs = futures::stream::iter(names.iter().enumerate()).map(|(index, name)| {
        let ns = &ns;
        let random = Random(seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
        let wanted = RELEASES_EACH.min(releases - index * RELEASES_EACH);
        async move { series(ns, name, wanted, random).await }
    });
    let runs: Vec<(usize, Trouble, Vec<String>)> = runs.buffer_unordered(names.len()).collect().await;
    let seconds = began.elapsed().as_secs();

    let mut alarms: Vec<String> = runs.iter().flat_map(|run| run.2.clone()).collect();
    for reason in ["RolloutHeld", "RolloutRestoring", "RolloutRestored", "RolloutReverted"] {
        for event in events(&ns, reason).await {
            alarms.push(format!("{reason}: {event}"));
        }
    }
    let sum = |of: fn(&Trouble) -> usize| runs.iter().map(|run| of(&run.1)).sum::<usize>();
    let passed: usize = runs.iter().map(|run| run.0).sum();
    println!(
        "  {passed:>5} of {releases} good releases passed, of {count} Deployments with 1 to 50 pods, in {seconds} s"
    );
    println!(
        "  {:>5} with slow pulls, {} of them with a registry that fails once",
        sum(|t| t.slow_pull),
        sum(|t| t.failing_pull)
    );
    println!("  {:>5} pods evicted, {} times scaled meanwhile", sum(|t| t.evicted), sum(|t| t.scaled));
    println!(
        "  {:>5} times a rollout stood still in Kubernetes itself after a scaling, and was scaled on",
        sum(|t| t.freed)
    );
    println!("  {:>5} false alarms", alarms.len());
    for alarm in &alarms {
        println!("        {alarm}");
    }
    drop(operator);
    alarms.len()
}

/// Sizes and strategies in turn; with one pod at a time only small ones, which would take long else.
fn first_version(index: usize, name: &str) -> Value {
    let strategies = [json!(null), json!([0, 1]), json!([1, 0])];
    let strategy = &strategies[index % 3];
    let replicas = match (index, strategy) {
        (0, _) => 50,
        (_, Value::Null) => [1, 3, 10][index / 3 % 3],
        _ => [1, 3, 5][index / 3 % 3],
    };
    let mut object = deployment(name, replicas, vec![container()]);
    if let [surge, unavailable] = strategy.as_array().map(Vec::as_slice).unwrap_or_default() {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        object["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
    }
    object
}

/// One release after the other; answers with how many passed, what they went through, and what went wrong.
async fn series(ns: &TestNamespace, name: &str, count: usize, mut random: Random) -> (usize, Trouble, Vec<String>) {
    let (mut passed, mut trouble, mut alarms) = (0, Trouble::default(), Vec::new());
    for version in 2..2 + count {
        sleep(Duration::from_millis(random.between(0, 4000))).await;
        let before = gate(ns, name).await["stable"]["replicaSet"].as_str().unwrap_or_default().to_owned();
        // What the version before had would stay in a merge: null takes it out.
        let mut annotations = json!({"gracekeeper.dev/sim-ready-after": format!("{}ms", random.between(300, 6000)),
            "gracekeeper.dev/sim-pull": null, "gracekeeper.dev/sim-pull-fails": null});
        if random.in_percent(40) {
            trouble.slow_pull += 1;
            annotations["gracekeeper.dev/sim-pull"] = json!(format!("{}ms", random.between(1000, 5000)));
            if random.in_percent(40) {
                trouble.failing_pull += 1;
                annotations["gracekeeper.dev/sim-pull-fails"] = json!("true");
            }
        }
        let app = json!({"name": "app", "image": format!("example.com/app:{version}")});
        let template = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [app]}});
        let patch = json!({"spec": {"template": template}});
        ns.deployments().patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
        if random.in_percent(40) {
            sleep(Duration::from_millis(random.between(500, 6000))).await;
            trouble.evicted += usize::from(evict_one(ns, name, &mut random).await);
        }
        if random.in_percent(25) {
            sleep(Duration::from_millis(random.between(0, 3000))).await;
            let now = ns.get(name).await["spec"]["replicas"].as_u64().unwrap();
            let change = random.between(1, 2);
            let next = if random.in_percent(50) || now <= change { now + change } else { now - change };
            ns.merge(name, json!({"spec": {"replicas": next}})).await;
            trouble.scaled += 1;
        }
        match proven_at_last(ns, name, &before, &mut trouble.freed).await {
            Ok(()) => passed += 1,
            Err(said) => {
                alarms.push(format!("{name}, version {version}: {said}"));
                return (passed, trouble, alarms);
            }
        }
    }
    (passed, trouble, alarms)
}

/// A node drain takes one pod of any version; false when a budget or its end was faster.
async fn evict_one(ns: &TestNamespace, name: &str, random: &mut Random) -> bool {
    let pods: Api<Pod> = Api::namespaced(ns.client.clone(), &ns.name);
    let all = pods.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap();
    let alive: Vec<&Pod> = all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    if alive.is_empty() {
        return false;
    }
    let chosen = alive[random.next() as usize % alive.len()].name_any();
    pods.evict(&chosen, &EvictParams::default()).await.is_ok()
}

async fn gate(ns: &TestNamespace, name: &str) -> Value {
    let health = ns.healths().get_opt(name).await.unwrap();
    health.map(|health| serde_json::to_value(health).unwrap()["status"]["gate"].clone()).unwrap_or_default()
}

/// Waits until another ReplicaSet than this one is proven; `Err` is what the gate says instead.
async fn proven(ns: &TestNamespace, name: &str, before: &str) -> Result<(), String> {
    let deadline = Instant::now() + LONGEST;
    loop {
        let gate = gate(ns, name).await;
        let is_new = gate["stable"]["replicaSet"].as_str().is_some_and(|set| set != before);
        if gate["state"] == "Stable" && is_new {
            return Ok(());
        }
        if gate["state"] == "Restored" || Instant::now() > deadline {
            let said = format!("{}, {}: {}", gate["state"], gate["reason"], gate["message"]);
            return Err(format!("{said}\n{}", describe(ns, name).await));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// The same for a Deployment that is scaled meanwhile. Where `desired-replicas` of its only active ReplicaSet differs from
/// its replicas, the Deployment controller takes each look for a scaling, and never rolls: that has nothing to do with a
/// gate, and ends with the next scaling.
async fn proven_at_last(ns: &TestNamespace, name: &str, before: &str, freed: &mut usize) -> Result<(), String> {
    let watch = async {
        let mut since = None;
        loop {
            sleep(Duration::from_secs(2)).await;
            let first = *since.get_or_insert_with(Instant::now);
            if !stands_still(ns, name).await {
                since = None;
            } else if first.elapsed() > Duration::from_secs(15) {
                let replicas = ns.get(name).await["spec"]["replicas"].as_i64().unwrap();
                ns.merge(name, json!({"spec": {"replicas": replicas + 1}})).await;
                *freed += 1;
                since = None;
            }
        }
    };
    tokio::select! {
        () = watch => Ok(()),
        result = proven(ns, name, before) => result,
    }
}

async fn stands_still(ns: &TestNamespace, name: &str) -> bool {
    let wanted = ns.get(name).await["spec"]["replicas"].clone();
    let sets = ns.replica_sets().list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap();
    let active: Vec<&DynamicObject> = sets.iter().filter(|set| set.data["spec"]["replicas"] != 0).collect();
    let [only] = active.as_slice() else { return false };
    let desired = only.annotations().get("deployment.kubernetes.io/desired-replicas");
    only.data["spec"]["replicas"] == wanted && desired.is_some_and(|desired| desired.parse().ok() != wanted.as_i64())
}

/// What a person would look at next: was it the gate, or did the rollout not get on by itself?
async fn describe(ns: &TestNamespace, name: &str) -> String {
    let deployment = ns.get(name).await;
    let spec = &deployment["spec"];
    let mut lines =
        vec![format!("replicas {}, paused {}, status {}", spec["replicas"], spec["paused"], deployment["status"])];
    let of_it = ListParams::default().labels(&format!("app={name}"));
    for set in &ns.replica_sets().list(&of_it).await.unwrap() {
        let size = &set.data["spec"]["replicas"];
        lines.push(format!("{} {size} {} {:?}", set.name_any(), set.data["status"], set.annotations()));
    }
    for pod in &ns.pods().list(&of_it).await.unwrap() {
        lines.push(format!("{} {}", pod.name_any(), pod.data["status"]));
    }
    lines.join("\n")
}

async fn events(ns: &TestNamespace, reason: &str) -> Vec<String> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(ns.client.clone(), &ns.name, &resource("events.k8s.io", "v1", "Event", "events"));
    let all = api.list(&ListParams::default()).await.unwrap();
    let those = all.iter().filter(|event| event.data["reason"] == reason);
    those.map(|event| format!("{}: {}", event.data["regarding"]["name"], event.data["note"])).collect()
}

// --- bad releases ----------------------------------------------------------------------------------------------------

/// A kind of bad release: its name, annotations of the simulated kubelet, and changes of the pod's spec and container.
struct Fault {
    name: &'static str,
    annotations: Value,
    pod: Value,
    container: Value,
}

fn faults() -> Vec<Fault> {
    let simulated = |name: &'static str, fault: &str| Fault {
        name,
        annotations: json!({"gracekeeper.dev/sim-fault": fault}),
        pod: json!({}),
        container: json!({}),
    };
    let probe = json!({"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 5});
    vec![
        simulated("crash", "crash"),
        simulated("oom", "oom"),
        simulated("image-pull", "image-pull"),
        simulated("config-error", "config-error"),
        Fault {
            annotations: json!({"gracekeeper.dev/sim-fault": "kill", "gracekeeper.dev/sim-fault-after": "6s"}),
            container: json!({"startupProbe": probe}),
            ..simulated("startup-killed", "")
        },
        Fault { container: json!({"livenessProbe": probe}), ..simulated("liveness-killed", "late-kill") },
        simulated("crash-after-ready", "late-crash"),
        simulated("never-ready", "never-ready"),
        Fault { annotations: json!({"gracekeeper.dev/sim-ready-after": "300s"}), ..simulated("slow-start", "") },
        simulated("flapping", "flap"),
        Fault {
            annotations: json!({}),
            pod: json!({"nodeSelector": {"nobody": "has-it"}}),
            ..simulated("unschedulable", "")
        },
        Fault { annotations: json!({}), pod: json!({"hostPID": true}), ..simulated("pod-security", "") },
    ]
}

/// Gated and native: the same version, released at the same moment.
const TWINS: [&str; 2] = ["gated", "native"];

async fn bad_releases() -> usize {
    let ns = TestNamespace::labelled("bad", json!({"pod-security.kubernetes.io/enforce": "baseline"})).await;
    let faults = faults();
    for fault in &faults {
        for twin in TWINS {
            let mut object = deployment(&format!("{}-{twin}", fault.name), 3, vec![container()]);
            object["metadata"]["labels"]["gate"] = json!(twin);
            object["spec"]["progressDeadlineSeconds"] = json!(DEADLINE);
            // Without it a pod that flaps counts as available at once, and native rollouts just go through.
            object["spec"]["minReadySeconds"] = json!(5);
            ns.create_deployment(object).await;
        }
    }
    for fault in &faults {
        for twin in TWINS {
            ns.settled(&format!("{}-{twin}", fault.name)).await;
        }
    }
    let operator = Operator::start(&ns).await;
    let patience = json!({"startSeconds": 10, "pullSeconds": 20, "scheduleSeconds": 10});
    let rollout = json!({"onFailure": "Hold", "bakeAfterSeconds": 60, "patience": patience});
    ns.policy("web", json!({"selector": {"matchLabels": {"gate": "gated"}}, "mode": "Enforce", "rollout": rollout}))
        .await;
    for fault in &faults {
        proven(&ns, &format!("{}-gated", fault.name), "").await.unwrap();
    }
    for fault in &faults {
        let mut app = json!({"name": "app", "image": "example.com/app:2"});
        app.as_object_mut().unwrap().extend(fault.container.as_object().unwrap().clone());
        let mut spec = fault.pod.clone();
        spec["containers"] = json!([app]);
        let template = json!({"metadata": {"annotations": fault.annotations}, "spec": spec});
        for twin in TWINS {
            let name = format!("{}-{twin}", fault.name);
            let patch = Patch::Strategic(json!({"spec": {"template": template}}));
            ns.deployments().patch(&name, &PatchParams::default(), &patch).await.unwrap();
        }
    }
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        sleep(Duration::from_secs(1)).await;
    }

    println!("\n  bad releases of 3 pods: seconds from the release to the pause, and to the native report");
    println!(
        "  (progressDeadlineSeconds {DEADLINE}; patience: start 10 s, pull 20 s, schedule 10 s; minReadySeconds 5)\n"
    );
    println!("  {:<20}{:<22}{:>8}  ProgressDeadlineExceeded", "version", "evidence", "pause");
    let releases = Audit::of(ns.cluster, BENCH_USER).writes("deployments").unwrap();
    let pauses = operator.audit().writes("deployments").unwrap();
    let mut missed = 0;
    for fault in &faults {
        let [gated, native] = TWINS.map(|twin| format!("{}-{twin}", fault.name));
        let gate = gate(&ns, &gated).await;
        let released = |name: &str| releases.iter().rfind(|entry| entry.name == name).map(moment).unwrap();
        let pause = pauses.iter().filter(|entry| entry.name == gated).map(moment).find(|at| *at > released(&gated));
        let is_held = gate["state"] == "Held" && ns.get(&gated).await["spec"]["paused"] == true;
        let pause = pause.filter(|_| is_held).map(|at| at.duration_since(released(&gated)).as_secs_f64());
        missed += usize::from(pause.is_none());
        let progressing = condition(&ns.get(&native).await, "Progressing");
        let exceeded = (progressing["reason"] == "ProgressDeadlineExceeded").then(|| {
            let at: Timestamp = progressing["lastTransitionTime"].as_str().unwrap().parse().unwrap();
            at.duration_since(released(&native)).as_secs_f64().round()
        });
        let pause = pause.map_or_else(|| "never".into(), |seconds| format!("{seconds:.1}"));
        let native =
            exceeded.map_or_else(|| format!("never in {} s", WATCHED.as_secs()), |seconds| format!("{seconds}"));
        let class = gate["evidence"][0]["class"].as_str().unwrap_or("none");
        println!("  {:<20}{class:<22}{pause:>8}  {native}", fault.name);
    }
    missed
}

fn moment(entry: &Entry) -> Timestamp {
    entry.at.parse().unwrap()
}
