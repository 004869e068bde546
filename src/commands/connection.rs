//! The way of the commands for people to the cluster: kubeconfig, one deadline for each call, errors that say what to do.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use http::Uri;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::KubeConfigOptions;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config, ResourceExt};
use serde_json::Value;

/// Field manager of what people ask for.
const FIELD_MANAGER: &str = "gracekeeper-cli";
/// Deadline of every call.
const DEADLINE: Duration = Duration::from_secs(10);

/// Objects of one answer to a list: of the largest ones a few megabytes.
const PAGE: u32 = 250;

/// Which Deployment, and where.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// The Deployment: deploy/NAME, or its name alone.
    #[arg(value_name = "deploy/NAME")]
    pub workload: WorkloadName,
    /// Namespace; that of the kubeconfig's context by default.
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; the current one by default.
    #[arg(long)]
    pub context: Option<String>,
}

/// Name of a Deployment, as people type it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadName(pub String);

impl FromStr for WorkloadName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text.split_once('/') {
            None => text,
            Some(("deploy" | "deployment" | "deployments" | "deployment.apps" | "deployments.apps", name)) => name,
            Some((kind, _)) => return Err(format!("{kind:?} is no kind that is gated: only Deployments are")),
        };
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.is_empty() || name.len() > 253 || !name.chars().all(is_allowed) {
            return Err(format!("{name:?} is no name of a Deployment"));
        }
        Ok(Self(name.into()))
    }
}

/// What is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    WorkloadHealth,
    HealthPolicy,
    Deployment,
    ReplicaSet,
    Pod,
    Lease,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::WorkloadHealth => "workloadhealths",
            Self::HealthPolicy => "healthpolicies",
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::Pod => "pods",
            Self::Lease => "leases",
        }
    }

    fn resource(self) -> ApiResource {
        let (group, version) = match self {
            Self::WorkloadHealth | Self::HealthPolicy => (crate::api::GROUP, "v1alpha1"),
            Self::Deployment | Self::ReplicaSet => ("apps", "v1"),
            Self::Pod => ("", "v1"),
            Self::Lease => ("coordination.k8s.io", "v1"),
        };
        let gvk = GroupVersionKind::gvk(group, version, &format!("{self:?}"));
        ApiResource::from_gvk_with_plural(&gvk, self.plural())
    }
}

/// Which objects are listed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection<'a> {
    /// In all namespaces.
    pub(super) everywhere: bool,
    pub(super) labels: Option<&'a str>,
    pub(super) fields: Option<&'a str>,
}

impl Selection<'_> {
    fn parameters(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.map(str::to_owned),
            limit: Some(PAGE),
            ..ListParams::default()
        }
    }
}

/// A cluster and a namespace.
pub(super) struct Connection {
    client: Client,
    server: Uri,
    pub(super) namespace: String,
}

impl Connection {
    /// The cluster of this context of the kubeconfig, or of the current one; the same for the namespace.
    pub(super) async fn open(context: Option<&str>, namespace: Option<&str>) -> anyhow::Result<Self> {
        let config = match context {
            None => Config::infer().await.map_err(|error| no_cluster(&error))?,
            Some(context) => {
                let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
                Config::from_kubeconfig(&options).await.map_err(|error| no_cluster(&error))?
            }
        };
        let mut config = config;
        config.default_retry = false;
        config.connect_timeout = Some(DEADLINE);
        config.read_timeout = Some(DEADLINE);
        let server = config.cluster_url.clone();
        let namespace = namespace.map_or_else(|| config.default_namespace.clone(), str::to_owned);
        let client = Client::try_from(config).map_err(|error| no_cluster(&error))?;
        Ok(Self { client, server, namespace })
    }

    /// The object; `None` when there is none.
    pub(super) async fn get(&self, kind: Kind, name: &str) -> anyhow::Result<Option<Value>> {
        self.get_in(&self.namespace, kind, name).await
    }

    /// The same in another namespace.
    pub(super) async fn get_in(&self, namespace: &str, kind: Kind, name: &str) -> anyhow::Result<Option<Value>> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let found = self.within("get", kind, Some(namespace), api.get_opt(name)).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// The objects with these labels.
    pub(super) async fn list(&self, kind: Kind, labels: &str) -> anyhow::Result<Vec<Value>> {
        let api = self.api(kind);
        let listed =
            self.within("list", kind, Some(&self.namespace), api.list(&ListParams::default().labels(labels))).await?;
        Ok(listed.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    /// All objects that the selection names, page by page, each turned at once into what is needed of it.
    pub(super) async fn each<T>(
        &self,
        kind: Kind,
        selection: &Selection<'_>,
        mut take: impl FnMut(Value) -> Option<T>,
    ) -> anyhow::Result<Vec<T>> {
        let api = self.api_of(kind, selection);
        let mut taken = Vec::new();
        let mut parameters = selection.parameters();
        loop {
            let listed = self.within("list", kind, self.scope(selection), api.list(&parameters)).await?;
            for object in listed.items {
                taken.extend(take(serde_json::to_value(object)?));
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(taken),
            }
        }
    }

    /// Namespaces and names of the objects that the selection names, without the objects.
    pub(super) async fn names(
        &self,
        kind: Kind,
        selection: &Selection<'_>,
    ) -> anyhow::Result<BTreeSet<(String, String)>> {
        let api = self.api_of(kind, selection);
        let mut names = BTreeSet::new();
        let mut parameters = selection.parameters();
        loop {
            let listed = self.within("list", kind, self.scope(selection), api.list_metadata(&parameters)).await?;
            names.extend(
                listed.items.into_iter().map(|object| (object.namespace().unwrap_or_default(), object.name_any())),
            );
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(names),
            }
        }
    }

    fn api_of(&self, kind: Kind, selection: &Selection<'_>) -> Api<DynamicObject> {
        if selection.everywhere { Api::all_with(self.client.clone(), &kind.resource()) } else { self.api(kind) }
    }

    fn scope(&self, selection: &Selection<'_>) -> Option<&str> {
        (!selection.everywhere).then_some(&*self.namespace)
    }

    /// Whether the cluster has this kind at all.
    pub(super) async fn serves(&self, kind: Kind) -> anyhow::Result<bool> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
        let look = async {
            match api.list_metadata(&ListParams::default().limit(1)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
                // Rights in some namespaces only: whoever is refused is told so by what follows.
                Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
                answer => answer.map(|_| true),
            }
        };
        self.within("list", kind, None, look).await
    }

    /// Deletes the object; one that is gone already is no error.
    pub(super) async fn delete_in(&self, namespace: &str, kind: Kind, name: &str) -> anyhow::Result<()> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let delete = async {
            match api.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                answer => answer.map(|_| ()),
            }
        };
        self.within("delete", kind, Some(namespace), delete).await
    }

    /// Whether there is such a namespace; one that may not be looked at is taken to be there.
    pub(super) async fn has_namespace(&self, name: &str) -> anyhow::Result<bool> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match tokio::time::timeout(DEADLINE, api.get_metadata_opt(name)).await {
            Ok(Ok(found)) => Ok(found.is_some()),
            Ok(Err(kube::Error::Api(_))) => Ok(true),
            Ok(Err(error)) => Err(anyhow::anyhow!("no cluster at {}: {}", self.server, chain(&error))),
            Err(_) => anyhow::bail!("no answer from {} within {} s: get namespaces", self.server, DEADLINE.as_secs()),
        }
    }

    /// Changes the object by a JSON merge patch.
    pub(super) async fn merge(&self, kind: Kind, name: &str, patch: &Value) -> anyhow::Result<()> {
        let api = self.api(kind);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        self.within("patch", kind, Some(&self.namespace), api.patch(name, &parameters, &Patch::Merge(patch))).await?;
        Ok(())
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    async fn within<T>(
        &self,
        verb: &str,
        kind: Kind,
        namespace: Option<&str>,
        call: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<T> {
        let plural = kind.plural();
        let place = namespace.map_or_else(|| "all namespaces".into(), |name| format!("namespace {name}"));
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => anyhow::bail!("no answer from {} within {} s: {verb} {plural}", self.server, DEADLINE.as_secs()),
            Ok(Err(kube::Error::Api(status))) => Err(match status.code {
                403 => anyhow::anyhow!(
                    "not allowed to {verb} {plural} in {place}; the API server says: {}",
                    status.message
                ),
                401 => anyhow::anyhow!("{} does not know who asks: log in, or check the kubeconfig", self.server),
                404 => anyhow::anyhow!("{} knows no {plural}: is Gracekeeper installed there?", self.server),
                _ => anyhow::anyhow!("{verb} {plural}: {}", status.message),
            }),
            Ok(Err(error)) => Err(anyhow::anyhow!("no cluster at {}: {}", self.server, chain(&error))),
        }
    }
}

fn no_cluster(error: &dyn std::error::Error) -> anyhow::Error {
    anyhow::anyhow!("no cluster: {}", chain(error))
}

/// The error and what it came from; what repeats the one before is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// A runtime for one command: it waits for answers and does nothing else.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_as_in_kubectl() {
        for text in ["web", "deploy/web", "deployment/web", "deployments/web", "deployment.apps/web"] {
            assert_eq!(text.parse(), Ok(WorkloadName("web".into())), "{text}");
        }
        for (text, complaint) in
            [("sts/db", "only Deployments"), ("deploy/", "no name"), ("deploy/a/b", "no name"), ("Web", "no name")]
        {
            assert!(WorkloadName::from_str(text).unwrap_err().contains(complaint), "{text}");
        }
    }
}
