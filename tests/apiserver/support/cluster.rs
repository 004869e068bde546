//! The cluster that all tests of one run share.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    /// None on an existing cluster: what counts writes is skipped there, and says so.
    pub(crate) audit_log: Option<PathBuf>,
    /// Processes of our own control plane, by name.
    pub(crate) pids: BTreeMap<String, u32>,
    /// Folder of a node of our own, by which `e2e/node` reaches it.
    #[allow(dead_code)] // tests on a real node use it
    pub(crate) node: Option<PathBuf>,
    /// Folder of kubectl and helm.
    binaries: PathBuf,
    /// What the API server calls itself, once somebody asked.
    version: OnceLock<String>,
    /// The rig ends when its standard input does, however this process ends: nothing is left behind.
    control_plane: Mutex<Option<Child>>,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Cluster {
    pub(crate) fn shared() -> &'static Self {
        CLUSTER.get_or_init(|| {
            let cluster = if std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|v| v == "true") {
                Self::existing()
            } else {
                Self::start(&["--nodes", "4"])
            };
            cluster.install_crds();
            cluster.install_guards();
            cluster
        })
    }

    /// Makes another cluster the shared one, before the first use.
    #[allow(dead_code)] // benchmarks have one of their own shape
    pub(crate) fn share(cluster: Self) {
        cluster.install_crds();
        cluster.install_guards();
        Self::share_bare(cluster);
    }

    /// The same without the CRDs, where the chart brings them.
    #[allow(dead_code)] // tests on a real node do
    pub(crate) fn share_bare(cluster: Self) {
        assert!(CLUSTER.set(cluster).is_ok(), "the shared cluster is in use already");
    }

    /// The shared one, which somebody has made already.
    #[allow(dead_code)] // tests on a real node use it
    pub(crate) fn shared_as_it_is() -> &'static Self {
        CLUSTER.get().expect("a cluster is shared")
    }

    pub(crate) fn install_crds(&self) {
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/"]);
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", "crds/"]);
    }

    /// The guards of policies, as the chart has them; those of an operator come with its identity.
    pub(crate) fn install_guards(&self) {
        let rendered = self.render("gracekeeper", "gracekeeper-system", &["guard-policies"], &[]);
        self.try_kubectl(&["apply", "--server-side", "-f", "-"], &rendered).unwrap();
        // The API server takes them up within a second or two, all at once.
        let spec = json!({"selector": {}, "rollout": {"onFailure": "Revert"}});
        let policy = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
                            "metadata": {"name": "a-guard-refuses-this"}, "spec": spec});
        self.until_refused(&["create", "-n", "default", "-f", "-"], &policy, "gracekeeper-revert");
    }

    /// Lets policies ride along in these namespaces and in no others, with these settings too; `system` is the one of the operator.
    #[allow(dead_code)] // not every suite does
    pub(crate) fn install_ride_along(&self, release: &str, system: &str, namespaces: &[&str], more: &[&str]) {
        let namespaces = format!("namespaces={{{}}}", namespaces.join(","));
        let settings = [&["--set", &namespaces], more].concat();
        let rendered =
            self.render(release, system, &["ride-along", "ride-along-marker", "policy-finalizer"], &settings);
        self.try_kubectl(&["apply", "--server-side", "-f", "-"], &rendered).unwrap();
    }

    /// Tries this as a dry run until the admission policy refuses it.
    pub(crate) fn until_refused(&self, arguments: &[&str], object: &Value, policy: &str) {
        let arguments = [arguments, &["--dry-run=server"]].concat();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.try_kubectl(&arguments, &object.to_string());
            if answer.as_ref().is_err_and(|error| error.contains(&format!("ValidatingAdmissionPolicy '{policy}'"))) {
                return;
            }
            assert!(Instant::now() < deadline, "{policy} does not act: {answer:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// These templates of the chart, as for this API server.
    pub(crate) fn render(&self, release: &str, namespace: &str, templates: &[&str], more: &[&str]) -> String {
        let version = self.version.get_or_init(|| {
            let answer: Value = serde_json::from_str(&self.kubectl(&["version", "-o", "json"])).unwrap();
            answer["serverVersion"]["gitVersion"].as_str().unwrap().to_owned()
        });
        let mut arguments = vec!["template", release, "charts/gracekeeper", "-n", namespace, "--kube-version", version];
        let files: Vec<String> = templates.iter().map(|template| format!("templates/{template}.yaml")).collect();
        arguments.extend(files.iter().flat_map(|file| ["--show-only", file]));
        arguments.extend(["--set", "lease.name=gracekeeper"]);
        arguments.extend(more);
        self.try_helm(&arguments, "").unwrap()
    }

    /// Whether the API server has MutatingAdmissionPolicy v1 (Kubernetes 1.36); says what is left out if not.
    #[allow(dead_code)] // not every suite asks
    pub(crate) fn mutates_by_policy(&self) -> bool {
        let served = self.kubectl(&["get", "--raw", "/apis/admissionregistration.k8s.io/v1"]);
        let is_served = served.contains(r#""MutatingAdmissionPolicy""#);
        if !is_served {
            eprintln!("skipped: this API server has no MutatingAdmissionPolicy v1 (Kubernetes 1.36)");
        }
        is_served
    }

    pub(crate) fn existing() -> Self {
        let kubeconfig = std::env::var_os("KUBECONFIG").expect("USE_EXISTING_CLUSTER needs KUBECONFIG").into();
        Self {
            kubeconfig,
            audit_log: None,
            pids: BTreeMap::new(),
            node: None,
            binaries: binaries(),
            version: OnceLock::new(),
            control_plane: Mutex::default(),
        }
    }

    /// Starts a control plane of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_by("e2e/rig/control-plane", arguments)
    }

    /// Starts a control plane by this script, which says where things are and then `ready`.
    pub(crate) fn start_by(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(root().join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script of the control plane starts");
        let (mut kubeconfig, mut audit_log, mut node, mut ready) = (None, None, None, false);
        let mut pids = BTreeMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            match line.unwrap().split_once('=') {
                Some(("KUBECONFIG", path)) => kubeconfig = Some(PathBuf::from(path)),
                Some(("AUDIT_LOG", path)) => audit_log = Some(PathBuf::from(path)),
                Some(("DIR", path)) => node = Some(PathBuf::from(path)),
                Some(("PIDS", list)) => {
                    let pairs = list.split_whitespace().filter_map(|item| item.split_once(':'));
                    pids.extend(pairs.map(|(name, pid)| (name.to_owned(), pid.parse().unwrap())));
                }
                Some(_) => {}
                None => {
                    ready = true;
                    break;
                }
            }
        }
        assert!(ready, "the control plane did not come up; its words are above");
        Self {
            kubeconfig: kubeconfig.unwrap(),
            audit_log,
            pids,
            node,
            binaries: binaries(),
            version: OnceLock::new(),
            control_plane: Mutex::new(Some(child)),
        }
    }

    /// Ends the rig now, and waits until nothing of it is left.
    #[allow(dead_code)] // tests on a real node do
    pub(crate) fn end(&self) {
        if let Some(mut child) = self.control_plane.lock().unwrap().take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// A client with the rights of an administrator.
    pub(crate) async fn client(&self) -> Client {
        client_of(&self.kubeconfig).await
    }

    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if self.node.is_some() {
            // Whoever ends the tests, and be it by SIGKILL, ends a `helm --wait` as well.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.env("KUBECONFIG", &self.kubeconfig).current_dir(root()).stdin(Stdio::null());
        command
    }

    /// kubectl with these words, to be started by whoever reads it as it speaks.
    #[allow(dead_code)] // tests on a real node use it
    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("kubectl");
        command.args(arguments);
        command
    }

    /// Runs kubectl, which must succeed; answers with what it printed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments, "").unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Runs kubectl with this standard input; `Err` is what it complained of.
    pub(crate) fn try_kubectl(&self, arguments: &[&str], stdin: &str) -> Result<String, String> {
        run(self.command("kubectl").args(arguments), stdin)
    }

    /// Runs helm with this standard input; `Err` is what it complained of.
    pub(crate) fn try_helm(&self, arguments: &[&str], stdin: &str) -> Result<String, String> {
        run(self.command("helm").args(arguments), stdin)
    }
}

fn run(command: &mut Command, stdin: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = input.write_all(text.as_bytes());
    });
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    writer.join().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn binaries() -> PathBuf {
    let output = Command::new(root().join("e2e/rig/build-binaries")).args(["kubectl", "helm"]).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

pub(crate) async fn client_of(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}
