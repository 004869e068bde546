//! The availability that is reported, against what the audit log and a watch of the test's own say was delivered.

use std::time::Duration;

use futures::StreamExt;
use gracekeeper::core::availability::{Bucket, Cause, Ledger};
use gracekeeper::core::lease::WATCHED_ANNOTATION;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use serde_json::{Value, json};

use crate::support::namespace::{condition, container, deployment};
use crate::support::operator::Identity;
use crate::support::{Audit, Operator, TestNamespace, eventually};

/// What is allowed between a change and its count.
const TOLERANCE: i64 = 2_000;

fn promise(objective: &str) -> Value {
    json!({"selector": {}, "mode": "Enforce", "availability": {"objective": objective, "windowDays": 1}})
}

/// One Deployment `web`, measured and seen to be whole.
struct Measured {
    ns: TestNamespace,
    operator: Operator,
}

impl Measured {
    async fn new(topic: &str, object: Value, policy: Value) -> Self {
        let ns = TestNamespace::new(topic).await;
        ns.create_deployment(object).await;
        ns.settled("web").await;
        Self::proves(&ns).await;
        let operator = Operator::start(&ns).await;
        ns.policy("web", policy).await;
        let measured = Self { ns, operator };
        measured.says("MinimumAvailable").await;
        measured
    }

    /// Waits until the pods prove all that comes after: API times are whole seconds, so a ledger that began in the second
    /// in which the pods became ready would have a moment that nobody can tell.
    async fn proves(ns: &TestNamespace) {
        eventually("the pods have been ready for two seconds", || async {
            let long_ago = Timestamp::now().as_millisecond() - 2_000;
            let pods = ns.pods().list(&ListParams::default()).await.unwrap();
            pods.iter().all(|pod| ready_since(pod).is_some_and(|since| since <= long_ago)).then_some(())
        })
        .await;
    }

    async fn health(&self) -> Value {
        let health = self.ns.healths().get_opt("web").await.unwrap();
        health.map(|health| serde_json::to_value(health).unwrap()).unwrap_or_default()
    }

    /// Waits until `Available` has this reason, and all or not all replicas are there.
    async fn says(&self, reason: &str) -> Value {
        eventually(&format!("Available says {reason}"), || async {
            let health = self.health().await;
            (condition(&health, "Available")["reason"] == reason).then_some(health)
        })
        .await
    }

    async fn has_available(&self, available: i64) -> Value {
        eventually(&format!("{available} replicas are reported"), || async {
            let health = self.health().await;
            (health["status"]["availability"]["available"] == available).then_some(health)
        })
        .await
    }

    async fn ledger(&self) -> Ledger {
        let health = self.ns.healths().get("web").await.unwrap();
        Ledger::of_status(&health.status.unwrap().availability.unwrap()).unwrap().unwrap()
    }

    async fn sums(&self) -> Bucket {
        self.ledger().await.window(1)
    }

    async fn pods(&self) -> Vec<String> {
        let pods = self.ns.pods().list(&ListParams::default()).await.unwrap();
        pods.iter().map(ResourceExt::name_any).collect()
    }

    /// Sets the readiness of a pod, as its kubelet would; the simulated one leaves it alone from then on.
    async fn set_ready(&self, pod: &str, ready: bool) {
        let pods = self.ns.pods();
        let own = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "as-it-is"}}});
        pods.patch(pod, &PatchParams::default(), &Patch::Merge(own)).await.unwrap();
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status = if ready { "True" } else { "False" };
        let of = |type_: &str| json!({"type": type_, "status": status, "lastTransitionTime": now});
        let containers = json!([{"name": "app", "ready": ready, "started": true, "restartCount": 0, "imageID": "",
                                 "image": "example.com/app:1", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]);
        let conditions = json!([of("Ready"), of("ContainersReady")]);
        let status = json!({"status": {"conditions": conditions, "containerStatuses": containers}});
        pods.patch_status(pod, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    }

    /// Moments at which the Deployment controller wrote the Deployment's status.
    fn status_writes(&self) -> Option<Vec<i64>> {
        let audit = Audit::of(self.ns.cluster, "system:serviceaccount:kube-system:deployment-controller");
        let entries = audit.entries()?.into_iter();
        let own = entries.filter(|entry| entry.namespace == self.ns.name && entry.subresource == "status");
        let own = own.filter(|entry| entry.resource == "deployments" && entry.code < 300);
        Some(own.map(|entry| entry.at.parse::<Timestamp>().unwrap().as_millisecond()).collect())
    }
}

fn web(replicas: i32) -> Value {
    deployment("web", replicas, vec![container()])
}

/// Since when a pod is ready, in milliseconds.
fn ready_since(pod: &DynamicObject) -> Option<i64> {
    let mut conditions = pod.data["status"]["conditions"].as_array()?.iter();
    let ready = conditions.find(|one| one["type"] == "Ready" && one["status"] == "True")?;
    Some(ready["lastTransitionTime"].as_str()?.parse::<Timestamp>().unwrap().as_millisecond())
}

fn is_close(measured: i64, truth: i64, what: &str) {
    assert!((measured - truth).abs() <= TOLERANCE, "{what}: {measured} ms measured, {truth} ms by hand");
}

#[tokio::test]
async fn an_outage_costs_what_the_audit_log_says() {
    let web = Measured::new("outage", web(4), promise("99.9")).await;
    let pods = web.pods().await;
    let before = web.status_writes().map(|writes| writes.len());
    // One after the other: two that come together are one step.
    for (pod, left) in pods.iter().zip([3, 2]) {
        web.set_ready(pod, false).await;
        web.ns.until("web", "one less", |web| web["status"]["availableReplicas"] == left).await;
    }
    let health = web.has_available(2).await;
    let open = &health["status"]["availability"]["episodes"][0];
    assert_eq!((&open["class"], &open["reason"], &open["end"]), (&json!("Fault"), &json!("NotReady"), &Value::Null));
    tokio::time::sleep(Duration::from_secs(20)).await; // the outage itself
    for (pod, there) in pods.iter().zip([3, 4]) {
        web.set_ready(pod, true).await;
        web.ns.until("web", "one more", |web| web["status"]["availableReplicas"] == there).await;
    }
    let health = web.has_available(4).await;
    let sums = web.sums().await;
    assert_eq!(sums.span(), sums.good + sums.planned + sums.fault + sums.unknown + sums.excluded);
    assert_eq!((sums.fault, sums.missing_planned), (0, 0), "half of them is enough, and nobody planned it");
    if let Some((writes, before)) = web.status_writes().zip(before) {
        // Each pod is one step: the loss is the sum of both stretches.
        let [down, down_again, up, up_again] = writes[before..] else { panic!("four steps: {writes:?}") };
        is_close(sums.missing_fault, (up - down) + (up_again - down_again), "missing replicas");
    }
    let status = &health["status"]["availability"];
    let lost = sums.missing_fault as f64 / sums.desired as f64;
    let shown: f64 = status["replicaWeighted"].as_str().unwrap().parse().unwrap();
    assert!((shown - (1.0 - lost) * 100.0).abs() < 0.002, "{status}");
    assert_eq!(status["timeBased"], "100");
    assert_eq!(condition(&health, "WithinBudget")["reason"], "BudgetLeft");
    let policy = eventually("the policy sums up", || async {
        let policy = serde_json::to_value(web.ns.policies().get("web").await.unwrap()).unwrap();
        (policy["status"]["availability"]["worst"] == status["replicaWeighted"]).then_some(policy)
    })
    .await;
    assert_eq!(condition(&policy, "AvailabilityMeasured")["reason"], "Measuring");
}

/// Kills the operator, and starts another one after at least half a minute. Answers with when the first one was last
/// known to watch.
async fn half_a_minute_without(web: &mut Measured, meanwhile: impl AsyncFn(&Measured)) -> i64 {
    // The Lease that was written before the operator watched says that nobody does.
    let lease = || async { serde_json::to_value(web.ns.leases().get("gracekeeper").await.unwrap()).unwrap() };
    eventually("the Lease says that somebody watches", || async {
        let watched = lease().await["metadata"]["annotations"][WATCHED_ANNOTATION].as_str()?.to_owned();
        let gaps: Vec<Vec<i64>> = serde_json::from_str(&watched).unwrap();
        gaps.iter().all(|gap| gap.len() == 2).then_some(())
    })
    .await;
    web.operator.signal("KILL");
    web.operator.ended().await;
    let renewed = lease().await["spec"]["renewTime"].as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    tokio::time::sleep(Duration::from_secs(15)).await; // nobody watches
    meanwhile(web).await;
    tokio::time::sleep(Duration::from_secs(15)).await; // nobody watches
    let identity = Identity::install(&web.ns);
    web.operator = Operator::spawn(&web.ns, &identity, &[]);
    web.operator.ready().await;
    renewed
}

#[tokio::test]
async fn what_nobody_watched_is_good_where_the_pods_prove_it() {
    let mut web = Measured::new("proven", web(2), promise("99.9")).await;
    web.ns.compliant("web", "InSync").await;
    let before = web.ledger().await;
    let watched = half_a_minute_without(&mut web, async |_| {}).await;
    eventually("the new operator has looked", || async {
        let metrics = web.operator.get("/metrics").await?;
        metrics.contains("gracekeeper_reconciles_total{reason=\"InSync\"}").then_some(())
    })
    .await;
    let pods = web.ns.pods().list(&ListParams::default()).await.unwrap();
    let since: Vec<_> = pods.iter().map(ready_since).collect();
    assert_eq!(
        web.ledger().await,
        before,
        "nothing is written: the pods were ready all the time, since {since:?}; last watched {watched}"
    );
}

#[tokio::test]
async fn what_nobody_watched_is_unknown_where_nothing_proves_it() {
    let mut web = Measured::new("unproven", web(2), promise("99.9")).await;
    let pod = web.pods().await[0].clone();
    let as_of = web.ledger().await.as_of();
    let watched = half_a_minute_without(&mut web, async |web| {
        web.set_ready(&pod, false).await;
        web.ns.until("web", "one is away", |web| web["status"]["availableReplicas"] == 1).await;
        web.set_ready(&pod, true).await;
        web.ns.until("web", "it is back", |web| web["status"]["availableReplicas"] == 2).await;
    })
    .await;
    let sums = eventually("the gap is counted", || async {
        let sums = web.sums().await;
        (sums.unknown > 0).then_some(sums)
    })
    .await;
    let back = ready_since(&web.ns.pods().get(&pod).await.unwrap()).unwrap();
    // From the last renewal of the lease to the second after the pod was back.
    is_close(sums.unknown, back + 1_000 - watched.max(as_of), "unknown time");
    assert_eq!(web.ledger().await.episodes().last().unwrap().cause, Cause::NotWatched);
}

#[tokio::test]
async fn a_rollout_that_takes_pods_first_costs_planned_time() {
    let mut object = web(3);
    object["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    let web = Measured::new("dips", object, promise("99.9")).await;
    let only = watcher::Config::default().fields("metadata.name=web");
    let api = web.ns.deployments();
    let truth = tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, only));
        let (mut missing, mut lost, mut at) = (0_i64, 0_i64, Timestamp::now().as_millisecond());
        while let Some(event) = events.next().await {
            let now = Timestamp::now().as_millisecond();
            (lost, at) = (lost + missing * (now - at), now);
            let Ok(watcher::Event::Apply(web) | watcher::Event::InitApply(web)) = event else { continue };
            let number = |field: &str| web.data["status"][field].as_i64().unwrap_or(0);
            missing = (3 - number("availableReplicas")).max(0);
            let is_over = number("observedGeneration") > 1 && number("replicas") == 3 && number("updatedReplicas") == 3;
            if is_over && missing == 0 {
                return lost;
            }
        }
        panic!("the watch ended")
    });
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "example.com/app:2"}]}}}});
    web.ns.deployments().patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    let truth = truth.await.unwrap();
    // Changes are counted in their order: once this one is, which costs nothing, all before it are.
    web.ns.merge("web", json!({"spec": {"replicas": 2}})).await;
    eventually("the rollout is counted", || async {
        let status = web.health().await["status"]["availability"].clone();
        (status["desired"] == 2 && status["available"] == 2).then_some(())
    })
    .await;
    let sums = web.sums().await;
    is_close(sums.missing_planned, truth, "planned");
    assert_eq!(sums.missing_fault, 0, "{:?}", web.ledger().await.episodes());
    assert!(truth > 1_000, "there were dips: {truth} ms");
    assert!(web.ledger().await.episodes().iter().all(|episode| episode.cause == Cause::Rollout));
}

#[tokio::test]
async fn replicas_that_nobody_wants_are_no_loss() {
    let web = Measured::new("zero", web(2), promise("99.9")).await;
    web.ns.merge("web", json!({"spec": {"replicas": 0}})).await;
    web.says("NoReplicas").await;
    tokio::time::sleep(Duration::from_secs(3)).await; // time that is to be excluded
    web.ns.merge("web", json!({"spec": {"replicas": 2}})).await;
    web.has_available(2).await;
    let sums = web.sums().await;
    assert!(sums.excluded >= 3_000 - TOLERANCE, "{sums:?}");
    assert_eq!((sums.fault, sums.missing_fault), (0, 0), "pods that start after a scale-up are planned: {sums:?}");
}

#[tokio::test]
async fn a_spent_budget_holds_the_next_version_until_somebody_lets_it_pass() {
    let mut policy = promise("99.99"); // of a day: 8.6 seconds
    policy["rollout"] = json!({"whenBudgetSpent": "Freeze", "bakeAfterSeconds": 1});
    let web = Measured::new("freeze", web(2), policy).await;
    eventually("the first version is proven", || async {
        (web.health().await["status"]["gate"]["state"] == "Stable").then_some(())
    })
    .await;
    let pods = web.pods().await;
    for pod in &pods {
        web.set_ready(pod, false).await;
    }
    web.says("BelowMinimum").await;
    tokio::time::sleep(Duration::from_secs(11)).await; // more than the budget
    for pod in &pods {
        web.set_ready(pod, true).await;
    }
    let health = web.says("MinimumAvailable").await;
    assert_eq!(condition(&health, "WithinBudget")["reason"], "BudgetSpent", "{health:#}");
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "example.com/app:2"}]}}}});
    web.ns.deployments().patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    let health = eventually("it is held", || async {
        let health = web.health().await;
        let gate = &health["status"]["gate"];
        (gate["state"] == "Held" && gate["reason"] == "BudgetSpent").then_some(health)
    })
    .await;
    web.ns.until("web", "it is paused", |web| web["spec"]["paused"] == true).await;
    let hash = &health["status"]["template"]["hash"];
    let patch = json!({"spec": {"request": {"action": "Resume", "templateHash": hash, "id": "emergency-1"}}});
    web.ns.healths().patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let gate = eventually("it passed", || async {
        let gate = web.health().await["status"]["gate"].clone();
        (gate["state"] == "Stable").then_some(gate)
    })
    .await;
    let past = &gate["history"][0];
    assert_eq!((&past["outcome"], &past["reason"]), (&json!("Overridden"), &json!("BudgetSpent")), "{gate:#}");
    web.ns.settled("web").await;
}
