//! What is checked before the start, so that a missing cluster, CRD or right is named at once and not found in a log
//! line of some watch.

use std::time::Duration;

use http::{Request, header};
use kube::Client;
use serde_json::json;

use super::permissions::{RIGHTS, Right};
use super::writes::{Answer, CallError, Caller};
use super::{fence::Fence, settings::Settings};

/// Why the operator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no cluster to talk to.
    #[error("no cluster: {0}\nhint: set KUBECONFIG, or run inside a cluster")]
    NoCluster(String),
    /// The API server does not accept who we are.
    #[error(
        "the API server does not let us in: {0}\nhint: the token or certificate of the kubeconfig is wrong or expired"
    )]
    NotLetIn(String),
    /// The API server does not know our kinds.
    #[error(
        "the CustomResourceDefinitions of gracekeeper.dev/v1alpha1 are missing: {0}\n\
         hint: helm upgrade --install gracekeeper …, or: gracekeeper crd | kubectl apply --server-side -f -"
    )]
    CrdsMissing(String),
    /// Rights are missing.
    #[error("missing rights of {who}:\n{}\nhint: the chart's ClusterRole and Role have them all", list(.missing))]
    RightsMissing {
        /// The user that we are.
        who: String,
        /// The rights.
        missing: Vec<Right>,
    },
    /// The HTTP address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// The lease is lost: another replica writes now.
    #[error("the lease is lost to {0}; restarting is safe")]
    LeaseLost(String),
}

fn list(missing: &[Right]) -> String {
    let line = |right: &Right| {
        let group = if right.group.is_empty() { "core" } else { right.group };
        let place = if right.own_namespace { " in its own namespace" } else { "" };
        format!("  - {} {} ({group}){place}: to {}", right.verb, right.resource, right.why)
    };
    missing.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Checks the cluster, the CRDs and every right.
pub(crate) async fn check(
    client: &Client,
    settings: &Settings,
    metrics: std::sync::Arc<super::metrics::Metrics>,
) -> Result<(), StartError> {
    let caller = Caller::new(client.clone(), Fence::closed(), settings.call_timeout, metrics);
    let version = get(&caller, "/version").await.map_err(|error| match error {
        CallError::Forbidden(message) => StartError::NotLetIn(message),
        error => StartError::NoCluster(error.to_string()),
    })?;
    let server = version.object["gitVersion"].as_str().unwrap_or("unknown").to_owned();
    tracing::info!(server, "connected to the API server");
    match get(&caller, "/apis/gracekeeper.dev/v1alpha1").await {
        Ok(found) => {
            let resources = found.object["resources"].as_array().cloned().unwrap_or_default();
            for plural in ["healthpolicies", "workloadhealths"] {
                if !resources.iter().any(|r| r["name"] == plural) {
                    return Err(StartError::CrdsMissing(format!("{plural} is not served")));
                }
            }
        }
        Err(CallError::Gone) => return Err(StartError::CrdsMissing("the group is not served".into())),
        Err(error) => return Err(StartError::NoCluster(error.to_string())),
    }
    let mut missing = Vec::new();
    for right in RIGHTS {
        for namespace in places(right, settings) {
            let answer = allowed(&caller, right, namespace, settings).await;
            if !answer.map_err(|error| StartError::NoCluster(error.to_string()))? {
                missing.push(*right);
                break;
            }
        }
    }
    // An older role may lack what came later: less is told then, and everything else works.
    let (optional, missing): (Vec<Right>, Vec<Right>) = missing.into_iter().partition(|right| right.optional);
    if !optional.is_empty() {
        let rights = list(&optional);
        tracing::warn!("the operator goes on without these rights, which the chart's ClusterRole has:\n{rights}");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let who = whoami(&caller).await.unwrap_or_else(|_| "this user".into());
    Err(StartError::RightsMissing { who, missing })
}

async fn get(caller: &Caller, path: &str) -> Result<Answer, CallError> {
    let request = Request::get(path).body(Vec::new()).map_err(|error| CallError::Transport(error.to_string()))?;
    caller.read(request).await
}

async fn review(caller: &Caller, group: &str, kind: &str, spec: serde_json::Value) -> Result<Answer, CallError> {
    let plural = format!("{}s", kind.to_lowercase());
    let body = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec});
    let request = Request::post(format!("/apis/{group}/v1/{plural}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|error| CallError::Transport(error.to_string()))?;
    caller.unfenced("review", request, Duration::from_secs(10)).await
}

/// Where a right is needed; `None` means everywhere, or that it is of no namespace.
fn places<'a>(right: &Right, settings: &'a Settings) -> Vec<Option<&'a str>> {
    if right.ride_along {
        settings.ride_along_policy.iter().map(|_| None).collect()
    } else if right.own_namespace {
        vec![Some(&settings.lease_namespace)]
    } else if settings.namespaces.is_empty() {
        vec![None]
    } else {
        settings.namespaces.iter().map(|namespace| Some(namespace.as_str())).collect()
    }
}

async fn allowed(
    caller: &Caller,
    right: &Right,
    namespace: Option<&str>,
    settings: &Settings,
) -> Result<bool, CallError> {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let mut attributes = json!({
        "group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb,
    });
    if let Some(namespace) = namespace {
        attributes["namespace"] = namespace.into();
    }
    if right.own_namespace && right.verb != "create" {
        attributes["name"] = settings.lease_name.clone().into();
    }
    if let Some(name) = settings.ride_along_policy.as_deref().filter(|_| right.ride_along) {
        attributes["name"] = name.into();
    }
    let spec = json!({"resourceAttributes": attributes});
    let answer = review(caller, "authorization.k8s.io", "SelfSubjectAccessReview", spec).await?;
    Ok(answer.object.pointer("/status/allowed").and_then(serde_json::Value::as_bool).unwrap_or(false))
}

async fn whoami(caller: &Caller) -> Result<String, CallError> {
    let answer = review(caller, "authentication.k8s.io", "SelfSubjectReview", json!({})).await?;
    let name = answer.object.pointer("/status/userInfo/username").and_then(serde_json::Value::as_str);
    Ok(name.unwrap_or("this user").to_owned())
}
