//! The truth about probes and shutdown, measured on a kubelet and held against what `gracekeeper plan` prints.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gracekeeper::core::plan::timings::NOTICE_SECONDS;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::seconds;
use crate::shop::{self, bare, governed, is_ready, only_pod, pod, policy, status_of_container, switch};
use crate::support::namespace::resource;
use crate::support::waiting::TOO_LATE;
use crate::support::{TestNamespace, stays};
use crate::world::{World, soon};

/// From the deletion of a pod until the kubelet begins to end it, at most.
const NOTICE: Duration = Duration::from_secs(NOTICE_SECONDS.unsigned_abs());
/// The way of the news from the kubelet to us, and to the kubelet that a pod has been switched: no part of its timers.
const WAY: Duration = Duration::from_secs(1);
/// From the end of a container until the next one runs (docs/reference/timings.md): the kubelet's work, and the runtime's.
const START: Duration = Duration::from_secs(2);
/// Times in a status are whole seconds, and their difference is wrong by less than this.
const ROUNDING: Duration = Duration::from_secs(1);
/// Beyond every figure of these policies.
const LIMIT: Duration = Duration::from_secs(60);

/// The line of the timing table for the only container of this Deployment, as `gracekeeper plan` computes it from what
/// the cluster has.
fn timings(ns: &TestNamespace, deployment: &str) -> Value {
    let objects = ns.cluster.kubectl(&["get", "healthpolicies,deployments", "-n", &ns.name, "-o", "yaml"]);
    let mut plan = Command::new(env!("CARGO_BIN_EXE_gracekeeper"))
        .args(["plan", "-f", "-", "-o", "json", "--fail-on", "never"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    plan.stdin.take().unwrap().write_all(objects.as_bytes()).unwrap();
    let output = plan.wait_with_output().unwrap();
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = plan["deployments"].as_array().unwrap();
    let of_it = all.iter().find(|plan| plan["name"] == deployment).unwrap();
    of_it["timings"][0].clone()
}

fn bound(timings: &Value, field: &str) -> Duration {
    let seconds = timings[field].as_u64().unwrap_or_else(|| panic!("{field} in {timings}"));
    Duration::from_secs(seconds)
}

/// One governed pod; answers with its name and its line of the timing table.
async fn one_pod(world: &'static World, topic: &str, switches: &[(&str, &str)]) -> (TestNamespace, String, Value) {
    let ns = world.namespace(topic).await;
    ns.policy("web", policy()).await;
    let mut manifest = bare("shop", 1, switches);
    // What the policy needs: a longer one is kept, and the default of 30 s would only be waited for.
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 11.into();
    ns.apply(&manifest).await;
    governed(&ns, "shop").await;
    let pod = only_pod(&ns, "shop").await;
    let timings = timings(&ns, "shop");
    (ns, pod, timings)
}

/// Tells a time together with the bounds that are asserted, and asserts them. Only too late may be the machine's doing.
fn is_within(world: &'static World, what: &str, took: Duration, least: Duration, most: Duration) {
    let bounds = format!("asserted: {:.1}-{}", least.as_secs_f64(), seconds(most));
    world.figure(format!("{what} after {} ({bounds})", seconds(took)));
    assert!(took >= least, "{what}, too early: {took:?} ({bounds})");
    assert!(took <= most, "{TOO_LATE}{what}: {took:?} ({bounds})");
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("a time in {value}")).parse().unwrap()
}

fn between(from: &Value, to: &Value) -> Duration {
    Duration::try_from(moment(to).duration_since(moment(from))).unwrap()
}

/// The new pod of the governed version: bare pods before it knew no probe.
async fn governed_pod(ns: &TestNamespace, seen: impl Fn(&Value) -> bool) -> Value {
    soon("a governed pod is as it should be", LIMIT, || async {
        let pods = shop::pods(ns, "shop").await;
        pods.into_iter().find(|pod| pod.pointer("/spec/containers/0/startupProbe").is_some() && seen(pod))
    })
    .await
}

pub(crate) async fn a_start_within_the_budget_is_left_alone(world: &'static World) {
    let ns = world.namespace("start").await;
    ns.policy("web", policy()).await;
    // One second less than the budget, which is what the process itself, and a busy machine, may take.
    ns.apply(&bare("shop", 1, &[("SHOP_START_MILLIS", "8000")])).await;
    governed(&ns, "shop").await;
    let timings = timings(&ns, "shop");
    let budget = bound(&timings, "startupBudgetSeconds");
    assert_eq!(budget, Duration::from_secs(9), "10 tries, one a second, the first at an unknown moment");
    let pod = governed_pod(&ns, is_ready).await;
    assert_eq!(status_of_container(&pod)["restartCount"], 0);
    world.figure(format!("start of 8.0 s inside a startup budget of {}: no restart", seconds(budget)));
}

pub(crate) async fn a_start_beyond_the_budget_is_killed_inside_the_printed_bound(world: &'static World) {
    let ns = world.namespace("late").await;
    ns.policy("web", policy()).await;
    ns.apply(&bare("shop", 1, &[("SHOP_START_MILLIS", "3600000")])).await;
    let pod = governed_pod(&ns, |pod| status_of_container(pod)["restartCount"].as_i64() > Some(0)).await;
    let ended = &status_of_container(&pod)["lastState"]["terminated"];
    let lived = between(&ended["startedAt"], &ended["finishedAt"]);
    let timings = timings(&ns, "shop");
    let (budget, drain) = (bound(&timings, "startupBudgetSeconds"), bound(&timings, "drainSeconds"));
    // Never before its budget is over; then the hook runs, and the process ends at once. The first try may come a period
    // later, and the last one take its timeout.
    let (least, last_try) = (budget + drain, Duration::from_secs(2));
    let what =
        format!("a start without end, with a budget of {} and a drain of {}: ended", seconds(budget), seconds(drain));
    is_within(world, &what, lived, least.saturating_sub(ROUNDING), least + last_try + ROUNDING + WAY);
}

pub(crate) async fn a_pod_that_is_not_ready_is_seen_inside_the_printed_bound(world: &'static World) {
    let (ns, name, timings) = one_pod(world, "unready", &[]).await;
    let limit = bound(&timings, "readinessDetectionSeconds");
    for n in 1..=3 {
        let start = Instant::now();
        switch(&ns, &name, "readiness/fail").await;
        soon("not ready", LIMIT, || async { pod(&ns, &name).await.filter(|pod| !is_ready(pod)) }).await;
        // It answers at once, which leaves the timeout of the last try to the way of the news. Two tries are a period apart.
        let least = Duration::from_secs(2).saturating_sub(WAY);
        is_within(
            world,
            &format!("unready, printed {}: seen, try {n},", seconds(limit)),
            start.elapsed(),
            least,
            limit,
        );
        switch(&ns, &name, "readiness/honest").await;
        soon("ready", LIMIT, || async { pod(&ns, &name).await.filter(is_ready) }).await;
    }
    let pod = pod(&ns, &name).await.unwrap();
    assert_eq!(status_of_container(&pod)["restartCount"], 0, "readiness kills nothing");
}

pub(crate) async fn a_hung_pod_is_killed_and_back_inside_the_printed_bounds(world: &'static World) {
    // The worst case: it does not end by itself either.
    let (ns, name, timings) = one_pod(world, "hung", &[("SHOP_ON_SIGTERM", "ignore")]).await;
    let (detection, outage) = (bound(&timings, "livenessDetectionSeconds"), bound(&timings, "livenessRestartSeconds"));
    let (start, began) = (Instant::now(), Timestamp::now());
    switch(&ns, &name, "liveness/hang").await;
    let events: Api<DynamicObject> =
        Api::namespaced_with(ns.client.clone(), &ns.name, &resource("", "v1", "Event", "events"));
    soon("the kubelet kills it", LIMIT, || async {
        let of_it = format!("involvedObject.name={name},reason=Killing");
        let events = events.list(&ListParams::default().fields(&of_it)).await.unwrap();
        (!events.items.is_empty()).then_some(())
    })
    .await;
    let detected = start.elapsed();
    let back = soon("it runs again", LIMIT, || async {
        pod(&ns, &name).await.filter(|pod| {
            let status = status_of_container(pod);
            status["restartCount"] == 1 && status["state"]["running"].is_object()
        })
    })
    .await;
    let seen = start.elapsed();
    // By the kubelet's clock: the status itself may come seconds later when the machine is busy.
    let since = moment(&status_of_container(&back)["state"]["running"]["startedAt"]);
    let restarted = Duration::try_from(since.duration_since(began)).unwrap();
    let ended = &status_of_container(&back)["lastState"]["terminated"];
    world.figure(format!("hung: seen to be back after {}", seconds(seen)));
    assert_eq!(ended["exitCode"], 137, "SIGKILL");
    // Every try hangs until its timeout, so the kubelet's timers may need all of the bound; it is shorter by up to the
    // period that the first one is away.
    let first_try = Duration::from_secs(2);
    let what = format!("hung, printed {}: kill began", seconds(detection));
    is_within(world, &what, detected, detection.saturating_sub(first_try + WAY), detection + WAY);
    let what = format!("hung, printed {}: back", seconds(outage));
    is_within(world, &what, restarted, outage.saturating_sub(first_try + WAY), outage + START);
}

/// Lines of a pod's log as they come, with the time since the start.
struct Log {
    _process: tokio::process::Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Log {
    fn follow(ns: &TestNamespace, pod: &str) -> Self {
        let mut command = ns.cluster.kubectl_command(&["logs", "-f", "-n", &ns.name, pod]);
        command.stdout(Stdio::piped());
        let mut process = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, lines }
    }

    async fn says(&mut self, words: &str) {
        let read = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(words) {
                    return;
                }
            }
            panic!("the log ended without {words:?}");
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("the log never says {words:?}"));
    }
}

/// How the container of a pod ended, which is seen only while the pod is on its way out; and how long after the deletion,
/// by the clocks of the cluster: the status itself may come seconds later when the machine is busy.
async fn end_of(ns: TestNamespace, name: String) -> (Value, Duration) {
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = ns.pods().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut changes = ns.pods().watch(&watch, &version).await.unwrap().boxed();
    let (mut end, mut deleted) = (Value::Null, None);
    while let Some(change) = changes.next().await {
        let (pod, is_gone) = match change.unwrap() {
            WatchEvent::Modified(pod) | WatchEvent::Added(pod) => (pod, false),
            WatchEvent::Deleted(pod) => (pod, true),
            _ => continue,
        };
        let pod = serde_json::to_value(pod).unwrap();
        let grace = &pod["metadata"]["deletionGracePeriodSeconds"];
        if let (None, Some(grace)) = (deleted, grace.as_i64()) {
            deleted = Some(moment(&pod["metadata"]["deletionTimestamp"]) - SignedDuration::from_secs(grace));
        }
        let terminated = &status_of_container(&pod)["state"]["terminated"];
        if terminated.is_object() {
            end = terminated.clone();
        }
        if is_gone || end.is_object() {
            break;
        }
    }
    let ended = moment(&end["finishedAt"]);
    (end, Duration::try_from(ended.duration_since(deleted.expect("it was deleted"))).unwrap())
}

fn again(ns: &TestNamespace) -> TestNamespace {
    TestNamespace { name: ns.name.clone(), client: ns.client.clone(), cluster: ns.cluster }
}

pub(crate) async fn a_pod_serves_while_it_drains_and_then_finishes(world: &'static World) {
    let (ns, name, timings) = one_pod(world, "drain", &[("SHOP_WORK_MILLIS", "200")]).await;
    let drain = bound(&timings, "drainSeconds");
    let mut log = Log::follow(&ns, &name);
    log.says("listening").await;
    let end = tokio::spawn(end_of(again(&ns), name.clone()));
    let start = Instant::now();
    ns.pods().delete(&name, &DeleteParams::default()).await.unwrap();
    let most = drain.saturating_sub(Duration::from_millis(1500));
    stays("it serves while it drains", most, || shop::serves(&ns, &name)).await;
    log.says("no longer accepting").await;
    let told = start.elapsed();
    log.says("all finished").await;
    let (end, _) = end.await.unwrap();
    assert_eq!(end["exitCode"], 0, "{end}");
    let what = format!("drain, printed {}-{} s: SIGTERM, exit 0,", drain.as_secs(), (drain + NOTICE).as_secs());
    is_within(world, &what, told, drain, drain + NOTICE + WAY);
}

pub(crate) async fn a_pod_that_ignores_sigterm_is_killed_when_its_grace_is_over(world: &'static World) {
    let (ns, name, timings) = one_pod(world, "grace", &[("SHOP_ON_SIGTERM", "ignore")]).await;
    let grace = bound(&timings, "drainSeconds") + bound(&timings, "finishSeconds");
    let limit = bound(&timings, "shutdownSeconds");
    let end = tokio::spawn(end_of(again(&ns), name.clone()));
    let mut log = Log::follow(&ns, &name);
    log.says("listening").await;
    let start = Instant::now();
    ns.pods().delete(&name, &DeleteParams::default()).await.unwrap();
    log.says("told to end, and ignoring it").await;
    let told = start.elapsed();
    let (end, killed) = end.await.unwrap();
    let seen = start.elapsed();
    world.figure(format!("grace: SIGTERM after {}, SIGKILL seen after {}", seconds(told), seconds(seen)));
    assert_eq!(end["exitCode"], 137, "{end}");
    assert!(seen >= grace, "{seen:?}");
    // Both are whole seconds by the cluster's clocks.
    let what = format!("grace, printed drain + finish {}, gone after {}: SIGKILL", seconds(grace), seconds(limit));
    is_within(world, &what, killed, grace.saturating_sub(ROUNDING), limit + ROUNDING);
}
