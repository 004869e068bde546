//! Builders, a model of the API server's defaulting, and the laws that every plan keeps.

use serde_json::{Map, Value, json};

use crate::api::HealthPolicySpec;
use crate::api::workload_health::HeldField;
use crate::core::plan::{Field, Input, Plan, Surroundings, plan};

pub(super) fn policy(yaml: &str) -> HealthPolicySpec {
    let text = format!("selector: {{}}\n{yaml}");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) fn plan_for(policy: Option<&HealthPolicySpec>, deployment: &Value, held: &[HeldField]) -> Plan {
    plan(&Input { policy, deployment, held, surroundings: &Surroundings::default() })
}

pub(super) fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.findings.iter().map(|finding| finding.reason.as_str()).collect()
}

/// A Deployment with this pod spec.
pub(super) fn deployment(spec: &str) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "template": {"spec": yaml(spec)}}})
}

/// What the API server stores, as far as it concerns the fields that a policy can set.
pub(super) fn server_defaults(deployment: &Value) -> Value {
    let mut stored = deployment.clone();
    if let Some(spec) = stored.get_mut("spec").and_then(Value::as_object_mut) {
        if spec.get("minReadySeconds").is_some_and(|seconds| *seconds == json!(0)) {
            spec.remove("minReadySeconds");
        }
        spec.entry("progressDeadlineSeconds").or_insert(json!(600));
    }
    if let Some(pod) = stored.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
        pod.entry("terminationGracePeriodSeconds").or_insert(json!(30));
        for list in ["containers", "initContainers"] {
            for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                    if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
                        default_probe(probe);
                    }
                }
                if let Some(hook) = container.pointer_mut("/lifecycle/preStop").and_then(Value::as_object_mut) {
                    default_handler(hook);
                }
            }
        }
    }
    without_empty_annotations(stored)
}

fn default_probe(probe: &mut Map<String, Value>) {
    for (key, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        let value = probe.entry(key).or_insert(json!(default));
        if *value == json!(0) {
            *value = json!(default);
        }
    }
    if probe.get("initialDelaySeconds") == Some(&json!(0)) {
        probe.remove("initialDelaySeconds");
    }
    default_handler(probe);
}

fn default_handler(map: &mut Map<String, Value>) {
    if let Some(get) = map.get_mut("httpGet").and_then(Value::as_object_mut) {
        get.entry("path").or_insert(json!("/"));
        get.entry("scheme").or_insert(json!("HTTP"));
    }
    if let Some(grpc) = map.get_mut("grpc").and_then(Value::as_object_mut) {
        grpc.entry("service").or_insert(json!(""));
    }
}

pub(super) fn without_empty_annotations(mut deployment: Value) -> Value {
    if let Some(metadata) = deployment.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("annotations").is_some_and(|annotations| *annotations == json!({}))
    {
        metadata.remove("annotations");
    }
    deployment
}

/// The Deployment without all that a plan may write.
pub(super) fn foreign_part(deployment: &Value) -> Value {
    let mut rest = deployment.clone();
    let drop = |value: Option<&mut Value>, key: &str| {
        value.and_then(Value::as_object_mut).map(|map| map.remove(key));
    };
    drop(rest.pointer_mut("/metadata/annotations"), "gracekeeper.dev/filled");
    for field in Field::OF_WORKLOAD {
        let path = match field {
            Field::TerminationGracePeriodSeconds => "/spec/template/spec",
            _ => "/spec",
        };
        drop(rest.pointer_mut(path), field.as_str());
    }
    for list in ["containers", "initContainers"] {
        let containers = rest.pointer_mut(&format!("/spec/template/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for field in Field::PROBES {
                drop(Some(container), field.as_str());
            }
            drop(container.get_mut("lifecycle"), "preStop");
            if container.get("lifecycle").is_some_and(|lifecycle| *lifecycle == json!({})) {
                drop(Some(container), "lifecycle");
            }
        }
    }
    without_empty_annotations(rest)
}

pub(super) fn grace(deployment: &Value) -> i64 {
    deployment.pointer("/spec/template/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30)
}

fn containers(deployment: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|list| {
        deployment.pointer(&format!("/spec/template/spec/{list}")).and_then(Value::as_array).into_iter().flatten()
    })
}

/// What an API server would refuse of the fields that a plan may write.
pub(super) fn refused(deployment: &Value) -> Option<String> {
    let number = |path: &str, default: i64| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(default);
    if number("/spec/progressDeadlineSeconds", 600) <= number("/spec/minReadySeconds", 0) {
        return Some("progressDeadlineSeconds must be greater than minReadySeconds".into());
    }
    for container in containers(deployment) {
        for field in Field::PROBES {
            let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
            let probe = container.get(field.as_str());
            if probe.is_some_and(|probe| handlers.iter().filter(|name| probe.get(**name).is_some()).count() != 1) {
                return Some(format!("{field} must have one handler: {container}"));
            }
        }
        if let Some(hook) = container.pointer("/lifecycle/preStop") {
            if ["exec", "httpGet", "sleep"].iter().filter(|name| hook.get(**name).is_some()).count() != 1 {
                return Some(format!("preStop must have one handler: {container}"));
            }
            if hook.pointer("/sleep/seconds").and_then(Value::as_i64).is_some_and(|sleep| sleep > grace(deployment)) {
                return Some(format!("sleep longer than the grace period: {container}"));
            }
        }
    }
    None
}

/// The laws of one policy on one Deployment that nobody has touched yet. Returns the plan and the Deployment after it.
pub(super) fn check_laws(name: &str, policy: &HealthPolicySpec, deployment: &Value) -> (Plan, Value) {
    let first = plan_for(Some(policy), deployment, &[]);
    let after = first.apply_to(deployment).unwrap_or_else(|error| panic!("{name}: {error}\n{}", first.patch()));
    if refused(deployment).is_none() {
        assert_eq!(refused(&after), None, "{name}: the plan makes the Deployment invalid");
    }
    assert!(grace(&after) >= grace(deployment), "{name}: the grace period is lowered");
    assert_eq!(foreign_part(&after), foreign_part(deployment), "{name}: a foreign field is touched");

    for (state, live) in [("as written", after.clone()), ("with defaults", server_defaults(&after))] {
        let second = plan_for(Some(policy), &live, &first.held);
        assert!(second.is_empty(), "{name}, {state}: the second plan is not empty: {}", second.patch());
        assert_eq!((&second.held, &second.marker), (&first.held, &first.marker), "{name}, {state}");
        assert_eq!(second.timings, first.timings, "{name}, {state}");
        let blind = plan_for(Some(policy), &live, &[]);
        assert!(blind.changes.is_empty(), "{name}, {state}, ledger lost: {}", blind.patch());

        let release = plan_for(None, &live, &first.held);
        assert!(release.held.is_empty() && release.marker.is_empty(), "{name}, {state}: something is kept");
        let released = without_empty_annotations(release.apply_to(&live).unwrap());
        match state {
            "as written" => assert_eq!(released, *deployment, "{name}: release does not give the original back"),
            _ => assert_eq!(server_defaults(&released), server_defaults(deployment), "{name}, {state}"),
        }
    }

    // A crash between the two writes, on either side.
    let writing = first.held_while_writing();
    let before = plan_for(Some(policy), deployment, &writing);
    assert_eq!((before.patch(), &before.held), (first.patch(), &first.held), "{name}: crash before the write");
    let done = plan_for(Some(policy), &after, &writing);
    assert!(done.is_empty() && done.held == first.held, "{name}: crash after the write");
    (first, after)
}
