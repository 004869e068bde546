//! Reads what the screen shows.

use serde_json::Value;

use super::super::connection::{Connection, Kind};
use super::screen::{Compliance, Mark, PodRow, Policy, Replicas, RevisionRow, Screen};
use crate::api::workload_health::FindingStatus;
use crate::api::{HealthPolicySpec, WorkloadHealthStatus};
use crate::controller::clock;
use crate::core::canonical;
use crate::core::plan::Reason;
use crate::core::rollout::Revision;

/// Reads the screen of one Deployment.
pub(super) async fn screen(cluster: &Connection, name: &str) -> anyhow::Result<Screen> {
    let (deployment, health) =
        futures::try_join!(cluster.get(Kind::Deployment, name), cluster.get(Kind::WorkloadHealth, name))?;
    let Some(deployment) = deployment else {
        anyhow::bail!("there is no Deployment {name} in namespace {}", cluster.namespace)
    };
    let labels = selector(&deployment);
    let (sets, pods) = futures::try_join!(cluster.list(Kind::ReplicaSet, &labels), cluster.list(Kind::Pod, &labels))?;
    let status = health.as_ref().and_then(|health| health.get("status")).cloned();
    let status: WorkloadHealthStatus = status.map(serde_json::from_value).transpose()?.unwrap_or_default();
    let policy = policy(cluster, &status).await?;
    let request = health.as_ref().and_then(|health| health.pointer("/spec/request")).cloned();
    let request = request.map(serde_json::from_value).transpose()?;

    let number = |path: &str| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let stable = status.gate.as_ref().and_then(|gate| gate.stable.as_ref());
    let revisions =
        revisions(&deployment, &sets, stable.map(|stable| stable.replica_set_uid.as_str()).unwrap_or_default());
    let compliant = status.conditions.iter().find(|condition| condition.type_ == "Compliant");
    let findings = status
        .plan
        .as_ref()
        .map_or(0, |plan| plan.findings.len().saturating_add(usize::try_from(plan.findings_not_listed).unwrap_or(0)));
    Ok(Screen {
        namespace: cluster.namespace.clone(),
        name: name.into(),
        now: clock::now(),
        replicas: Replicas {
            wanted: deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            updated: number("/status/updatedReplicas"),
            ready: number("/status/readyReplicas"),
            available: number("/status/availableReplicas"),
        },
        paused: deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true),
        template_hash: canonical::template_hash(&deployment),
        policy,
        compliant: compliant.map(|condition| Compliance {
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }),
        findings,
        shutdown_findings: status.plan.iter().flat_map(|plan| &plan.findings).filter_map(about_shutdown).collect(),
        shutdown: status.shutdown,
        pods: pod_rows(&revisions, &pods),
        revisions: revisions.into_iter().map(|(_, row)| row).collect(),
        request,
        gate: status.gate,
    })
}

/// What a finding says, when it is one that follows from how pods went.
fn about_shutdown(finding: &FindingStatus) -> Option<String> {
    const REASONS: [Reason; 3] = [Reason::DrainBelowObserved, Reason::FinishBelowObserved, Reason::SigtermIgnored];
    let is_one = REASONS.iter().any(|reason| reason.as_str() == finding.reason);
    is_one.then(|| format!("{}: {}", finding.reason, finding.message))
}

async fn policy(cluster: &Connection, status: &WorkloadHealthStatus) -> anyhow::Result<Option<Policy>> {
    let Some(known) = &status.policy else { return Ok(None) };
    let object = cluster.get(Kind::HealthPolicy, &known.name).await?;
    let spec = object.and_then(|object| object.get("spec").cloned());
    let spec: Option<HealthPolicySpec> = spec.and_then(|spec| serde_json::from_value(spec).ok());
    let rollout = spec.as_ref().and_then(|spec| spec.rollout.as_ref());
    Ok(Some(Policy {
        name: known.name.clone(),
        mode: spec.as_ref().map_or(known.mode, |spec| spec.mode),
        steps: rollout.map(|rollout| rollout.steps.clone()).unwrap_or_default(),
        bake_after_seconds: rollout.map_or(0, |rollout| rollout.bake_after_seconds),
    }))
}

/// ReplicaSets that the Deployment's uid controls, each with its uid: the current one first, then the newer ones.
fn revisions(deployment: &Value, sets: &[Value], stable_uid: &str) -> Vec<(String, RevisionRow)> {
    let uid = deployment.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let hash = canonical::template_hash(deployment);
    let mut revisions: Vec<Revision> =
        sets.iter().filter(|set| controller(set) == Some(uid)).map(Revision::read).collect();
    revisions.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| b.name.cmp(&a.name)));
    // Of several equal ones the Deployment controller takes the oldest.
    let current = revisions.iter().rposition(|revision| revision.version.template_hash == hash);
    let rows = revisions.iter().enumerate().map(|(index, revision)| {
        let mark = match (current == Some(index), *revision.uid == *stable_uid) {
            (true, true) => Mark::StableAndCurrent,
            (true, false) => Mark::Current,
            (false, true) => Mark::Stable,
            (false, false) => Mark::Old,
        };
        let row = RevisionRow {
            name: revision.name.to_string(),
            mark,
            replicas: revision.replicas,
            ready: revision.ready,
            available: revision.available,
        };
        (revision.uid.to_string(), row)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(_, row)| row.mark);
    rows
}

/// Pods in the order of their revisions.
fn pod_rows(revisions: &[(String, RevisionRow)], pods: &[Value]) -> Vec<PodRow> {
    let place = |pod: &Value| revisions.iter().position(|(uid, _)| controller(pod) == Some(uid.as_str()));
    let mut rows: Vec<(usize, PodRow)> = pods
        .iter()
        .filter_map(|pod| {
            let place = place(pod)?;
            let revision = revisions.get(place).map(|(_, row)| row.name.clone())?;
            Some((place, pod_row(pod, revision)))
        })
        .collect();
    rows.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn pod_row(pod: &Value, revision: String) -> PodRow {
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let statuses = list("/status/containerStatuses");
    let all = list("/status/initContainerStatuses").iter().chain(statuses);
    let restarts = all.clone().filter_map(|status| status["restartCount"].as_i64()).sum();
    let (state, message) = pod_state(pod, &all.collect::<Vec<_>>());
    PodRow {
        name: text(pod, "/metadata/name").into(),
        revision,
        ready_containers: statuses.iter().filter(|status| status["ready"] == true).count(),
        containers: list("/spec/containers").len(),
        restarts,
        state,
        message,
    }
}

/// One word and the pod's own message: what `kubectl get pods` shows as STATUS, in short.
fn pod_state(pod: &Value, statuses: &[&Value]) -> (String, String) {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return ("Terminating".into(), String::new());
    }
    for status in statuses {
        for state in ["waiting", "terminated"] {
            let Some(found) = status["state"].get(state) else { continue };
            let reason = found["reason"].as_str().unwrap_or(state);
            if !["Completed", "ContainerCreating", "PodInitializing"].contains(&reason) {
                let message = found["message"].as_str().unwrap_or_default();
                return (reason.into(), message.into());
            }
        }
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let false_one = |type_: &str| {
        conditions.into_iter().flatten().find(|condition| condition["type"] == type_ && condition["status"] == "False")
    };
    let message = |condition: &Value| condition["message"].as_str().unwrap_or_default().to_owned();
    if let Some(condition) = false_one("PodScheduled") {
        return (condition["reason"].as_str().unwrap_or("Unschedulable").into(), message(condition));
    }
    let phase = match text(pod, "/status/reason") {
        "" => text(pod, "/status/phase"),
        reason => reason,
    };
    let why = false_one("Ready").map(message).unwrap_or_default();
    (phase.into(), why)
}

fn controller(object: &Value) -> Option<&str> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The Deployment's selector, as a query.
fn selector(deployment: &Value) -> String {
    let labels = deployment.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let mut parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = deployment.pointer("/spec/selector/matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.into(),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_becomes_a_query() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "NotIn", "values": ["c"]},
            {"key": "y", "operator": "Exists"}, {"key": "z", "operator": "DoesNotExist"}]}}});
        assert_eq!(selector(&deployment), "app=web,tier in (a,b),x notin (c),y,!z");
    }

    #[test]
    fn a_pod_says_what_is_wrong_with_it() {
        let waiting = json!({"metadata": {"name": "p"}, "spec": {"containers": [{}]}, "status": {"phase": "Running",
            "containerStatuses": [{"restartCount": 2, "ready": false,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}}]}});
        let row = pod_row(&waiting, "r".into());
        assert_eq!((row.state.as_str(), row.message.as_str(), row.restarts), ("CrashLoopBackOff", "back-off 10s", 2));
        let pending = json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/4 nodes"}]}});
        assert_eq!(pod_row(&pending, "r".into()).state, "Unschedulable");
    }
}
