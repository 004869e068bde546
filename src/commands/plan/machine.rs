//! Output for programs. `docs/reference/plan-output.md` documents the shape; fields may be added, never changed.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::report::{Report, Workload};

pub(super) fn document(report: &Report) -> Value {
    let summary = report.summary();
    json!({
        "version": 1,
        "deployments": report.workloads.iter().map(workload).collect::<Vec<_>>(),
        "ignoredObjects": report.ignored,
        "summary": {
            "policies": report.policies,
            "deployments": summary.workloads,
            "toChange": summary.to_change,
            "restartPods": summary.restarting,
            "unchanged": summary.workloads - summary.to_change,
            "findings": summary.findings,
            "errors": summary.errors,
            "warnings": summary.warnings,
        },
    })
}

fn workload(workload: &Workload) -> Value {
    let plan = &workload.plan;
    let changes = workload.changes();
    let rollout = plan.rollout;
    json!({
        "namespace": workload.namespace,
        "name": workload.name,
        "policy": workload.policy.as_ref().map(|policy| json!({
            "name": policy.name, "mode": policy.mode, "others": policy.others,
        })),
        "changed": changes,
        "restartsPods": changes && plan.restarts_pods(),
        "changes": plan.changes.iter().filter(|_| changes).map(|change| json!({
            "container": change.container,
            "field": change.field.as_str(),
            "path": change.path,
            "from": change.from,
            "to": change.to,
        })).collect::<Vec<_>>(),
        "findings": plan.findings.iter().map(crate::core::plan::Finding::to_status).collect::<Vec<_>>(),
        "timings": plan.timings,
        "rollout": {
            "replicas": rollout.replicas,
            "podsPerStep": rollout.pods_per_step,
            "stepSeconds": rollout.step_seconds,
            "rolloutSeconds": rollout.rollout_seconds,
        },
        "hash": if changes { json!(plan.hash()) } else { Value::Null },
    })
}

pub(super) fn patches(report: &Report) -> Value {
    let changing = report.workloads.iter().filter(|workload| workload.changes());
    let patch = |workload: &Workload| json!({"namespace": workload.namespace, "name": workload.name, "patch": workload.plan.patch()});
    Value::Array(changing.map(patch).collect())
}

pub(super) fn write_json(document: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{document:#}")
}

pub(super) fn write_yaml(document: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_saphyr::to_string(document).map_err(io::Error::other)?;
    write!(out, "{}", text.trim_end())?;
    writeln!(out)
}
