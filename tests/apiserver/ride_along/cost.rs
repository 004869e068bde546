//! CEL's budget holds at the bounds of the schema. Where it did not, the API server would skip the policy in silence.

use kube::api::PostParams;
use serde_json::{Value, json};

use super::{Ridden, apply_server_side, marker};
use crate::support::namespace::deployment;

/// A policy as large as the schema lets it be.
fn largest(name_of: impl Fn(usize) -> String) -> Value {
    let headers: Vec<Value> = (0..16).map(|n| json!({"name": format!("X-{n}"), "value": "v".repeat(1024)})).collect();
    let probe = |path: &str| {
        json!({"httpGet": {"path": format!("/{}", path.repeat(200)), "port": "http", "httpHeaders": headers},
               "periodSeconds": 10, "failureThreshold": 6})
    };
    let entry = |n: usize| {
        json!({"name": name_of(n), "probes": {"startup": probe("s"), "readiness": probe("r"), "liveness": probe("l")},
               "preStop": {"httpGet": {"path": "/drain", "port": "http", "httpHeaders": headers}}})
    };
    let values: Vec<String> = (0..64).map(|n| format!("v{n:0>60}")).collect();
    let requirement = |n: usize| json!({"key": format!("key-{n}"), "operator": "NotIn", "values": values});
    json!({
        "selector": {"matchExpressions": (0..32).map(requirement).collect::<Vec<_>>()},
        "mode": "Enforce", "whenAlreadySet": "Replace",
        "containers": (0..16).map(entry).collect::<Vec<_>>(),
        "shutdown": {"drainSeconds": 10, "finishSeconds": 20}, "rollout": {"minReadySeconds": 10},
    })
}

#[tokio::test]
async fn the_largest_policy_fits_the_budget_on_a_pod_of_a_hundred_containers() {
    let Some(ridden) = Ridden::new("largest").await else { return };
    let name_of = |n: usize| format!("container-{n:02}");
    // Each has its own probes and a hook, so that Replace has something to compare and to remember.
    let own = json!({"exec": {"command": ["probe", "x".repeat(500)]}, "failureThreshold": 5});
    let container = |n: usize| {
        json!({"name": name_of(n), "image": "example.com/app:1", "ports": [{"name": "http", "containerPort": 8080 + n}],
               "livenessProbe": own, "readinessProbe": own, "startupProbe": own,
               "lifecycle": {"preStop": {"exec": {"command": ["drain"]}}}})
    };
    let object_containers: Vec<Value> = (0..100).map(container).collect();
    let other_container = |n: usize| {
        let mut container = container(n);
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            container[probe]["failureThreshold"] = json!(4);
        }
        container["lifecycle"]["preStop"]["exec"]["command"] = json!(["drain", "slowly"]);
        container
    };
    let object = deployment("large", 1, object_containers.clone());
    ridden.ns.create_deployment(deployment("before", 0, (0..100).map(other_container).collect())).await;
    for manager in 0..12 {
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "before"}, "spec": {"template": {
            "spec": {"containers": [{"name": name_of(manager), "env": [{"name": "MANAGER", "value": "x"}]}]}}}});
        apply_server_side(&ridden.ns, &format!("manager-{manager}"), &manifest).unwrap();
    }
    ridden.policy("largest", largest(name_of)).await;
    ridden.seen(&object, "the policy rides along", |object| marker(object).is_some()).await;
    let stored = ridden.would_create(object).await;
    let fields = marker(&stored).unwrap();
    assert_eq!(fields.split(',').filter(|field| field.starts_with("container-")).count(), 16 * 4, "{fields}");
    for n in 0..16 {
        let container = &stored["spec"]["template"]["spec"]["containers"][n];
        assert!(container["livenessProbe"].get("exec").is_none(), "{container}");
    }

    // A change of every probe and hook of a pod that is there, with a dozen managers: more is compared than on a create.
    let mut changed = ridden.ns.get("before").await;
    changed["spec"]["template"]["spec"]["containers"] = object_containers.into();
    let params = PostParams { dry_run: true, field_manager: Some("a-person".into()) };
    let changed = serde_json::from_value(changed).unwrap();
    let stored = ridden.ns.deployments().replace("before", &params, &changed).await.unwrap();
    let fields = marker(&serde_json::to_value(stored).unwrap()).expect("it rode along");
    assert_eq!(fields.split(',').filter(|field| field.starts_with("container-")).count(), 16 * 4, "{fields}");
}

#[tokio::test]
async fn the_longest_marker_is_kept_true_within_the_budget() {
    let Some(ridden) = Ridden::new("marked").await else { return };
    let ns = &ridden.ns;
    let name_of = |n: usize| format!("container-{n:02}");
    let container = |n: usize| json!({"name": name_of(n), "image": "example.com/app:1", "ports": [{"name": "http", "containerPort": 8080 + n}]});
    let mut policy = largest(name_of);
    policy["whenAlreadySet"] = json!("Keep");
    ridden.policy("largest", policy).await;
    let large = |name: &str| deployment(name, 0, (0..100).map(container).collect());
    ridden.seen(&large("probe"), "the policy rides along", |object| marker(object).is_some()).await;
    ns.create_deployment(large("large")).await;
    let before = marker(&ns.get("large").await).unwrap();
    assert!(before.split(',').count() > 16 * 4, "{before}");
    ns.cluster.kubectl(&["label", "namespace", &ns.name, "gracekeeper.dev/ride-along=disabled"]);
    ridden.seen(&large("probe"), "nothing rides along any more", |object| marker(object).is_none()).await;
    // All of them change, and one more becomes the workload's.
    let mut containers = ns.get("large").await["spec"]["template"]["spec"]["containers"].clone();
    for container in containers.as_array_mut().unwrap() {
        container["image"] = json!("example.com/app:2");
    }
    containers[15]["readinessProbe"]["periodSeconds"] = json!(77);
    ns.merge("large", json!({"spec": {"template": {"spec": {"containers": containers}}}})).await;
    let after = marker(&ns.get("large").await).unwrap();
    let expected: Vec<&str> = before.split(',').filter(|field| *field != "container-15/readinessProbe").collect();
    assert_eq!(after.split(',').collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_longest_text_of_what_kubectl_applied_fits_the_budget() {
    let Some(ridden) = Ridden::new("longest").await else { return };
    let name_of = |n: usize| format!("container-{n:02}");
    // As much as rides along at all, with a probe's grace period and brackets in each container.
    let own = json!({"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 9});
    let container = |n: usize| {
        json!({"name": name_of(n), "image": "example.com/app:1", "ports": [{"name": "http", "containerPort": 8080 + n}],
               "livenessProbe": own, "startupProbe": own, "env": [{"name": "ODD", "value": "[\"]".repeat(305)}]})
    };
    let mut policy = largest(name_of);
    policy["whenAlreadySet"] = json!("Keep");
    ridden.policy("largest", policy).await;
    ridden.informed().await;
    for (declared, raised) in [(None, 32), (Some(20), 20)] {
        let mut object = deployment("large", 1, (0..100).map(container).collect());
        if let Some(seconds) = declared {
            object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(seconds);
        }
        let text = object.to_string();
        assert!((150_000..159_000).contains(&text.len()), "{}", text.len());
        object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": text});
        let stored = ridden.would_create(object).await;
        assert!(marker(&stored).unwrap().contains("container-15/readinessProbe"), "it rode along");
        assert_eq!(stored["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], raised);
    }
}

#[tokio::test]
async fn the_expressions_are_sound() {
    let Some(ridden) = Ridden::new("sound").await else { return };
    for name in ["ride-along", "marker", "policy-finalizer"] {
        let name = format!("{}-{name}", ridden.release);
        let text = ridden.ns.cluster.kubectl(&["get", "mutatingadmissionpolicy", &name, "-o", "json"]);
        let policy: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(policy["spec"]["failurePolicy"], "Ignore", "{name}");
        assert_eq!(policy["spec"]["reinvocationPolicy"], "Never", "{name}");
        let warnings = policy.pointer("/status/typeChecking/expressionWarnings").and_then(Value::as_array);
        assert!(warnings.is_none_or(Vec::is_empty), "{name}: {warnings:?}");
    }
}
