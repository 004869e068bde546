//! Reads what the report is made of.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::super::connection::{Connection, Kind, Selection};
use super::ReportArgs;
use crate::cli::LeaseArgs;
use crate::core::report::{Subject, Vigil};

/// Calls at the same time.
const AT_ONCE: usize = 8;

/// The workloads that were asked for.
pub(super) async fn subjects(cluster: &Connection, args: &ReportArgs) -> anyhow::Result<Vec<Subject>> {
    if !args.workloads.is_empty() {
        // The same name twice is one workload.
        let names: BTreeSet<&str> = args.workloads.iter().map(|workload| workload.0.as_str()).collect();
        return stream::iter(names).map(|name| named(cluster, name)).buffered(AT_ONCE).try_collect().await;
    }
    let fields = args.policy.as_ref().map(|policy| format!("status.policy.name={policy}"));
    let selection = Selection { everywhere: args.all_namespaces, fields: fields.as_deref(), labels: None };
    let chosen = match &args.selector {
        None => None,
        Some(labels) => {
            let selection = Selection { everywhere: args.all_namespaces, labels: Some(labels), fields: None };
            Some(cluster.names(Kind::Deployment, &selection).await?)
        }
    };
    let take = |health: Value| {
        let subject = subject(&health);
        let is_chosen =
            chosen.as_ref().is_none_or(|names| names.contains(&(subject.namespace.clone(), subject.name.clone())));
        is_chosen.then_some(subject)
    };
    cluster.each(Kind::WorkloadHealth, &selection, take).await
}

async fn named(cluster: &Connection, name: &str) -> anyhow::Result<Subject> {
    match cluster.get(Kind::WorkloadHealth, name).await? {
        Some(health) => Ok(subject(&health)),
        None => anyhow::bail!(
            "deploy/{name} in namespace {} is not governed: it has no WorkloadHealth, so no HealthPolicy selects it or \
             the operator does not run",
            cluster.namespace
        ),
    }
}

/// When operators watched, as far as their Lease can be read.
pub(super) async fn vigil(cluster: &Connection, lease: &LeaseArgs, now: i64) -> Vigil {
    let (namespace, name) = (&lease.lease_namespace, &lease.lease_name);
    match cluster.get_in(namespace, Kind::Lease, name).await {
        Ok(Some(lease)) => Vigil::of_lease(&lease, now),
        Ok(None) => Vigil::Untold(format!(
            "there is no Lease {name} in namespace {namespace} (--lease-namespace and --lease-name name the operator's)"
        )),
        Err(error) => Vigil::Untold(format!("{error:#}")),
    }
}

/// Part by part: what a newer operator wrote into one of them does not cost the others.
fn subject(health: &Value) -> Subject {
    let text = |path: &str| health.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let part = |path: &str| health.pointer(path).filter(|part| !part.is_null()).cloned();
    let availability = part("/status/availability").map(|part| {
        serde_json::from_value(part).map_err(|error| format!("its status.availability is not understood: {error}"))
    });
    Subject {
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
        policy: text("/status/policy/name"),
        availability,
        gate: part("/status/gate").and_then(|part| serde_json::from_value(part).ok()),
    }
}
