use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Problem, rules, validate};
use crate::api::crds;

#[allow(clippy::needless_pass_by_value)] // reads better in the tables
fn policy(spec: Value) -> Value {
    json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy", "metadata": {"name": "p"}, "spec": spec})
}

#[allow(clippy::needless_pass_by_value)]
fn with_liveness(probe: Value) -> Value {
    json!({"selector": {}, "containers": [{"probes": {"liveness": probe}}]})
}

#[test]
fn every_cel_rule_has_a_twin_with_the_same_message() {
    fn collect(value: &Value, messages: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    messages.insert(rule["message"].as_str().unwrap().to_owned());
                }
                map.values().for_each(|child| collect(child, messages));
            }
            Value::Array(items) => items.iter().for_each(|child| collect(child, messages)),
            _ => {}
        }
    }
    let mut in_cluster = BTreeSet::new();
    let definitions = crds::all();
    let health_policy = definitions.iter().find(|crd| crd.spec.names.kind == "HealthPolicy").unwrap();
    collect(&serde_json::to_value(health_policy).unwrap(), &mut in_cluster);
    let offline: BTreeSet<String> = rules::MESSAGES.iter().map(|message| (*message).to_owned()).collect();
    assert_eq!(offline, in_cluster);
}

#[test]
fn each_rule_refuses_with_its_message_and_path() {
    let get = |port: Value| json!({"httpGet": {"port": port}});
    let plus = |extra: Value| {
        let mut probe = get(json!(80));
        probe.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with_liveness(probe)
    };
    let header =
        |name: &str| with_liveness(json!({"httpGet": {"port": 80, "httpHeaders": [{"name": name, "value": "x"}]}}));
    let hook = |hook: Value| json!({"selector": {}, "containers": [{"preStop": hook}]});
    let steps = |steps: Value| json!({"selector": {}, "rollout": {"steps": steps}});
    let liveness = "spec.containers[0].probes.liveness";
    let cases: Vec<(Value, String, &str)> = vec![
        (hook(json!({"sleep": {"seconds": 31}})), "spec".into(), rules::SLEEP),
        (json!({"selector": {}, "containers": [{"name": "a"}, {"name": "a"}]}), "spec".into(), rules::CONTAINERS),
        (json!({"selector": {}, "containers": [{}, {}]}), "spec".into(), rules::CONTAINERS),
        (
            json!({"selector": {}, "containers": [{"probes": {"readiness": {"grpc": {"port": 1}, "terminationGracePeriodSeconds": 5}}}]}),
            "spec.containers[0].probes".into(),
            rules::READINESS_GRACE,
        ),
        (
            json!({"selector": {}, "containers": [{"probes": {"startup": {"grpc": {"port": 1}, "successThreshold": 2}}}]}),
            "spec.containers[0].probes".into(),
            rules::STARTUP_SUCCESS,
        ),
        (plus(json!({"successThreshold": 2})), "spec.containers[0].probes".into(), rules::LIVENESS_SUCCESS),
        (hook(json!({})), "spec.containers[0].preStop".into(), rules::PRE_STOP),
        (
            hook(json!({"sleep": {"seconds": 1}, "exec": {"command": ["x"]}})),
            "spec.containers[0].preStop".into(),
            rules::PRE_STOP,
        ),
        (with_liveness(json!({})), liveness.into(), rules::HANDLER),
        (plus(json!({"exec": {"command": ["x"]}})), liveness.into(), rules::HANDLER),
        (plus(json!({"timeoutSeconds": 11})), liveness.into(), rules::TIMEOUT),
        (
            plus(json!({"periodSeconds": 0, "timeoutSeconds": 1})),
            format!("{liveness}.periodSeconds"),
            rules::ZERO_PERIOD,
        ),
        (plus(json!({"timeoutSeconds": 0})), format!("{liveness}.timeoutSeconds"), rules::ZERO_TIMEOUT),
        (plus(json!({"successThreshold": 0})), format!("{liveness}.successThreshold"), rules::ZERO_SUCCESS),
        (plus(json!({"failureThreshold": 0})), format!("{liveness}.failureThreshold"), rules::ZERO_FAILURE),
        (
            plus(json!({"terminationGracePeriodSeconds": 0})),
            format!("{liveness}.terminationGracePeriodSeconds"),
            rules::ZERO_GRACE,
        ),
        (header("Authorization"), format!("{liveness}.httpGet.httpHeaders[0].name"), rules::CREDENTIALS),
        (header("a b"), format!("{liveness}.httpGet.httpHeaders[0].name"), rules::HEADER),
        (with_liveness(get(json!("HTTP"))), format!("{liveness}.httpGet.port"), rules::PORT),
        (with_liveness(get(json!("80"))), format!("{liveness}.httpGet.port"), rules::PORT),
        (with_liveness(get(json!("a--b"))), format!("{liveness}.httpGet.port"), rules::PORT),
        (with_liveness(json!({"tcpSocket": {"port": 65_536}})), format!("{liveness}.tcpSocket.port"), rules::PORT),
        (steps(json!([{"pods": 2}, {"pods": 1}])), "spec.rollout.steps".into(), rules::STEPS),
        (steps(json!([{"pods": "50%"}, {"pods": "9%"}])), "spec.rollout.steps".into(), rules::STEPS),
        (steps(json!([{"pods": 0}])), "spec.rollout.steps[0].pods".into(), rules::STEP_PODS),
        (steps(json!([{"pods": "101%"}])), "spec.rollout.steps[0].pods".into(), rules::STEP_PODS),
        (
            json!({"selector": {}, "availability": {"objective": "99.9", "minAvailable": "0%"}}),
            "spec.availability.minAvailable".into(),
            rules::MIN_AVAILABLE,
        ),
        (
            json!({"selector": {}, "availability": {"objective": "100"}}),
            "spec.availability.objective".into(),
            rules::OBJECTIVE,
        ),
        (
            json!({"selector": {}, "availability": {"objective": "0.0"}}),
            "spec.availability.objective".into(),
            rules::OBJECTIVE,
        ),
        (json!({"selector": {"matchLabels": {"a b": "x"}}}), "spec.selector.matchLabels".into(), rules::LABEL_KEY),
        (
            json!({"selector": {"matchExpressions": [{"key": "/x", "operator": "Exists"}]}}),
            "spec.selector.matchExpressions[0].key".into(),
            rules::LABEL_KEY,
        ),
        (
            json!({"selector": {"matchExpressions": [{"key": "x", "operator": "In", "values": ["-"]}]}}),
            "spec.selector.matchExpressions[0]".into(),
            rules::LABEL,
        ),
        (json!({"selector": {"matchLabels": {"a": "-"}}}), "spec.selector.matchLabels".into(), rules::LABEL),
        (
            json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "spec.selector.matchExpressions[0]".into(),
            rules::REQUIREMENT,
        ),
        (
            json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
            "spec.selector.matchExpressions[0]".into(),
            rules::REQUIREMENT,
        ),
    ];
    let mut seen = BTreeSet::new();
    for (spec, path, message) in cases {
        let problems = validate(&policy(spec.clone()));
        assert!(problems.contains(&Problem { path, message: message.into() }), "{spec}: {problems:?}");
        seen.insert(message);
    }
    assert_eq!(seen.len(), rules::MESSAGES.len() + 3, "each rule has a case, and so have the three patterns");
}

#[test]
fn the_bounds_of_the_schema_hold_offline_too() {
    for (object, path, message) in [
        (policy(json!({"selector": {}, "priorty": 1})), "spec.priorty", "unknown field"),
        (policy(json!({})), "spec", "selector must be set"),
        (
            policy(json!({"selector": {}, "mode": "Force"})),
            "spec.mode",
            "must be one of \"Audit\", \"Enforce\", \"Suspended\", is \"Force\"",
        ),
        (
            policy(with_liveness(json!({"exec": {"command": []}}))),
            "spec.containers[0].probes.liveness.exec.command",
            "must have at least 1 items",
        ),
        (
            policy(with_liveness(json!({"httpGet": {"port": 1.5}}))),
            "spec.containers[0].probes.liveness.httpGet.port",
            "must be an integer or a string, is a number",
        ),
        (
            policy(with_liveness(json!({"httpGet": {"port": 1, "host": "x"}}))),
            "spec.containers[0].probes.liveness.httpGet.host",
            "unknown field",
        ),
        (
            policy(json!({"selector": {}, "shutdown": {"drainSeconds": "5", "finishSeconds": 1}})),
            "spec.shutdown.drainSeconds",
            "must be of type integer, is a string",
        ),
        (
            policy(json!({"selector": {}, "shutdown": {"drainSeconds": 5, "finishSeconds": 0}})),
            "spec.shutdown.finishSeconds",
            "must be at least 1",
        ),
        (
            json!({"apiVersion": "gracekeeper.dev/v2", "metadata": {"name": "p"}, "spec": {"selector": {}}}),
            "apiVersion",
            "must be gracekeeper.dev/v1alpha1",
        ),
        (json!({"apiVersion": "gracekeeper.dev/v1alpha1", "spec": {"selector": {}}}), "metadata.name", "must be set"),
    ] {
        let problems = validate(&object);
        assert_eq!(problems, [Problem { path: path.into(), message: message.into() }], "{object}");
    }
}

#[test]
fn a_policy_that_uses_everything_is_taken() {
    let probe = json!({"httpGet": {"path": "/x", "port": "http-2", "scheme": "HTTPS", "httpHeaders": [{"name": "X-A", "value": ""}]},
        "initialDelaySeconds": 0, "timeoutSeconds": 10});
    let spec = json!({
        "selector": {"matchLabels": {"a": "b.c"}, "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]},
        "priority": -5, "mode": "Enforce", "whenAlreadySet": "Replace",
        "containers": [{"probes": {"liveness": probe, "readiness": {"grpc": {"port": 1}, "successThreshold": 3}}},
            {"name": "side", "preStop": {"sleep": {"seconds": 30}}}],
        "shutdown": {"drainSeconds": 10, "finishSeconds": 20},
        "rollout": {"minReadySeconds": 0, "steps": [{"pods": 1, "bakeSeconds": 0}, {"pods": "5%"}, {"pods": "100%", "approval": "Manual"}]},
        "availability": {"objective": "99.95", "windowDays": 7, "minAvailable": 1},
    });
    assert_eq!(validate(&policy(spec)), []);
}
