//! What riding along costs a write of a Deployment's template: the same write in namespaces with 0, 1, 10 and more
//! policies, in turns, so that a noisy machine is noisy for all of them. One policy of each namespace selects what is
//! written and rides along; the others are evaluated and do not match.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    dead_code,
    unused_imports
)] // a benchmark may fail

#[path = "../tests/apiserver/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use support::namespace::{container, deployment, web_policy};
use support::{Cluster, TestNamespace, eventually};

const POLICIES: [usize; 7] = [0, 1, 10, 25, 50, 100, 200];
const SAMPLES: usize = 400;
const WARM_UP: usize = 20;
/// What a write may cost more at the 99th percentile, in milliseconds.
const BOUND: f64 = 5.0;

#[tokio::main]
async fn main() {
    let samples = std::env::var("GRACEKEEPER_BENCH_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(SAMPLES);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "\nAdmission: {samples} writes of a template for each number of policies, load before it {}\n",
        load.trim()
    );
    Cluster::share(Cluster::start(&["--nodes", "0"]));
    let mut namespaces = Vec::new();
    for policies in POLICIES {
        namespaces.push(with_policies(policies).await);
    }
    let mut times = vec![Vec::with_capacity(samples); POLICIES.len()];
    for round in 0..samples + WARM_UP {
        for (ns, times) in namespaces.iter().zip(&mut times) {
            let time = change(ns, round).await;
            if round >= WARM_UP {
                times.push(time);
            }
        }
    }
    println!("  {:>8}{:>10}{:>10}{:>12}{:>12}", "policies", "p50 ms", "p99 ms", "+ p50 ms", "+ p99 ms");
    let (mut base, mut most) = ((0.0, 0.0), 0);
    for (policies, times) in POLICIES.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let (p50, p99) = (at(0.5), at(0.99));
        if *policies == 0 {
            base = (p50, p99);
        } else if p99 - base.1 <= BOUND {
            most = most.max(*policies);
        }
        println!("  {policies:>8}{p50:>10.1}{p99:>10.1}{:>12.1}{:>12.1}", p50 - base.0, p99 - base.1);
    }
    println!("\n  within {BOUND} ms more at p99: up to {most} policies in a namespace\n");
}

/// Milliseconds until the API server has stored another image.
async fn change(ns: &TestNamespace, round: usize) -> f64 {
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": format!("app:{round}")}]}}}});
    let start = Instant::now();
    ns.deployments().patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    start.elapsed().as_secs_f64() * 1000.0
}

async fn with_policies(policies: usize) -> TestNamespace {
    let ns = TestNamespace::new(&format!("policies-{policies}")).await;
    ns.cluster.install_ride_along(&format!("{}-gracekeeper", ns.name), &ns.name, &[&ns.name], &[]);
    for n in (0..policies).rev() {
        let mut policy = web_policy();
        let tier = if n == 0 { "web".to_owned() } else { format!("other-{n}") };
        policy["selector"] = json!({"matchLabels": {"tier": tier}});
        policy["rollout"] = json!({"minReadySeconds": 10});
        ns.policy_that_rides(&format!("p{n}"), policy).await;
    }
    ns.create_deployment(deployment("web", 0, vec![container()])).await;
    if policies > 0 {
        eventually("the policy rides along", || async {
            change(&ns, 100_000).await;
            change(&ns, 100_001).await;
            let object: Value = ns.get("web").await;
            object["metadata"]["annotations"].get("gracekeeper.dev/filled").is_some().then_some(())
        })
        .await;
    }
    // The informers of all namespaces settle before the first measurement.
    tokio::time::sleep(Duration::from_millis(200)).await;
    ns
}
