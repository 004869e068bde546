//! The node, the images and the operator that all tests share.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::run::{self, Ending};
use crate::seconds;
use crate::support::cluster::root;
use crate::support::namespace::resource;
use crate::support::waiting::TOO_LATE;
use crate::support::{Cluster, TestNamespace, eventually};

pub(crate) const SYSTEM: &str = "gracekeeper-system";
/// Every test gives these: the chart's defaults, except where a test would only wait.
const VALUES: &[&str] = &["--set", "controller.coalesceSeconds=1"];

pub(crate) struct World {
    pub(crate) cluster: &'static Cluster,
    pub(crate) client: Client,
    installed: OnceCell<()>,
    /// Where the cluster has the image from, when that is not what the chart says.
    image: Vec<String>,
}

impl World {
    /// A node of our own with the images on it, or the cluster in KUBECONFIG, which must have them.
    pub(crate) async fn start() -> Self {
        let cluster = if std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|value| value == "true") {
            clear(); // what an earlier run left
            Cluster::existing()
        } else {
            Cluster::start_by("e2e/node", &["run"])
        };
        Cluster::share_bare(cluster);
        let cluster = Cluster::shared_as_it_is();
        let client = cluster.client().await;
        let world = Self { cluster, client, installed: OnceCell::new(), image: values_of_the_image() };
        if cluster.node.is_some() {
            let images = ["gracekeeper", "shop"].map(|name| image_file(name, "tar"));
            world.node("load", &images.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>());
        }
        world
    }

    pub(crate) fn place(&self) -> &'static str {
        if self.cluster.node.is_some() { "a node of our own" } else { "the cluster in KUBECONFIG" }
    }

    /// A fresh namespace, with the operator installed.
    pub(crate) async fn namespace(&self, topic: &str) -> TestNamespace {
        self.install().await;
        TestNamespace::new(topic).await
    }

    /// Installs the chart as the README says, once.
    pub(crate) async fn install(&self) {
        self.installed
            .get_or_init(|| async {
                // The namespace holds its pods to the restricted standard, as docs/install.md advises.
                let labels = json!({"pod-security.kubernetes.io/enforce": "restricted",
                                    "app.kubernetes.io/managed-by": "gracekeeper-tests"});
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                                       "metadata": {"name": SYSTEM, "labels": labels}});
                self.cluster.try_kubectl(&["create", "-f", "-"], &namespace.to_string()).unwrap();
                self.helm(&["install"], &[]);
            })
            .await;
    }

    /// `helm install` or `helm upgrade` of the chart, and waits as users do.
    pub(crate) fn helm(&self, words: &[&str], values: &[&str]) {
        let place = ["gracekeeper", "charts/gracekeeper", "--namespace", SYSTEM, "--wait", "--timeout", "3m"];
        let image: Vec<&str> = self.image.iter().map(String::as_str).collect();
        let arguments = [words, &place, VALUES, &image, values].concat();
        self.cluster.try_helm(&arguments, "").unwrap_or_else(|error| panic!("helm {arguments:?}: {error}"));
    }

    /// `helm uninstall`; `Err` is what it complained of.
    pub(crate) fn uninstall(&self) -> Result<String, String> {
        self.cluster.try_helm(&["uninstall", "gracekeeper", "--namespace", SYSTEM, "--wait", "--timeout", "5m"], "")
    }

    /// Pods of the operator that are not on their way out.
    pub(crate) async fn operators(&self) -> Vec<Value> {
        let pods: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), SYSTEM, &resource("", "v1", "Pod", "pods"));
        let selector = ListParams::default().labels("app.kubernetes.io/name=gracekeeper");
        let pods = pods.list(&selector).await.unwrap().items.into_iter();
        pods.filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .map(|pod| serde_json::to_value(pod).unwrap())
            .filter(|pod| pod["status"]["phase"] == "Running")
            .collect()
    }

    /// Who holds the Lease: a process, not a pod.
    pub(crate) async fn holder(&self) -> Option<String> {
        let lease = self.lease().await?;
        lease["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
    }

    /// What the Lease says.
    async fn lease(&self) -> Option<Value> {
        let leases: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            SYSTEM,
            &resource("coordination.k8s.io", "v1", "Lease", "leases"),
        );
        Some(leases.get_opt("gracekeeper").await.ok()??.data["spec"].clone())
    }

    /// The pod that leads, and has said so after this moment: a Lease stays as it is when nobody can renew it.
    pub(crate) async fn leader_since(&self, moment: Timestamp) -> Option<Value> {
        let lease = self.lease().await?;
        let renewed: Timestamp = lease["renewTime"].as_str()?.parse().ok()?;
        if renewed > moment { self.leader().await } else { None }
    }

    /// The pod that has led since this moment says itself that no watch is missing; the kubelet may know it later.
    pub(crate) async fn watches_since(&self, moment: Timestamp) -> Option<()> {
        (self.page_of(&self.leader_since(moment).await?, "readyz").await? == "ok\n").then_some(())
    }

    /// What the pod that leads says there.
    pub(crate) async fn page_of_the_leader(&self, page: &str) -> Option<String> {
        self.page_of(&self.leader().await?, page).await
    }

    async fn page_of(&self, operator: &Value, page: &str) -> Option<String> {
        let name = operator["metadata"]["name"].as_str()?;
        let uri = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/{page}");
        let request = http::Request::get(uri).body(Vec::new()).ok()?;
        self.client.request_text(request).await.ok()
    }

    /// The pod that leads.
    async fn leader(&self) -> Option<Value> {
        let holder = self.holder().await?;
        let operators = self.operators().await;
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        operators.into_iter().find(|pod| name(pod).is_some_and(|name| holder.contains(&name)))
    }

    pub(crate) async fn some_leader(&self) -> Value {
        eventually("an operator leads", || self.leader()).await
    }

    /// Everything is over: a node of our own goes, another cluster is left as it was found.
    pub(crate) fn end(&self) {
        if self.cluster.node.is_none() && std::env::var_os("GRACEKEEPER_KEEP").is_none() {
            clear();
        }
        self.cluster.end();
    }

    /// Runs `e2e/node` on the node of our own; answers with what it prints.
    pub(crate) fn node(&self, verb: &str, words: &[&str]) -> String {
        self.try_node(verb, words).unwrap_or_else(|error| panic!("e2e/node {verb} {words:?}: {error}"))
    }

    fn try_node(&self, verb: &str, words: &[&str]) -> Result<String, String> {
        let folder = self.cluster.node.as_ref().expect("a node of our own");
        let output =
            Command::new(root().join("e2e/node")).arg(verb).arg(folder).args(words).output().expect("e2e/node runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Whether processes of the node may be stopped; says so when not.
    pub(crate) fn owns_the_node(&self) -> bool {
        if self.cluster.node.is_none() {
            run::left_out("processes are stopped only on a node of our own");
        }
        self.cluster.node.is_some()
    }

    /// What was measured: told when the test is over, and in the report.
    #[allow(clippy::unused_self)] // it reads like what it is, a word of the test
    pub(crate) fn figure(&self, words: impl Into<String>) {
        run::figure(words.into());
    }

    /// Writes down what a person would look at first.
    pub(crate) fn keep_evidence(&self, test: &str) -> PathBuf {
        let looks: [&[&str]; 5] = [
            &["get", "deployments,replicasets,pods,healthpolicies,workloadhealths", "-A", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
            &["logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=gracekeeper", "--prefix", "--tail=300"],
            &["describe", "pods", "-A"],
            &["get", "healthpolicies,workloadhealths", "-A", "-o", "yaml"],
        ];
        let look = |words: &&[&str]| {
            let answer = self.cluster.try_kubectl(words, "").unwrap_or_else(|error| error);
            format!("$ kubectl {}\n{answer}\n\n", words.join(" "))
        };
        let mut text: String = looks.iter().map(look).collect();
        for folder in self.cluster.node.iter().flat_map(|node| [node.join("logs"), node.join("control-plane/logs")]) {
            for log in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = log.path();
                text.extend(["$ tail ", &path.display().to_string(), "\n", &tail(&path), "\n\n"]);
            }
        }
        if self.cluster.node.is_some() {
            let refusals = self.try_node("refusals", &[]).unwrap_or_else(|error| error);
            text.extend(["$ e2e/node refusals\n", &refusals, "\n\n"]);
        }
        let path = scratch(&format!("{}.txt", test.replace("::", "-")));
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    const LINES: usize = 300;
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// What was measured, by test; and for the stage of `make test` which tests passed only at the second try.
pub(crate) fn write_report(endings: &[Ending]) {
    let mut text = String::from("# What was measured on a real node\n");
    for ending in endings {
        write!(text, "\n## {}\n\n{} ({})\n", ending.name, ending.verdict(), seconds(ending.took)).unwrap();
        list(&mut text, ending);
        if let Some(first) = &ending.first {
            write!(text, "\nThe first try ({}):\n", seconds(first.took)).unwrap();
            list(&mut text, first);
        }
    }
    std::fs::write(scratch("report.md"), text).unwrap();
    let flaky: Vec<&str> = endings.iter().filter(|ending| ending.is_flaky()).map(|ending| ending.name).collect();
    if !flaky.is_empty() {
        std::fs::write(scratch("flaky"), flaky.join(" ") + "\n").unwrap();
    }
}

fn list(text: &mut String, ending: &Ending) {
    let complaints = ending.complaints.iter().map(|complaint| complaint.replace('\n', "\n  "));
    for (n, line) in complaints.chain(ending.figures.iter().cloned()).enumerate() {
        text.extend([if n == 0 { "\n- " } else { "- " }, &line, "\n"]);
    }
}

fn clear() {
    let status = Command::new(root().join("e2e/rig/clear-cluster")).status().expect("e2e/rig/clear-cluster runs");
    assert!(status.success(), "the cluster in KUBECONFIG cannot be cleared; why is said above");
}

/// An image of ours by the name under which the cluster has it.
pub(crate) fn image(name: &str) -> String {
    let registry = variable("GRACEKEEPER_IMAGE_REGISTRY").unwrap_or_else(|| "ghcr.io/gracekeeper".to_owned());
    let tag = variable("GRACEKEEPER_IMAGE_TAG").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    format!("{registry}/{name}:{tag}")
}

fn values_of_the_image() -> Vec<String> {
    let repository = variable("GRACEKEEPER_IMAGE_REGISTRY").map(|registry| ("repository", registry + "/gracekeeper"));
    let tag = variable("GRACEKEEPER_IMAGE_TAG").map(|tag| ("tag", tag));
    let set = [repository, tag].into_iter().flatten();
    set.flat_map(|(key, value)| ["--set-string".to_owned(), format!("image.{key}={value}")]).collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What `e2e/image` made of this image.
pub(crate) fn image_file(name: &str, kind: &str) -> PathBuf {
    let folder = std::env::var_os("GRACEKEEPER_IMAGE_DIR").map_or_else(|| root().join("target/image"), PathBuf::from);
    folder.join(format!("{name}.{kind}"))
}

fn scratch(file: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(file)
}

/// The first time that this answers; looks 20 times a second, for figures.
pub(crate) async fn soon<T, F: Future<Output = Option<T>>>(what: &str, limit: Duration, look: impl Fn() -> F) -> T {
    let watched = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(limit, watched).await.unwrap_or_else(|_| panic!("{TOO_LATE}waited {limit:?} in vain: {what}"))
}
