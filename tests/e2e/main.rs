//! What is promised, on real containers: `make e2e` builds the images, starts a node and runs these in the order of a life:
//! install, upgrade, load, probes and bad releases, outages, uninstall. All share one operator, installed by Helm as a user
//! would. Tests that share nothing else run side by side. Words choose tests by parts of their names.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value
)] // a test may fail

#[allow(dead_code, unused_imports)] // shared with the tests on simulated nodes
#[path = "../apiserver/support/mod.rs"]
mod support;

mod install;
mod load;
mod probes;
mod releases;
mod requests;
mod run;
mod shop;
mod survival;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use world::World;

/// Its name, `module::test`, and what it does.
type Test = (&'static str, fn(&'static World) -> Pin<Box<dyn Future<Output = ()> + Send>>);

/// The tests in the order in which they run.
macro_rules! tests {
    ($($module:ident::$test:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($test)), |world| Box::pin($module::$test(world)))),*]
    };
}

const TESTS: &[Test] = tests![
    install::two_restricted_replicas_become_ready_and_one_leads,
    install::the_image_on_the_node_is_the_one_that_was_built,
    install::a_policy_rolls_a_deployment_once_and_its_pods_stay_ready,
    install::an_upgrade_restarts_no_pod_of_a_user,
    install::the_standby_takes_over_when_the_leader_is_killed,
    requests::a_rollout_loses_requests_without_the_policy_and_none_with_it,
    requests::a_scale_down_loses_requests_without_the_policy_and_none_with_it,
    requests::an_eviction_loses_requests_without_the_policy_and_none_with_it,
    requests::a_drain_loses_requests_without_the_policy_and_none_with_it,
    probes::a_start_within_the_budget_is_left_alone,
    probes::a_start_beyond_the_budget_is_killed_inside_the_printed_bound,
    probes::a_pod_that_is_not_ready_is_seen_inside_the_printed_bound,
    probes::a_hung_pod_is_killed_and_back_inside_the_printed_bounds,
    probes::a_pod_serves_while_it_drains_and_then_finishes,
    probes::a_pod_that_ignores_sigterm_is_killed_when_its_grace_is_over,
    releases::a_version_that_never_gets_ready_is_taken_back,
    releases::a_version_that_crashes_is_taken_back,
    releases::a_version_without_an_image_is_taken_back,
    releases::a_version_that_starts_slower_than_its_budget_is_taken_back,
    releases::a_version_that_hangs_in_its_start_is_taken_back_for_that,
    releases::a_version_that_starts_slowly_within_its_budget_passes,
    releases::a_version_that_hangs_and_is_killed_by_its_probe_is_taken_back,
    releases::a_healthy_version_that_its_liveness_probe_kills_is_taken_back,
    survival::a_restart_of_the_kubelet_writes_nothing,
    survival::a_restart_of_the_api_server_writes_nothing,
    survival::a_restart_of_etcd_writes_nothing,
    survival::a_lost_node_is_not_held_against_a_version_and_comes_back,
    survival::time_that_nobody_watched_is_unknown_and_never_good,
    survival::the_operator_lives_within_64_mib,
    install::an_uninstall_without_an_operator_is_refused,
    install::an_uninstall_leaves_apps_running_and_gives_everything_back,
];

fn main() {
    if std::env::var_os("GRACEKEEPER_E2E").is_none() {
        println!("e2e: skipped; it needs a node and images, which `make e2e` brings");
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&'static Test> =
        TESTS.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word))).collect();
    assert!(!chosen.is_empty(), "no test is called like {words:?}");
    // Tests call kubectl and wait for it: each one may block a thread, and none may keep the others from theirs.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap();
    let began = Instant::now();
    let world: &'static World = Box::leak(Box::new(runtime.block_on(World::start())));
    println!("e2e: {} tests on {}, ready after {}\n", chosen.len(), world.place(), seconds(began.elapsed()));
    let endings = runtime.block_on(run::all(world, &chosen));
    world::write_report(&endings);
    let failed: Vec<_> = endings.iter().filter(|ending| ending.is_failure()).map(|ending| ending.name).collect();
    for name in &failed {
        println!("FAILED: {name}");
    }
    let flaky: Vec<_> = endings.iter().filter(|ending| ending.is_flaky()).map(|ending| ending.name).collect();
    for name in &flaky {
        println!("FLAKY: {name}");
    }
    let left_out = endings.iter().filter(|ending| !ending.is_failure() && ending.left_out.is_some()).count();
    let passed = endings.len() - failed.len() - left_out;
    let second = if flaky.is_empty() { String::new() } else { format!(" ({} at the second try)", flaky.len()) };
    let left_out = if left_out == 0 { String::new() } else { format!(", {left_out} left out") };
    println!("\ne2e: {passed} passed{second}{left_out}, {} failed, in {}", failed.len(), seconds(began.elapsed()));
    // `exit` runs no destructors. Were this process to end in any other way, the node would go by itself.
    world.end();
    std::process::exit(i32::from(!failed.is_empty()));
}

/// For people.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
