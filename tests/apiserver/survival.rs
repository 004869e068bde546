//! Trouble around the operator, and a fleet.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::namespace::{condition, container, deployment, pod, web_policy};
use crate::support::operator::scratch;
use crate::support::{Cluster, Entry, Operator, TestNamespace, eventually, stays};

/// The API server of a control plane of our own, which may be killed and started again.
struct ApiServer {
    pid: u32,
    command: Vec<String>,
    again: Option<Child>,
}

impl ApiServer {
    fn of(cluster: &Cluster) -> Self {
        let pid = cluster.pids["kube-apiserver"];
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let command = line.split_terminator('\0').map(Into::into).collect();
        Self { pid, command, again: None }
    }

    fn kill(&mut self) {
        let status = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status().unwrap();
        assert!(status.success());
        if let Some(mut child) = self.again.take() {
            child.wait().unwrap();
        }
    }

    /// Starts it, unless it runs; it may end at once when its port is not free yet.
    fn start(&mut self) {
        if self.again.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
            return;
        }
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(scratch("kube-apiserver.log")).unwrap())
            .spawn()
            .unwrap();
        self.pid = child.id();
        self.again = Some(child);
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.again.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn with_threshold(threshold: i32) -> Value {
    let mut spec = web_policy();
    spec["containers"][0]["probes"]["liveness"]["failureThreshold"] = json!(threshold);
    spec
}

#[tokio::test]
async fn an_api_server_that_is_killed_and_comes_back_finds_the_same_operator_at_work() {
    let cluster: &Cluster = Box::leak(Box::new(Cluster::start(&["--nodes", "2"])));
    cluster.install_crds();
    let ns = TestNamespace::on(cluster, "apidown", json!({})).await;
    ns.deployment("web", 1, container()).await;
    let mut operator = Operator::start(&ns).await;
    ns.policy("web", with_threshold(6)).await;
    ns.compliant("web", "InSync").await;
    ns.settled("web").await;

    let mut server = ApiServer::of(cluster);
    for threshold in [7, 8] {
        server.kill();
        eventually("its readiness says what is missing", || async {
            operator.get("/readyz").await.filter(|body| body.contains("watch ")).map(|_| ())
        })
        .await;
        assert_eq!(operator.get("/livez").await.as_deref(), Some("ok\n"), "no reason to restart it");
        let deadline = Instant::now() + Duration::from_secs(60);
        while cluster.try_kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"], "").is_err() {
            assert!(Instant::now() < deadline, "the API server does not come back");
            server.start();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let back = Instant::now();
        eventually("the policy is edited", || async {
            let object = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
                                "metadata": {"name": "web"}, "spec": with_threshold(threshold)});
            let apply = ["apply", "--server-side", "--force-conflicts", "-n", &ns.name, "-f", "-"];
            cluster.try_kubectl(&apply, &object.to_string()).ok()
        })
        .await;
        operator.ready().await;
        eventually("the edit arrives", || async {
            let object = ns.deployments().get_opt("web").await.ok()??;
            let object = serde_json::to_value(object).unwrap();
            (pod(&object)["containers"][0]["livenessProbe"]["failureThreshold"] == threshold).then_some(())
        })
        .await;
        assert!(back.elapsed() < Duration::from_secs(20), "took {:?}", back.elapsed());
        ns.settled("web").await;
        ns.compliant("web", "InSync").await;
    }
    // A starting API server refuses for a moment, until it has read the roles.
    operator.expect_denials();
    assert_eq!(operator.exit_code(), None, "the same process all the time");
    let kept = operator.audit().writes("deployments").unwrap();
    assert_eq!(kept.len(), 3, "one write per change: {kept:?}");
}

#[tokio::test]
async fn each_of_forty_deployments_is_written_once_and_then_only_the_lease_is() {
    const FLEET: usize = 40;
    let ns = TestNamespace::new("fleet").await;
    for index in 0..FLEET {
        ns.create_deployment(deployment(&format!("web-{index}"), 1, vec![container()])).await;
    }
    let operator = Operator::start_with(&ns, &["--max-concurrent-enforcements", "10"]).await;
    let mut policy = web_policy();
    policy["availability"] = json!({"objective": "99.9"});
    ns.policy("web", policy).await;
    let compliant = eventually("all are compliant", || async {
        let policy = serde_json::to_value(ns.policies().get("web").await.unwrap()).unwrap();
        (policy["status"]["workloads"]["compliant"] == FLEET).then_some(policy)
    });
    let Ok(policy) = tokio::time::timeout(Duration::from_secs(80), compliant).await else {
        let healths = ns.healths().list(&ListParams::default()).await.unwrap();
        let healths = healths.items.iter().map(|health| serde_json::to_value(health).unwrap());
        let reasons = healths.map(|h| format!("{}: {}", h["metadata"]["name"], condition(&h, "Compliant")["message"]));
        let policy = ns.policies().get("web").await.unwrap().status;
        panic!("not all are compliant: {policy:#?}\n{}", reasons.collect::<Vec<_>>().join("\n"));
    };
    assert_eq!(condition(&policy, "Ready")["reason"], "AllCompliant");
    for index in 0..FLEET {
        ns.settled(&format!("web-{index}")).await;
    }
    let healths = ns.healths().list(&ListParams::default()).await.unwrap();
    assert_eq!(healths.items.len(), FLEET);
    let Some(writes) = operator.audit().writes("deployments") else { return };
    let mut names: Vec<&str> = writes.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), writes.len()), (FLEET, FLEET), "one write each");

    // The last summary lands within a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Whether policies ride along is looked for, by two or three reads every 30 s.
    let looks = |entry: &Entry| {
        entry.verb == "get" && (entry.resource.starts_with("mutatingadmission") || entry.resource.is_empty())
    };
    let requests = || {
        let all = operator.audit().entries().unwrap().into_iter();
        all.filter(|entry| entry.resource != "leases" && entry.verb != "watch" && !looks(entry)).count()
    };
    let all_looks = || operator.audit().entries().unwrap().iter().filter(|entry| looks(entry)).count();
    let looks_before = all_looks();
    let (before, leases) = (requests(), operator.audit().writes("leases").unwrap().len());
    stays("nothing but the lease is written", Duration::from_secs(60), || async { requests() == before }).await;
    let renewals = operator.audit().writes("leases").unwrap().len() - leases;
    assert!((10..=35).contains(&renewals), "{renewals} renewals in a minute");
    let looks = all_looks() - looks_before;
    assert!((2..=9).contains(&looks), "{looks} looks for the admission policy in a minute");

    // One pod loses its readiness: one status is written, and nothing else.
    let health_writes = || operator.audit().writes("workloadhealths").unwrap();
    let known = health_writes().len();
    let pods = ns.pods().list(&ListParams::default()).await.unwrap();
    let pod = pods.iter().map(ResourceExt::name_any).find(|name| name.starts_with("web-7-")).unwrap();
    let own = json!({"metadata": {"annotations": {"gracekeeper.dev/sim-fault": "as-it-is"}}});
    ns.pods().patch(&pod, &PatchParams::default(), &Patch::Merge(own)).await.unwrap();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    ns.pods().patch_status(&pod, &PatchParams::default(), &Patch::Strategic(unready)).await.unwrap();
    eventually("the flip is stored", || async {
        let health = serde_json::to_value(ns.healths().get("web-7").await.unwrap()).unwrap();
        (health["status"]["availability"]["available"] == 0).then_some(())
    })
    .await;
    stays("one write", Duration::from_secs(5), || async { health_writes().len() == known + 1 }).await;
}
