//! Nothing that a user may write is refused because of a policy, and nothing of theirs is lost or made up.

use serde_json::{Value, json};

use super::{Ridden, annotation, app, apply_server_side, kubectl, marker};
use crate::support::eventually;
use crate::support::namespace::{deployment, pod};
use crate::support::operator::Operator;

fn web(fields: Value) -> Value {
    deployment("web", 0, vec![app(&fields)])
}

async fn active(ridden: &Ridden, policy: Value) {
    ridden.policy("web", policy).await;
    ridden.informed().await;
}

fn original(object: &Value, key: &str) -> Option<Value> {
    annotation(object, key).map(|text| serde_json::from_str(&text).unwrap())
}

const READINESS: &str = "app.original.gracekeeper.dev/readinessProbe";

fn replace(readiness: Value) -> Value {
    json!({"selector": {}, "mode": "Enforce", "whenAlreadySet": "Replace",
        "containers": [{"probes": {"readiness": readiness}}], "shutdown": {"drainSeconds": 3, "finishSeconds": 32},
        "rollout": {"minReadySeconds": 9}})
}

#[tokio::test]
async fn what_fits_without_us_fits_with_us() {
    let Some(ridden) = Ridden::new("fits").await else { return };
    active(&ridden, json!({"selector": {}, "mode": "Enforce", "whenAlreadySet": "Replace",
        "containers": (0..6).map(|n| json!({"name": format!("c{n}"), "probes": {
            "startup": {"httpGet": {"port": 80}}, "readiness": {"httpGet": {"port": 80}}, "liveness": {"httpGet": {"port": 80}}}})).chain([json!({})]).collect::<Vec<_>>(),
        "shutdown": {"drainSeconds": 3, "finishSeconds": 5}})).await;
    // Annotations up to the limit.
    let mut full = web(json!({}));
    full["metadata"]["annotations"] = json!({"big": "x".repeat(262_141)});
    let stored = ridden.would_create(full).await;
    assert_eq!(marker(&stored), None);
    // Originals beyond it: 18 probes of 15 KiB.
    let long = json!({"exec": {"command": ["sh", "-c", "y".repeat(3800), "y".repeat(3800), "y".repeat(3800), "y".repeat(3800)]}});
    let many = (0..6).map(|n| json!({"name": format!("c{n}"), "image": "x:1", "readinessProbe": long, "livenessProbe": long, "startupProbe": long}));
    let stored = ridden.would_create(deployment("web", 0, many.collect())).await;
    assert_eq!(pod(&stored)["containers"][0]["livenessProbe"]["exec"], long["exec"], "it waits for the operator");
    assert!(marker(&stored).unwrap().contains("c0/preStop"), "the rest rides along");
}

#[tokio::test]
async fn a_sleep_that_fits_is_not_refused_for_a_grace_period_of_ours() {
    let Some(ridden) = Ridden::new("sleeps").await else { return };
    let policy = |sleep: i64| json!({"selector": {}, "mode": "Enforce", "containers": [{"name": "app", "preStop": {"sleep": {"seconds": sleep}}}]});
    active(&ridden, policy(28)).await;
    let mut object = web(json!({}));
    object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(10);
    ridden.ns.create_deployment(object).await;
    assert_eq!(pod(&ridden.ns.get("web").await)["terminationGracePeriodSeconds"], 30);
    active(&ridden, policy(18)).await;
    for (hook, container) in [("preStop", "two"), ("postStart", "app")] {
        let second = json!({"name": container, "image": "y:1", "lifecycle": {hook: {"sleep": {"seconds": 29}}}});
        let patch = json!({"spec": {"template": {"spec": {"containers": [second]}}}});
        let words = ["patch", "deploy/web", "-n", &ridden.ns.name, "-p", &patch.to_string()];
        ridden.ns.cluster.try_kubectl(&words, "").unwrap_or_else(|error| panic!("{hook}: {error}"));
        let grace = pod(&ridden.ns.get("web").await)["terminationGracePeriodSeconds"].as_i64().unwrap();
        assert!(grace >= 29, "{hook}: {grace}");
    }
}

#[tokio::test]
async fn a_put_that_leaves_out_the_originals_has_room_for_its_own_annotations() {
    let Some(ridden) = Ridden::new("room").await else { return };
    let ns = &ridden.ns;
    let mut policy = replace(json!({}));
    let probe = json!({"httpGet": {"path": "/ours", "port": 8080}});
    let probes = json!({"readiness": probe, "liveness": probe, "startup": probe});
    policy["containers"] = json!([{"name": "app", "probes": probes}, {"name": "two", "probes": probes}]);
    active(&ridden, policy).await;
    let long = json!({"exec": {"command": ["y".repeat(4000), "y".repeat(4000), "y".repeat(4000), "y".repeat(4000), "y".repeat(4000)]}});
    let own = json!({"readinessProbe": long, "livenessProbe": long, "startupProbe": long});
    // Twice as much as one request takes.
    ns.create_deployment(web(own.clone())).await;
    let mut both = web(own.clone());
    let mut two = app(&own);
    two["name"] = json!("two");
    both["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(two);
    kubectl(ns, &["replace", "-f", "-"], &both.to_string()).unwrap();
    let originals = ns.get("web").await["metadata"]["annotations"].to_string().len();
    assert!(originals > 120_000, "{originals}");
    for (size, rides) in [(20_000, true), (150_000, false), (220_000, false)] {
        let mut put = both.clone();
        put["metadata"]["annotations"] = json!({"own": "z".repeat(size)});
        put["spec"]["template"]["spec"]["containers"][0]["image"] = json!(format!("x:{size}"));
        kubectl(ns, &["replace", "-f", "-"], &put.to_string()).unwrap_or_else(|error| panic!("{size}: {error}"));
        let stored = ns.get("web").await;
        assert_eq!(stored["metadata"]["annotations"]["own"].as_str().unwrap().len(), size);
        assert_eq!(marker(&stored).is_some(), rides, "{size}");
    }
}

#[tokio::test]
async fn a_shorter_grace_period_is_not_refused_for_a_hook_of_ours_that_waits() {
    let Some(ridden) = Ridden::new("waits").await else { return };
    let ns = &ridden.ns;
    let mut policy = replace(json!({"httpGet": {"path": "/ours", "port": 8080}}));
    policy["shutdown"]["drainSeconds"] = json!(20);
    active(&ridden, policy.clone()).await;
    apply_server_side(ns, "git", &web(json!({}))).unwrap();
    policy.as_object_mut().unwrap().remove("shutdown");
    active(&ridden, policy).await;
    let mut manifest = web(json!({"image": "x:2"}));
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(10);
    apply_server_side(ns, "git", &manifest).unwrap();
    let waits = ns.get("web").await;
    assert_eq!(pod(&waits)["terminationGracePeriodSeconds"], 20);
    assert_eq!(original(&waits, "original.gracekeeper.dev/terminationGracePeriodSeconds"), Some(json!(10)));
    let _operator = Operator::start(ns).await;
    let back =
        ns.until("web", "its own grace period is back", |object| pod(object)["terminationGracePeriodSeconds"] == 10);
    assert_eq!(pod(&back.await)["containers"][0].get("lifecycle"), None);
}

#[tokio::test]
async fn a_shorter_deadline_is_not_refused_for_min_ready_seconds_of_ours() {
    let Some(ridden) = Ridden::new("deadline").await else { return };
    active(&ridden, json!({"selector": {}, "mode": "Enforce", "rollout": {"minReadySeconds": 9}})).await;
    let mut manifest = web(json!({}));
    apply_server_side(&ridden.ns, "git", &manifest).unwrap();
    assert_eq!(ridden.ns.get("web").await["spec"]["minReadySeconds"], 9);
    manifest["spec"]["progressDeadlineSeconds"] = json!(5);
    apply_server_side(&ridden.ns, "git", &manifest).unwrap();
    let stored = ridden.ns.get("web").await;
    assert_eq!(
        (stored["spec"]["progressDeadlineSeconds"].as_i64(), stored["spec"]["minReadySeconds"].as_i64()),
        (Some(5), None)
    );
}

#[tokio::test]
async fn applying_a_manifest_again_leaves_its_original_as_it_was() {
    let Some(ridden) = Ridden::new("again").await else { return };
    active(
        &ridden,
        replace(json!({"httpGet": {"path": "/ours", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 6})),
    )
    .await;
    for (what, own) in [
        ("the same type", json!({"httpGet": {"port": 8080}})),
        ("another type", json!({"exec": {"command": ["ready"]}, "periodSeconds": 20, "failureThreshold": 10})),
    ] {
        let mut manifest = web(json!({"readinessProbe": own}));
        apply_server_side(&ridden.ns, "git", &manifest).unwrap();
        let first = ridden.ns.get("web").await;
        let was = original(&first, READINESS).unwrap();
        let expected = |key: &str, default: Value| own.get(key).cloned().unwrap_or(default);
        assert_eq!(was["periodSeconds"], expected("periodSeconds", json!(10)), "{what}");
        for image in ["x:2", "x:2", "x:3"] {
            manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            apply_server_side(&ridden.ns, "git", &manifest).unwrap();
            let again = ridden.ns.get("web").await;
            assert_eq!(original(&again, READINESS).unwrap(), was, "{what}");
            let probe = &pod(&again)["containers"][0]["readinessProbe"];
            assert_eq!((&probe["httpGet"]["path"], probe.get("exec")), (&json!("/ours"), None), "{what}");
        }
        ridden.ns.cluster.kubectl(&["delete", "deploy", "web", "-n", &ridden.ns.name]);
    }
}

#[tokio::test]
async fn what_the_workload_drops_is_not_given_back() {
    let Some(ridden) = Ridden::new("dropped").await else { return };
    active(&ridden, replace(json!({"httpGet": {"path": "/ours", "port": 8080}}))).await;
    let mut own = web(json!({"readinessProbe": {"tcpSocket": {"port": 8080}}}));
    own["spec"]["minReadySeconds"] = json!(3);
    own["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(10);
    ridden.ns.create_deployment(own).await;
    let key = |field: &str| format!("original.gracekeeper.dev/{field}");
    let [grace, ready] = [key("terminationGracePeriodSeconds"), key("minReadySeconds")];
    let made = ridden.ns.get("web").await;
    assert_eq!((original(&made, &grace), original(&made, &ready)), (Some(json!(10)), Some(json!(3))));
    kubectl(&ridden.ns, &["replace", "-f", "-"], &web(json!({})).to_string()).unwrap();
    let put = ridden.ns.get("web").await;
    assert_eq!(original(&put, READINESS), Some(Value::Null), "there is none any more");
    assert_eq!((original(&put, &grace), original(&put, &ready)), (Some(json!(30)), Some(json!(0))));
    assert_eq!(pod(&put)["terminationGracePeriodSeconds"], 37);
}

#[tokio::test]
async fn an_original_stays_when_the_policy_lets_go_of_what_replaced_it() {
    let Some(ridden) = Ridden::new("lets-go").await else { return };
    let ns = &ridden.ns;
    let policy = replace(json!({"httpGet": {"path": "/ours", "port": 8080}}));
    let mut other = policy.clone();
    other["containers"][0]["probes"] = json!({"startup": {"tcpSocket": {"port": 8080}}});
    other.as_object_mut().unwrap().remove("rollout");
    let own = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 21});
    let two = json!([{"name": "app", "image": "x:2"}, {"name": "two", "image": "y:1"}]);
    for (what, edited, containers) in [
        ("the policy drops the probe", &other, json!([{"name": "app", "image": "x:2"}])),
        ("nobody knows the main container", &policy, two),
    ] {
        active(&ridden, policy.clone()).await;
        let mut object = web(json!({"readinessProbe": own}));
        object["spec"]["minReadySeconds"] = json!(3);
        ns.create_deployment(object).await;
        active(&ridden, edited.clone()).await;
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        kubectl(ns, &["patch", "deploy/web", "-p", &patch.to_string()], "").unwrap();
        let changed = ns.get("web").await;
        assert_eq!(pod(&changed)["containers"][0]["readinessProbe"]["httpGet"]["path"], "/ours", "{what}: it waits");
        assert_eq!(original(&changed, READINESS).unwrap()["periodSeconds"], 21, "{what}");
        assert!(marker(&changed).unwrap().contains("app/readinessProbe"), "{what}");
        let ready = original(&changed, "original.gracekeeper.dev/minReadySeconds");
        assert_eq!((&changed["spec"]["minReadySeconds"], ready), (&json!(9), Some(json!(3))), "{what}");
        let operator = Operator::start(ns).await;
        let back = ns.until("web", "its own probe is back", |object| {
            pod(object)["containers"][0]["readinessProbe"]["periodSeconds"] == 21
        });
        let back = back.await;
        assert_eq!(original(&back, READINESS), None, "{what}");
        let ready = if edited.get("rollout").is_some() { 9 } else { 3 };
        assert_eq!(back["spec"]["minReadySeconds"], ready, "{what}");
        drop(operator);
        kubectl(ns, &["delete", "deploy", "web"], "").unwrap();
    }
}

#[tokio::test]
async fn a_zero_that_replaces_remembers_what_it_replaced() {
    let Some(ridden) = Ridden::new("zero").await else { return };
    let mut policy = replace(json!({"httpGet": {"path": "/ours", "port": 8080}}));
    policy["rollout"]["minReadySeconds"] = json!(0);
    active(&ridden, policy).await;
    let mut own = web(json!({}));
    own["spec"]["minReadySeconds"] = json!(5);
    ridden.ns.create_deployment(own).await;
    for image in ["x:2", "x:3"] {
        ridden.ns.cluster.kubectl(&["set", "image", "deploy/web", &format!("app={image}"), "-n", &ridden.ns.name]);
        let changed = ridden.ns.get("web").await;
        assert!(marker(&changed).unwrap().contains("/minReadySeconds"), "{image}");
        assert_eq!(original(&changed, "original.gracekeeper.dev/minReadySeconds"), Some(json!(5)), "{image}");
    }
}

#[tokio::test]
async fn a_probe_whose_original_only_the_operator_knows_is_not_taken_out() {
    let Some(ridden) = Ridden::new("ledger").await else { return };
    let ns = &ridden.ns;
    // The workload is older than the policy, so the operator replaces, and keeps the original in its ledger.
    let own = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 21});
    ns.create_deployment(web(json!({"readinessProbe": own}))).await;
    let operator = Operator::start(ns).await;
    let policy = replace(json!({"httpGet": {"path": "/ours", "port": 8080}}));
    ns.policy("web", policy.clone()).await;
    ns.compliant("web", "InSync").await;
    let keeps = |value: bool| {
        eventually("the policy knows of originals", move || async move {
            let policy = serde_json::to_value(ns.policies().get("web").await.unwrap()).unwrap();
            let is_current = policy.pointer("/status/rideAlong/generation") == policy.pointer("/metadata/generation");
            let kept = policy.pointer("/status/rideAlong/originals").is_some();
            (is_current && kept == value).then_some(())
        })
    };
    keeps(true).await;
    // The operator goes, so that nobody else acts; the policy keeps, and drops the probe.
    drop(operator);
    let mut keep = policy;
    keep["whenAlreadySet"] = json!("Keep");
    keep["containers"] = json!([]);
    ridden.policy("web", keep).await;
    ridden.informed().await;
    ns.cluster.kubectl(&["set", "image", "deploy/web", "app=x:2", "-n", &ns.name]);
    let changed = ns.get("web").await;
    assert_eq!(pod(&changed)["containers"][0]["readinessProbe"]["httpGet"]["path"], "/ours", "it waits");
    assert!(marker(&changed).unwrap().contains("app/readinessProbe"));
    // Back again, the operator gives back what was there.
    let _operator = Operator::start(ns).await;
    let back = ns.until("web", "its own probe is back", |object| {
        pod(object)["containers"][0]["readinessProbe"]["periodSeconds"] == 21
    });
    assert_eq!(pod(&back.await)["containers"][0]["readinessProbe"]["tcpSocket"]["port"], 8080);
    keeps(false).await;
}
