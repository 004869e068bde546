//! One run of a scenario: a namespace, a Deployment `web`, a proxy, and an operator that is started again when it dies.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::end_state::{differences, end_state};
use crate::support::fault_proxy::{Fault, FaultProxy, Kill, WriteId};
use crate::support::namespace::{condition, permissive, resource};
use crate::support::operator::{Identity, scratch};
use crate::support::{Cluster, TestNamespace};

/// Longest time from one condition of a script to the next.
const PATIENCE: Duration = Duration::from_secs(45);
/// After so long without a write an undisturbed run is over: summaries of policies come a second late.
const QUIET: Duration = Duration::from_millis(2500);
/// The same for a run that is where it should be already.
const STILL: Duration = Duration::from_millis(1200);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// `Err` tells what did not happen.
pub(super) type Outcome = Result<(), String>;

/// What all runs of a scenario share.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) topic: &'static str,
    pub(super) cluster: &'static Cluster,
    pub(super) upstream: Client,
    /// Where the ServiceAccount of all operators is.
    pub(super) home: Arc<TestNamespace>,
    pub(super) identity: Arc<Identity>,
}

pub(super) struct Run {
    pub(super) ns: TestNamespace,
    pub(super) proxy: FaultProxy,
    ward: Arc<Mutex<Ward>>,
    keeper: JoinHandle<()>,
    /// States at the checkpoints of the undisturbed run; none in that one.
    expected: Arc<Vec<Value>>,
    reached: Mutex<Vec<Value>>,
}

impl Run {
    /// A namespace and an operator in it, which has seen the Deployment and has no policy yet.
    pub(super) async fn start(
        place: &Place,
        first: &Value,
        fault: Option<(WriteId, Fault)>,
        expected: Arc<Vec<Value>>,
    ) -> Result<Self, String> {
        let labels = if place.topic == "crash-revert" { permissive() } else { json!({}) };
        let ns = TestNamespace::on(place.cluster, place.topic, labels).await;
        ns.apply(first).await;
        lend_lease(place, &ns).await;
        let (proxy, mut to_kill) = FaultProxy::start(place.upstream.clone(), fault).await;
        let kubeconfig = through(place, &ns, &proxy.server);
        let ward = Arc::new(Mutex::new(Ward { namespace: ns.name.clone(), kubeconfig, operator: None, logs: vec![] }));
        ward.lock().unwrap().start();
        let (mortal, client) = (ward.clone(), ns.client.clone());
        let keeper = tokio::spawn(async move {
            while let Some(kill) = to_kill.recv().await {
                revive(&mortal, &client, kill).await;
            }
        });
        let run = Self { ns, proxy, ward, keeper, expected, reached: Mutex::default() };
        run.settled().await?;
        run.until("the operator works", async || run.ward.lock().unwrap().log().contains("picture is complete"))
            .await?;
        Ok(run)
    }

    /// The first version is proven under this policy, and all is said of it.
    pub(super) async fn is_proven_under(&self, policy: Value) -> Outcome {
        self.ns.policy("web", policy).await;
        self.says("Stable", "Proven").await?;
        self.until("all is written", async || self.proxy.is_quiet_for(STILL)).await
    }

    /// Waits for a condition.
    pub(super) async fn until(&self, what: &str, look: impl AsyncFn() -> bool) -> Outcome {
        let end = Instant::now() + PATIENCE;
        while !look().await {
            if Instant::now() > end {
                let state = end_state(&self.ns).await;
                return Err(format!("never: {what}\n{state:#}\n{}", self.logs()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    pub(super) async fn says(&self, state: &str, reason: &str) -> Outcome {
        let is_said = async || {
            let gate = self.gate().await;
            gate["state"] == state && gate["reason"] == reason
        };
        self.until(&format!("the gate says {state}, {reason}"), is_said).await
    }

    /// Waits until the Deployment is as the check demands.
    pub(super) async fn web(&self, what: &str, check: impl Fn(&Value) -> bool) -> Outcome {
        self.until(what, async || check(&self.ns.get("web").await)).await
    }

    /// Waits until the Deployment's rollout is complete.
    pub(super) async fn settled(&self) -> Outcome {
        self.web("it is rolled out", |web| {
            let number = |path: &str| web.pointer(path).and_then(Value::as_i64).unwrap_or(0);
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            number("/status/observedGeneration") == number("/metadata/generation")
                && counts.iter().all(|count| number(&format!("/status/{count}")) == number("/spec/replicas"))
        })
        .await
    }

    pub(super) async fn gate(&self) -> Value {
        self.health().await["status"]["gate"].clone()
    }

    pub(super) async fn health(&self) -> Value {
        let health = self.ns.healths().get_opt("web").await.unwrap();
        health.map(|health| serde_json::to_value(health).unwrap()).unwrap_or_default()
    }

    pub(super) async fn policy_is_ready(&self) -> Outcome {
        self.until("the policy is ready", async || {
            let policy = self.ns.policies().get_opt("web").await.unwrap();
            policy.is_some_and(|policy| condition(&serde_json::to_value(policy).unwrap(), "Ready")["status"] == "True")
        })
        .await
    }

    /// Git brings its manifest.
    pub(super) async fn release(&self, manifest: &Value) {
        self.ns.apply(manifest).await;
    }

    /// A person asks something of the gate, and waits until it is heard.
    pub(super) async fn ask(&self, action: &str) -> Outcome {
        let hash = &self.health().await["status"]["template"]["hash"];
        let id = format!("{action}-1");
        let patch = json!({"spec": {"request": {"action": action, "templateHash": hash, "id": id}}});
        self.ns.healths().patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let is_heard = async || {
            let heard = self.gate().await["appliedRequests"].clone();
            heard.as_array().is_some_and(|heard| heard.contains(&json!(id)))
        };
        self.until(&format!("{action} is heard"), is_heard).await
    }

    /// Pods that wait for it may become ready.
    pub(super) async fn let_ready(&self) {
        let pods = self.ns.pods();
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            let waits = pod.annotations().get(READY_AFTER).is_some_and(|time| time == WAITS);
            if waits {
                let now = json!({"metadata": {"annotations": {READY_AFTER: "0s"}}});
                let _ = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(now)).await;
            }
        }
    }

    /// Pods that crash are made anew.
    pub(super) async fn delete_crashing(&self) {
        let pods = self.ns.pods();
        let crashing = pods.list(&ListParams::default()).await.unwrap();
        for pod in crashing.iter().filter(|pod| pod.annotations().contains_key(FAULT)) {
            let _ = pods.delete(&pod.name_any(), &DeleteParams::default()).await;
        }
    }

    /// Here the state must be that of the undisturbed run, and stay so.
    pub(super) async fn checkpoint(&self) -> Outcome {
        let number = self.reached.lock().unwrap().len();
        let state = match self.expected.get(number) {
            None => {
                self.until("all is written", async || self.proxy.is_quiet_for(QUIET)).await?;
                end_state(&self.ns).await
            }
            Some(expected) => {
                let end = Instant::now() + PATIENCE;
                loop {
                    let state = end_state(&self.ns).await;
                    let differences = differences(expected, &state);
                    if differences.is_empty() && self.proxy.is_quiet_for(STILL) {
                        break state;
                    }
                    if Instant::now() > end {
                        return Err(format!("checkpoint {number}:\n{}\n{}", differences.join("\n"), self.logs()));
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        self.reached.lock().unwrap().push(state);
        Ok(())
    }

    pub(super) fn checkpoints(&self) -> Vec<Value> {
        self.reached.lock().unwrap().clone()
    }

    /// Hundreds of pods that crash on would make the cluster slow. To delete the namespace costs the API server more.
    pub(super) async fn end(self) {
        self.ward.lock().unwrap().kill();
        let _ = self.ns.deployments().delete("web", &DeleteParams::background()).await;
    }

    /// Last words of all operators of this run.
    fn logs(&self) -> String {
        let ward = self.ward.lock().unwrap();
        let words = ward.logs.iter().enumerate().map(|(number, log)| {
            let lines = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = lines.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            format!("--- operator {}:\n{}\n", number + 1, tail.join("\n"))
        });
        words.collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.keeper.abort();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Annotation by which a simulated kubelet knows how a pod fails.
pub(super) const FAULT: &str = "gracekeeper.dev/sim-fault";
/// Annotation by which a simulated kubelet knows when a pod is ready.
pub(super) const READY_AFTER: &str = "gracekeeper.dev/sim-ready-after";
/// Its value for pods that wait until the script lets them: a dead operator misses no step of a rollout.
pub(super) const WAITS: &str = "1h";

/// The operator's process, and the next one when it is dead.
struct Ward {
    namespace: String,
    kubeconfig: PathBuf,
    operator: Option<Child>,
    logs: Vec<PathBuf>,
}

impl Ward {
    fn start(&mut self) {
        let log = scratch(&format!("{}-{}.log", self.namespace, self.logs.len()));
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gracekeeper"))
            .args(["run", "--listen", "127.0.0.1:0", "--log-format", "text", "--log-level", "debug"])
            .args(["--coalesce-seconds", "0", "--namespaces", &self.namespace, "--lease-namespace", &self.namespace])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        self.operator = Some(child.unwrap());
        self.logs.push(log);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.operator.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> String {
        self.logs.last().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default()
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(&self.kubeconfig);
        if std::env::var_os("GRACEKEEPER_KEEP").is_none() {
            self.logs.iter().for_each(|log| drop(std::fs::remove_file(log)));
        }
    }
}

/// SIGKILL, then another process. Its predecessor's lease would have to run out first, as `process.rs` shows: 3 s at
/// least in each of hundreds of runs. The holder is known to be dead, so the lease is taken away.
async fn revive(ward: &Mutex<Ward>, client: &Client, kill: Kill) {
    let namespace = {
        let mut ward = ward.lock().unwrap();
        ward.kill();
        ward.namespace.clone()
    };
    let _ = kill.send(());
    let leases: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &namespace, &resource("coordination.k8s.io", "v1", "Lease", "leases"));
    let _ = leases.delete("gracekeeper", &DeleteParams::default()).await;
    ward.lock().unwrap().start();
}

/// All operators of a scenario are one ServiceAccount; its right to the lease is bound to a namespace.
async fn lend_lease(place: &Place, ns: &TestNamespace) {
    let release = &place.identity.release;
    for (kind, plural) in [("Role", "roles"), ("RoleBinding", "rolebindings")] {
        let resource = resource("rbac.authorization.k8s.io", "v1", kind, plural);
        let of = |name: &str| Api::<DynamicObject>::namespaced_with(ns.client.clone(), name, &resource);
        let mut object = of(&place.home.name).get(release).await.unwrap();
        object.metadata = kube::api::ObjectMeta { name: Some(release.clone()), ..Default::default() };
        of(&ns.name).create(&PostParams::default(), &object).await.unwrap();
    }
}

/// A kubeconfig for the same user that leads through the proxy.
fn through(place: &Place, ns: &TestNamespace, server: &str) -> PathBuf {
    let text = std::fs::read_to_string(&place.identity.kubeconfig).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["clusters"][0]["cluster"] = json!({"server": server});
    let path = scratch(&format!("{}.kubeconfig", ns.name));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}
