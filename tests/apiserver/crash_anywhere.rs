//! The operator is killed before each of its writes, after each, and left without the answer to each. The end must be
//! that of an undisturbed run, with no pod-template revision more.

mod end_state;
mod run;
mod scenarios;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::run::{Outcome, Place, Run};
use crate::support::fault_proxy::{Fault, WriteId, upstream};
use crate::support::operator::{Identity, forget_release};
use crate::support::{Cluster, TestNamespace};

/// Runs at the same time, of all scenarios together: most of a run is waiting.
static RUNS: Semaphore = Semaphore::const_new(16);

/// What is done in one run.
struct Scenario {
    topic: &'static str,
    /// The Deployment `web` as it is first.
    first: Value,
    /// The policy under which it is proven before writes count; without one, the script brings it.
    policy: Option<Value>,
    script: for<'a> fn(&'a Run) -> LocalBoxFuture<'a, Outcome>,
}

/// A control plane of our own, without an audit log: hundreds of runs would fill the one that other tests read whole.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    if std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|v| v == "true") {
        return Cluster::shared();
    }
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start(&["--nodes", "4", "--apiserver-arg", "--audit-log-path="]);
        cluster.install_crds();
        cluster.install_guards();
        cluster
    })
}

/// What one run showed.
struct Report {
    writes: Vec<WriteId>,
    checkpoints: Vec<Value>,
    deployment_patches: usize,
    has_struck: bool,
}

async fn report(
    scenario: &Scenario,
    place: &Place,
    fault: Option<(WriteId, Fault)>,
    expected: Arc<Vec<Value>>,
) -> Result<Report, String> {
    let _turn = RUNS.acquire().await.unwrap();
    let run = Run::start(place, &scenario.first, fault, expected).await?;
    let result = follow(scenario, &run).await;
    run.end().await;
    result
}

async fn follow(scenario: &Scenario, run: &Run) -> Result<Report, String> {
    if let Some(policy) = &scenario.policy {
        run.is_proven_under(policy.clone()).await?;
    }
    run.proxy.count();
    (scenario.script)(run).await?;
    if let Some(denied) = run.proxy.denied().first() {
        return Err(format!("a right is missing: {denied}"));
    }
    Ok(Report {
        writes: run.proxy.writes(),
        checkpoints: run.checkpoints(),
        deployment_patches: run.proxy.deployment_patches(),
        has_struck: run.proxy.has_struck(),
    })
}

/// All crashes of a scenario.
async fn a_crash_at_any_write_ends_in_the_same_place(scenario: Scenario) {
    let began = Instant::now();
    let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    let home = Arc::new(TestNamespace::on(cluster, scenario.topic, serde_json::json!({})).await);
    let identity = Arc::new(Identity::install(&home));
    let place = Place { topic: scenario.topic, cluster, upstream: upstream(&cluster.kubeconfig).await, home, identity };

    let golden = report(&scenario, &place, None, Arc::default()).await.unwrap();
    let expected = Arc::new(golden.checkpoints);
    // One crash again, as a failure names it.
    let only = std::env::var("GRACEKEEPER_CRASH").ok();
    let mut runs: FuturesUnordered<_> = golden
        .writes
        .iter()
        .flat_map(|write| Fault::ALL.map(|fault| (write.clone(), fault, format!("{fault:?} {write}"))))
        .filter(|(_, _, name)| only.as_ref().is_none_or(|only| only == name))
        .map(|(write, fault, name)| {
            let run = report(&scenario, &place, Some((write, fault)), expected.clone());
            AssertUnwindSafe(run).catch_unwind().map(move |result| (name, result))
        })
        .collect();
    let (count, mut struck, mut failures, mut told) = (runs.len(), 0, Vec::<String>::new(), 0);
    while let Some((name, result)) = runs.next().await {
        match result {
            Ok(Ok(report)) => {
                struck += usize::from(report.has_struck);
                if report.deployment_patches > golden.deployment_patches + 1 {
                    let (here, there) = (report.deployment_patches, golden.deployment_patches);
                    failures.push(format!("{name}: {here} patches of the Deployment, {there} undisturbed"));
                }
            }
            Ok(Err(error)) => failures.push(format!("{name}: {error}")),
            Err(_) => failures.push(format!("{name}: it panicked; its words are above")),
        }
        // At once: with many of them it takes minutes to the end.
        if failures.len() > told {
            told = failures.len();
            eprintln!("{}: {}", scenario.topic, failures[told - 1]);
        }
    }
    drop(runs);
    let (topic, writes, seconds) = (scenario.topic, golden.writes.len(), began.elapsed().as_secs());
    eprintln!("{topic}: {writes} writes, {count} runs, {struck} struck, {} failed, {seconds} s", failures.len());
    if std::env::var_os("GRACEKEEPER_KEEP").is_some() {
        golden.writes.iter().for_each(|write| eprintln!("  {write}"));
    }
    forget(&place);
    // A run may do without a write that another one needed, but not many of them.
    assert!(struck * 10 >= count * 8, "only {struck} of {count} crashes took place");
    assert!(failures.is_empty(), "{} of {count} runs:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// An existing cluster is left as it was found.
fn forget(place: &Place) {
    if place.cluster.audit_log.is_none() {
        forget_release(place.cluster, &place.identity.release);
    }
}
