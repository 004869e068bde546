//! The operator as a process, under the ServiceAccount and the roles that the chart renders.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::audit::Audit;
use super::cluster::Cluster;
use super::namespace::TestNamespace;
use super::waiting::eventually;

pub(crate) struct Operator {
    child: Child,
    pub(crate) log: PathBuf,
    address: String,
    /// Name of the ServiceAccount as a user.
    pub(crate) user: String,
    release: String,
    cluster: &'static Cluster,
    /// Refusals for want of a right are the test's doing.
    denials_expected: Cell<bool>,
}

/// The rights of an operator in a test's namespace, made from the chart.
pub(crate) struct Identity {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) user: String,
    pub(crate) release: String,
}

impl Identity {
    pub(crate) fn install(namespace: &TestNamespace) -> Self {
        let cluster = namespace.cluster;
        // The release's name makes the names of cluster-wide objects unique; it must not contain the chart's name.
        let release = format!("{}-gracekeeper", namespace.name);
        let name = &namespace.name;
        let rendered = cluster.render(&release, name, &["rbac", "serviceaccount", "guard-operator"], &[]);
        cluster.try_kubectl(&["apply", "--server-side", "-n", name, "-f", "-"], &rendered).unwrap();
        let user = format!("system:serviceaccount:{name}:{release}");
        // From its first request on. The group is for a right that the operator has not: a guard is asked last.
        let policy = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
                            "metadata": {"name": "not-by-the-operator"}, "spec": {"selector": {}}});
        let create = ["create", "-n", name, "-f", "-", "--as", &user, "--as-group=system:masters"];
        cluster.until_refused(&create, &policy, &format!("{release}-operator-policies"));
        let token = cluster.kubectl(&["create", "token", &release, "-n", name, "--duration=8h"]);
        let view = cluster.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&view).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let kubeconfig = scratch(&format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { kubeconfig, user, release }
    }
}

pub(crate) fn scratch(file: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apiserver");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(file)
}

impl Operator {
    /// Starts an operator for this namespace and waits until it is ready.
    pub(crate) async fn start(namespace: &TestNamespace) -> Self {
        Self::start_with(namespace, &[]).await
    }

    pub(crate) async fn start_with(namespace: &TestNamespace, flags: &[&str]) -> Self {
        let identity = Identity::install(namespace);
        let operator = Self::spawn(namespace, &identity, flags);
        operator.ready().await;
        operator
    }

    /// Starts the process for the test's own namespace and does not wait.
    pub(crate) fn spawn(namespace: &TestNamespace, identity: &Identity, flags: &[&str]) -> Self {
        let own = ["--namespaces", &namespace.name, "--lease-namespace", &namespace.name];
        Self::spawn_plain(namespace, identity, &[&own, flags].concat())
    }

    /// Starts the process with these flags and does not wait.
    pub(crate) fn spawn_plain(namespace: &TestNamespace, identity: &Identity, flags: &[&str]) -> Self {
        Self::spawn_with(namespace, identity, flags, &[])
    }

    /// Starts the process for the test's own namespace, in this environment, and does not wait.
    #[cfg(feature = "otlp")]
    pub(crate) fn spawn_in(namespace: &TestNamespace, identity: &Identity, environment: &[(&str, &str)]) -> Self {
        let own = ["--namespaces", &namespace.name, "--lease-namespace", &namespace.name];
        Self::spawn_with(namespace, identity, &own, environment)
    }

    fn spawn_with(
        namespace: &TestNamespace,
        identity: &Identity,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = scratch(&format!("{}-{port}.log", namespace.name));
        let file = File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gracekeeper"))
            .args(["run", "--listen", &address, "--log-format", "text", "--log-level", "debug"])
            .args(["--coalesce-seconds", "0", "--identity", &format!("op-{port}")])
            .args(["--ride-along-policy", &format!("{}-ride-along", identity.release)])
            .args(flags)
            .env("KUBECONFIG", &identity.kubeconfig)
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let (user, release) = (identity.user.clone(), identity.release.clone());
        let cluster = namespace.cluster;
        Self { child, log, address, user, release, cluster, denials_expected: Cell::new(false) }
    }

    pub(crate) async fn ready(&self) {
        eventually("the operator is ready", || async { (self.get("/readyz").await? == "ok\n").then_some(()) }).await;
    }

    /// Body of one of the operator's own pages; `None` when it does not answer.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    pub(crate) fn audit(&self) -> Audit {
        Audit::of(self.cluster, &self.user)
    }

    /// The test has taken rights away, or the API server while it starts.
    pub(crate) fn expect_denials(&self) {
        self.denials_expected.set(true);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit code, when the process has ended.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits until the process has ended; answers with its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the operator did not end")
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log_text();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.iter().skip(lines.len().saturating_sub(40));
            eprintln!("--- the operator's last words ({}):", self.log.display());
            tail.for_each(|line| eprintln!("{line}"));
            return;
        }
        let _ = std::fs::remove_file(&self.log);
        let cluster = self.cluster;
        if cluster.audit_log.is_none() {
            forget_release(cluster, &self.release);
            return;
        }
        // Nothing that the operator asks for may be refused for want of a right, or by the guard that binds it.
        let guard = format!("ValidatingAdmissionPolicy '{}-operator-", self.release);
        for entry in self.audit().entries().unwrap_or_default() {
            let for_want_of_a_right = entry.code == 403 && entry.message.contains(" cannot ");
            let refused = for_want_of_a_right || entry.message.contains(&guard);
            assert!(!refused || self.denials_expected.get(), "a right is missing: {entry:?}");
        }
    }
}

/// Removes what an identity has outside its namespace: an existing cluster is left as it was found.
pub(crate) fn forget_release(cluster: &Cluster, release: &str) {
    let delete = |kind: &str, name: &str| {
        let _ = cluster.try_kubectl(&["delete", kind, name, "--ignore-not-found"], "");
    };
    for kind in ["clusterrole", "clusterrolebinding"] {
        delete(kind, release);
    }
    for guarded in ["deployments", "replicasets", "policies"] {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            delete(kind, &format!("{release}-operator-{guarded}"));
        }
    }
}
