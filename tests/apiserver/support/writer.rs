//! The tools that write to Deployments besides us, each as its users run it.

use serde_json::{Value, json};

use super::namespace::TestNamespace;
use super::operator::scratch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// `kubectl apply`
    ClientSideApply,
    /// `kubectl apply --server-side`, never forced
    ServerSideApply,
    /// `helm upgrade --install --server-side=false`
    HelmClientSide,
    /// `helm upgrade --install --server-side=true`, the default of Helm 4
    HelmServerSide,
    /// `kubectl replace`: a PUT of the manifest
    Replace,
}

impl Writer {
    /// Writers that merge their manifest with what is there.
    pub(crate) const MERGING: [Self; 4] =
        [Self::ClientSideApply, Self::ServerSideApply, Self::HelmClientSide, Self::HelmServerSide];

    /// Writers by server-side apply.
    pub(crate) const SERVER_SIDE: [Self; 2] = [Self::ServerSideApply, Self::HelmServerSide];

    /// Name of the Deployment that it writes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClientSideApply => "client-side",
            Self::ServerSideApply => "server-side",
            Self::HelmClientSide => "helm-client-side",
            Self::HelmServerSide => "helm-server-side",
            Self::Replace => "replace",
        }
    }

    pub(crate) fn is_server_side(self) -> bool {
        Self::SERVER_SIDE.contains(&self)
    }

    /// Brings the manifest to the cluster; `Err` is what the user is told.
    pub(crate) fn write(self, ns: &TestNamespace, manifest: &Value) -> Result<(), String> {
        let kubectl = |arguments: &[&str]| {
            let arguments = [arguments, &["-n", &ns.name, "-f", "-"]].concat();
            ns.cluster.try_kubectl(&arguments, &manifest.to_string())
        };
        match self {
            Self::ClientSideApply => kubectl(&["apply"]),
            Self::ServerSideApply => kubectl(&["apply", "--server-side"]),
            Self::HelmClientSide => self.helm(ns, manifest, "--server-side=false"),
            Self::HelmServerSide => self.helm(ns, manifest, "--server-side=true"),
            Self::Replace => kubectl(&["replace"]).or_else(|error| {
                if error.contains("NotFound") || error.contains("not found") {
                    kubectl(&["create"])
                } else {
                    Err(error)
                }
            }),
        }
        .map(|_| ())
    }

    /// The same, and it must succeed.
    pub(crate) fn must_write(self, ns: &TestNamespace, manifest: &Value) {
        self.write(ns, manifest).unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    fn helm(self, ns: &TestNamespace, manifest: &Value, mode: &str) -> Result<String, String> {
        let chart = scratch(&format!("{}-{}", ns.name, self.name()));
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        let about = json!({"apiVersion": "v2", "name": self.name(), "version": "0.1.0"});
        std::fs::write(chart.join("Chart.yaml"), about.to_string()).unwrap();
        // JSON is YAML; with line breaks no two braces meet, which would begin a template action.
        std::fs::write(chart.join("templates/deployment.yaml"), format!("{manifest:#}")).unwrap();
        let path = chart.to_str().unwrap();
        let answer = ns.cluster.try_helm(&["upgrade", "--install", self.name(), path, "-n", &ns.name, mode], "");
        std::fs::remove_dir_all(&chart).unwrap();
        answer
    }
}
