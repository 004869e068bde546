//! The plan of the README's example, and the paths that people meet first.

use serde_json::json;

use super::support::{plan_for, policy, reasons, yaml};
use crate::api::HealthPolicySpec;

fn web_policy() -> HealthPolicySpec {
    policy(
        "
containers:
- probes:
    startup:   {httpGet: {path: /healthz, port: http}, periodSeconds: 5, failureThreshold: 24}
    readiness: {httpGet: {path: /readyz, port: http}, periodSeconds: 5}
    liveness:  {httpGet: {path: /livez, port: http}, periodSeconds: 10, failureThreshold: 6}
shutdown: {drainSeconds: 10, finishSeconds: 25}
rollout: {minReadySeconds: 10}
",
    )
}

fn web() -> serde_json::Value {
    yaml(
        "
metadata: {name: web, uid: u-1}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
      - {name: app, image: 'web:1', ports: [{name: http, containerPort: 8080}]}
",
    )
}

#[test]
fn a_bare_deployment_gets_everything_in_one_guarded_patch() {
    let plan = plan_for(Some(&web_policy()), &web(), &[]);
    let patch = serde_json::to_value(plan.patch()).unwrap();
    let container = "/spec/template/spec/containers/0";
    let probe = |path: &str, period: i64| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": period});
    let mut startup = probe("/healthz", 5);
    startup["failureThreshold"] = json!(24);
    let mut liveness = probe("/livez", 10);
    liveness["failureThreshold"] = json!(6);
    let marker = "/minReadySeconds,/progressDeadlineSeconds,/terminationGracePeriodSeconds,app/livenessProbe,app/preStop,app/readinessProbe,app/startupProbe";
    let want = json!([
        {"op": "test", "path": "/metadata/uid", "value": "u-1"},
        {"op": "test", "path": format!("{container}/name"), "value": "app"},
        {"op": "test", "path": "/spec/minReadySeconds", "value": null},
        {"op": "add", "path": "/spec/minReadySeconds", "value": 10},
        {"op": "test", "path": "/spec/progressDeadlineSeconds", "value": null},
        {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": 726},
        {"op": "test", "path": format!("{container}/livenessProbe"), "value": null},
        {"op": "add", "path": format!("{container}/livenessProbe"), "value": liveness},
        {"op": "test", "path": format!("{container}/readinessProbe"), "value": null},
        {"op": "add", "path": format!("{container}/readinessProbe"), "value": probe("/readyz", 5)},
        {"op": "test", "path": format!("{container}/startupProbe"), "value": null},
        {"op": "add", "path": format!("{container}/startupProbe"), "value": startup},
        {"op": "test", "path": format!("{container}/lifecycle"), "value": null},
        {"op": "add", "path": format!("{container}/lifecycle"), "value": {"preStop": {"sleep": {"seconds": 10}}}},
        {"op": "test", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 30},
        {"op": "replace", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 37},
        {"op": "test", "path": "/metadata/annotations", "value": null},
        {"op": "add", "path": "/metadata/annotations", "value": {"gracekeeper.dev/filled": marker}},
    ]);
    assert_eq!(patch, want);
    assert!(plan.restarts_pods());
    assert_eq!(plan.marker, marker);
    assert_eq!(reasons(&plan), Vec::<&str>::new());
}

#[test]
fn a_second_plan_is_empty_and_a_release_gives_everything_back() {
    let policy = web_policy();
    let first = plan_for(Some(&policy), &web(), &[]);
    let live = first.apply_to(&web()).unwrap();
    let second = plan_for(Some(&policy), &live, &first.held);
    assert!(second.is_empty(), "{:?}", second.changes);
    assert_eq!((&second.held, &second.marker), (&first.held, &first.marker));
    let release = plan_for(None, &live, &second.held);
    let mut released = release.apply_to(&live).unwrap();
    // The marker's map stays: another writer may fill it at the same time, and the server drops it when it is empty.
    assert_eq!(released["metadata"].as_object_mut().unwrap().remove("annotations"), Some(json!({})));
    assert_eq!(released, web());
    assert!(release.held.is_empty() && release.marker.is_empty());
}

#[test]
fn the_pods_restart_only_when_the_template_changes() {
    let policy = policy("rollout: {minReadySeconds: 10}");
    let plan = plan_for(Some(&policy), &web(), &[]);
    assert_eq!(plan.changed_fields(), ["/minReadySeconds", "/progressDeadlineSeconds"]);
    assert!(!plan.restarts_pods());
}
