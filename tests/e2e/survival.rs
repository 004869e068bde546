//! What the operator does while parts of the cluster are away: nothing wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::seconds;
use crate::shop::{self, bare, gate_says, governed, policy, runs};
use crate::support::{TestNamespace, eventually, stays};
use crate::world::{SYSTEM, World};

/// The Lease is renewed every 2 s: what is told of a moment is told this much later for sure.
const RENEWALS_SECONDS: f64 = 5.0;

/// A governed and gated shop that has come to rest.
async fn at_rest(world: &'static World, topic: &str) -> (TestNamespace, Value, Vec<(String, Value, Value)>) {
    let ns = world.namespace(topic).await;
    let mut gated = policy();
    gated["rollout"] = json!({"onFailure": "Restore", "bakeAfterSeconds": 2});
    gated["availability"] = json!({"objective": "99.9", "windowDays": 1});
    ns.policy("web", gated).await;
    ns.apply(&bare("shop", 2, &[])).await;
    governed(&ns, "shop").await;
    gate_says(&ns, "shop", "Stable").await;
    let before = ns.get("shop").await;
    let pods = runs(&ns, "shop").await;
    (ns, before, pods)
}

/// Seconds since the first look, by what they were; the operator that leads tells them up to its last renewal of the Lease.
async fn told(world: &World, ns: &TestNamespace) -> Option<BTreeMap<String, f64>> {
    let page = world.page_of_the_leader("metrics").await?;
    let of_this = format!("namespace=\"{}\"", ns.name);
    let lines =
        page.lines().filter(|line| line.starts_with("gracekeeper_workload_seconds_total{") && line.contains(&of_this));
    let classes: BTreeMap<String, f64> = lines
        .filter_map(|line| {
            let (labels, seconds) = line.rsplit_once(' ')?;
            let class = labels.split_once("class=\"")?.1.split_once('"')?.0;
            Some((class.to_owned(), seconds.parse().ok()?))
        })
        .collect();
    (!classes.is_empty()).then_some(classes)
}

/// Nobody has written to the Deployment, no pod has restarted, and what is asked for now is done, by an operator that has
/// led since this moment.
async fn is_as_before(
    world: &'static World,
    ns: &TestNamespace,
    before: &Value,
    pods: &[(String, Value, Value)],
    since: Timestamp,
) {
    eventually("the API server answers and an operator leads", || world.leader_since(since)).await;
    stays("nothing is written, nothing restarts", Duration::from_secs(5), || async {
        let shop = ns.deployments().get_opt("shop").await.ok().flatten();
        let generation = shop.and_then(|shop| shop.metadata.generation);
        generation == before["metadata"]["generation"].as_i64() && runs(ns, "shop").await == pods
    })
    .await;
    let first = shop::gate(ns, "shop").await["stable"]["replicaSet"].clone();
    ns.apply(&bare("shop", 2, &[("SHOP_VERSION", "2")])).await;
    shop::another_is_proven(ns, "shop", &first).await;
    governed(ns, "shop").await;
}

pub(crate) async fn a_restart_of_the_kubelet_writes_nothing(world: &'static World) {
    if !world.owns_the_node() {
        return;
    }
    let (ns, before, pods) = at_rest(world, "kubelet").await;
    world.node("restart", &["kubelet"]);
    is_as_before(world, &ns, &before, &pods, Timestamp::now()).await;
}

/// Kills it, lets it be away for a while, and starts it again.
async fn is_away(world: &'static World, process: &str, time: Duration) -> Timestamp {
    // An API server that starts does not serve the kinds of CRDs at once: a namespace that goes in that moment is gone before
    // its policies, which then nobody can delete (kubernetes/pkg/controller/namespace/deletion).
    eventually("no namespace of an earlier test is on its way out", || async {
        let phases = world.cluster.kubectl(&["get", "namespaces", "-o", "jsonpath={.items[*].status.phase}"]);
        (!phases.contains("Terminating")).then_some(())
    })
    .await;
    world.node("stop", &[process]);
    tokio::time::sleep(time).await; // the outage itself
    world.node("start", &[process]);
    let back = Timestamp::now();
    eventually("the API server answers", || async { world.client.apiserver_version().await.ok() }).await;
    back
}

/// This process is away for 5 s: an operator leads again, and nothing is written.
async fn an_outage_of(world: &'static World, topic: &str, process: &str, words: &str) {
    if !world.owns_the_node() {
        return;
    }
    let (ns, before, pods) = at_rest(world, topic).await;
    let before_it = eventually("availability is measured", || told(world, &ns)).await;
    let start = Instant::now();
    let back = is_away(world, process, Duration::from_secs(5)).await;
    eventually("an operator leads", || world.leader_since(back)).await;
    let took = Duration::try_from(Timestamp::now().duration_since(back)).unwrap();
    world.figure(format!("{words} away for 5 s: an operator renews its Lease {} after its start", seconds(took)));
    eventually("the operator watches again", || world.watches_since(back)).await;
    let took = Duration::try_from(Timestamp::now().duration_since(back)).unwrap();
    world.figure(format!("{words}: the operator watches everything again {} after its start", seconds(took)));
    // Before anything changes: the pods are the same, and prove that none was missing. Of a gap with a rollout in it they prove
    // nothing (docs/reference/availability.md), and a slow machine has gaps of its own.
    let sum = |classes: &BTreeMap<String, f64>| classes.values().sum::<f64>();
    let all = sum(&before_it) + start.elapsed().as_secs_f64() + RENEWALS_SECONDS;
    let after_it = eventually("the time until now is told", || async {
        told(world, &ns).await.filter(|classes| sum(classes) >= all)
    })
    .await;
    let [planned, fault, unknown] = ["planned", "fault", "unknown"].map(|class| {
        let of = |classes: &BTreeMap<String, f64>| classes.get(class).copied().expect("each class is told");
        of(&after_it) - of(&before_it)
    });
    world.figure(format!(
        "{words}: of {:.0} s since then {planned:.1} s are missing as planned, {fault:.1} s by a fault, {unknown:.1} s are unknown",
        sum(&after_it) - sum(&before_it)
    ));
    assert!(planned + fault < 0.1, "an outage of the control plane is no loss of the application");
    assert!(unknown <= 1.0, "{unknown} s that the pods can tell of are unknown");
    is_as_before(world, &ns, &before, &pods, back).await;
}

pub(crate) async fn a_restart_of_the_api_server_writes_nothing(world: &'static World) {
    an_outage_of(world, "api-server", "kube-apiserver", "API server").await;
}

pub(crate) async fn a_restart_of_etcd_writes_nothing(world: &'static World) {
    an_outage_of(world, "etcd", "etcd", "etcd").await;
}

pub(crate) async fn a_lost_node_is_not_held_against_a_version_and_comes_back(world: &'static World) {
    if !world.owns_the_node() {
        return;
    }
    let (ns, before, pods) = at_rest(world, "node").await;
    let start = Instant::now();
    world.node("stop", &["kubelet"]);
    eventually("the pods are known to be out of reach", || async {
        let pods = shop::pods(&ns, "shop").await;
        (pods.len() == 2 && !pods.iter().any(shop::is_ready)).then_some(())
    })
    .await;
    world.figure(format!("kubelet stopped: pods count as not ready after {}", seconds(start.elapsed())));
    let seen = eventually("availability knows of it", || async {
        let availability = shop::health(&ns, "shop").await["status"]["availability"].clone();
        (availability["available"] == 0 || availability["available"].is_null()).then_some(availability)
    })
    .await;
    world.figure(format!(
        "node lost: availability says {} of {}, {}",
        seen["available"], seen["desired"], seen["cause"]
    ));
    assert!(seen["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{seen}");
    stays("nothing is held and nothing is written", Duration::from_secs(5), || async {
        let gate = shop::gate(&ns, "shop").await;
        gate["state"] == "Stable" && ns.get("shop").await["metadata"]["generation"] == before["metadata"]["generation"]
    })
    .await;
    world.node("start", &["kubelet"]);
    let back = Timestamp::now();
    eventually("the pods are back", || async {
        let pods = shop::pods(&ns, "shop").await;
        (pods.len() == 2 && pods.iter().all(shop::is_ready)).then_some(())
    })
    .await;
    is_as_before(world, &ns, &before, &pods, back).await;
}

pub(crate) async fn time_that_nobody_watched_is_unknown_and_never_good(world: &'static World) {
    let (ns, _, pods) = at_rest(world, "unwatched").await;
    let scale = |replicas: &str| {
        world.cluster.kubectl(&["scale", "deployment/gracekeeper", "-n", SYSTEM, &format!("--replicas={replicas}")]);
    };
    scale("0");
    eventually("no operator is left", || async { world.operators().await.is_empty().then_some(()) }).await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await; // the time that nobody watches
    let gap = start.elapsed();
    // The pods that could prove what happened go.
    for (pod, ..) in &pods {
        ns.pods().delete(pod, &DeleteParams::default()).await.unwrap();
    }
    eventually("all pods are others", || async {
        let all = ns.pods().list(&ListParams::default()).await.unwrap();
        let is_old = |name: String| pods.iter().any(|(old, ..)| *old == name);
        (!all.iter().any(|pod| is_old(pod.name_any())) && all.items.len() == 2).then_some(())
    })
    .await;
    ns.settled("shop").await;
    scale("2");
    let unknown = eventually("the ledger goes on", || async {
        let availability = shop::health(&ns, "shop").await["status"]["availability"].clone();
        availability["lost"]["unknownSeconds"].as_u64().filter(|seconds| *seconds > 0)
    })
    .await;
    world.figure(format!(
        "nobody watched for {} and more, and the pods were replaced: {unknown} s unknown",
        seconds(gap)
    ));
    assert!(unknown + 1 >= gap.as_secs(), "{unknown} s of {gap:?}");
}

pub(crate) async fn the_operator_lives_within_64_mib(world: &'static World) {
    world.install().await;
    world.helm(&["upgrade"], &["--set", "resources.limits.memory=64Mi", "--set", "resources.requests.memory=32Mi"]);
    let (ns, before, pods) = at_rest(world, "memory").await;
    is_as_before(world, &ns, &before, &pods, Timestamp::now()).await;
    for operator in world.operators().await {
        let status = shop::status_of_container(&operator);
        assert_eq!(status["restartCount"], 0, "{status}");
        assert_eq!(operator.pointer("/spec/containers/0/resources/limits/memory"), Some(&json!("64Mi")));
    }
    world.helm(&["upgrade"], &[]);
    assert_eq!(world.operators().await.len(), 2, "in {SYSTEM}");
}
