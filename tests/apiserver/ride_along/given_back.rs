//! What rode along is given back, whoever has looked at it or not.

use gracekeeper::api::{FILLED_BY_ANNOTATION, FINALIZER};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::operating::{git, manifest, operated, web};
use super::{Ridden, annotation, app, kubectl, marker};
use crate::support::namespace::{condition, container, permissive, pod, web_policy};
use crate::support::{Cluster, Operator, TestNamespace, eventually};

#[tokio::test]
async fn an_original_that_was_ridden_over_comes_back_with_the_release() {
    let Some(ridden) = Ridden::new("originals").await else { return };
    let ns = &ridden.ns;
    let mut policy = web_policy();
    policy["whenAlreadySet"] = json!("Replace");
    policy["rollout"] = json!({"minReadySeconds": 2});
    let operator = operated(&ridden, policy).await;
    let own = json!({"exec": {"command": ["sh", "-c", "test \"ü\" = \"$(cat /x)\"\t&& true"]}, "periodSeconds": 7, "failureThreshold": 9});
    let mut object = web("web");
    object["spec"]["minReadySeconds"] = json!(1);
    object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(33);
    object["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = own.clone();
    ns.create_deployment(object).await;
    let health = ns.compliant("web", "InSync").await;
    let held = health["status"]["heldFields"].as_array().unwrap();
    let original =
        |field: &str| held.iter().find(|h| h["field"] == field).unwrap()["original"].as_str().map(str::to_owned);
    assert_eq!(original("terminationGracePeriodSeconds").as_deref(), Some("33"));
    assert_eq!(original("minReadySeconds").as_deref(), Some("1"));
    assert!(original("livenessProbe").unwrap().contains("periodSeconds"));
    let ridden_over = ns.get("web").await;
    assert!(pod(&ridden_over)["containers"][0]["livenessProbe"].get("exec").is_none());
    if let Some(writes) = operator.audit().writes("deployments") {
        assert!(writes.is_empty(), "{writes:?}");
    }

    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    let released = ns.get("web").await;
    let probe = &pod(&released)["containers"][0]["livenessProbe"];
    assert_eq!(
        (&probe["exec"], &probe["periodSeconds"], &probe["failureThreshold"]),
        (&own["exec"], &json!(7), &json!(9))
    );
    assert_eq!(pod(&released)["terminationGracePeriodSeconds"], 33);
    assert_eq!(released["spec"]["minReadySeconds"], 1);
    assert_eq!(marker(&released), None);
    let left = released["metadata"]["annotations"].as_object().into_iter().flatten();
    let left: Vec<_> = left.filter(|(key, _)| key.contains("gracekeeper.dev")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Something that happens to what rode along while no operator runs.
type Meanwhile = fn(&Ridden);

/// Rides along under this policy while no operator runs, and comes back to what happened.
async fn unseen(topic: &str, policy: &Value, meanwhile: Meanwhile) -> Option<(Ridden, Operator)> {
    let ridden = Ridden::new(topic).await?;
    let ns = &ridden.ns;
    drop(operated(&ridden, policy.clone()).await);
    git(ns, &manifest(&json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 21}}))).unwrap();
    let rode = ns.get("web").await;
    assert!(marker(&rode).unwrap().contains("app/readinessProbe"), "{rode}");
    let by = annotation(&rode, FILLED_BY_ANNOTATION).unwrap();
    assert!(by.starts_with("web/web/"), "{by}");
    meanwhile(&ridden);
    let operator = Operator::start(ns).await;
    Some((ridden, operator))
}

fn replacing() -> Value {
    let mut policy = web_policy();
    policy["whenAlreadySet"] = json!("Replace");
    policy["selector"] = json!({"matchLabels": {"tier": "web"}});
    policy
}

/// It is as its manifest says, and nothing of ours is left.
fn is_as_written(object: &Value) -> bool {
    let app = &pod(object)["containers"][0];
    let left = object["metadata"]["annotations"].as_object().into_iter().flatten();
    app.get("livenessProbe").is_none()
        && app["readinessProbe"]["periodSeconds"] == 21
        && left.filter(|(key, _)| key.contains("gracekeeper.dev")).count() == 0
}

#[tokio::test]
async fn what_rode_along_unseen_is_given_back_whatever_became_of_its_policy() {
    let stories: [(&str, Meanwhile); 4] = [
        ("deleted", |ridden| {
            ridden.ns.cluster.kubectl(&["delete", "healthpolicy", "web", "-n", &ridden.ns.name, "--wait=false"]);
        }),
        ("deselected", |ridden| {
            let edit = r#"{"spec": {"selector": {"matchLabels": {"tier": "db"}}}}"#;
            ridden.ns.cluster.kubectl(&[
                "patch",
                "healthpolicy",
                "web",
                "-n",
                &ridden.ns.name,
                "--type=merge",
                "-p",
                edit,
            ]);
        }),
        ("relabelled", |ridden| {
            ridden.ns.cluster.kubectl(&["label", "deploy/web", "-n", &ridden.ns.name, "tier=db", "--overwrite"]);
        }),
        // Another one, which only looks, selects it too.
        ("audited", |ridden| {
            let audit = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy", "metadata": {"name": "audit"},
                "spec": {"selector": {}, "mode": "Audit", "containers": web_policy()["containers"]}});
            let cluster = ridden.ns.cluster;
            cluster.try_kubectl(&["apply", "-n", &ridden.ns.name, "-f", "-"], &audit.to_string()).unwrap();
            cluster.kubectl(&["delete", "healthpolicy", "web", "-n", &ridden.ns.name, "--wait=false"]);
        }),
    ];
    for (story, meanwhile) in stories {
        let Some((ridden, _operator)) = unseen(&format!("unseen-{story}"), &replacing(), meanwhile).await else {
            return;
        };
        let ns = &ridden.ns;
        ns.until("web", &format!("{story}: it is given back"), is_as_written).await;
        match story {
            "audited" => {
                ns.compliant("web", "Planned").await;
            }
            _ => ns.forgotten("web").await,
        }
        if story == "deselected" || story == "relabelled" {
            ns.delete_policy("web").await;
        }
        ns.policy_gone("web").await;
    }
}

#[tokio::test]
async fn a_policy_that_only_looks_now_gives_back_what_rode_along_when_it_goes() {
    let meanwhile: Meanwhile = |ridden| {
        let edit = r#"{"spec": {"mode": "Audit"}}"#;
        ridden.ns.cluster.kubectl(&["patch", "healthpolicy", "web", "-n", &ridden.ns.name, "--type=merge", "-p", edit]);
    };
    let Some((ridden, _operator)) = unseen("unseen-now-audit", &replacing(), meanwhile).await else { return };
    let ns = &ridden.ns;
    let health = ns.compliant("web", "InSync").await;
    assert!(health["status"]["heldFields"].as_array().unwrap().len() > 3, "{health}");
    assert!(marker(&ns.get("web").await).is_some(), "an audit takes nothing out");
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    assert!(is_as_written(&ns.get("web").await));
}

#[tokio::test]
async fn a_policy_is_kept_from_the_moment_in_which_it_is_stored() {
    let Some(ridden) = Ridden::new("kept").await else { return };
    let ns = &ridden.ns;
    // No operator has ever run here.
    let mut policy = web_policy();
    policy["mode"] = json!("Audit");
    ns.policy("web", policy.clone()).await;
    let finalizers = async || ns.policies().get("web").await.unwrap().metadata.finalizers;
    assert_eq!(finalizers().await, None, "an audit brings nothing");
    ns.policies()
        .patch("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"mode": "Enforce"}})))
        .await
        .unwrap();
    assert_eq!(finalizers().await, Some(vec![FINALIZER.to_owned()]));
    // A PUT that does not know of it, and somebody else's.
    let put = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
        "metadata": {"name": "web", "finalizers": ["example.com/other"]}, "spec": ns.policies().get("web").await.unwrap().spec});
    kubectl(ns, &["replace", "-f", "-"], &put.to_string()).unwrap();
    assert_eq!(finalizers().await, Some(vec!["example.com/other".to_owned(), FINALIZER.to_owned()]));
    ridden.seen(&web("probe"), "it rides along", |object| marker(object).is_some()).await;
    ns.create_deployment(web("web")).await;
    assert!(marker(&ns.get("web").await).is_some());
    // The name comes after admission.
    let mut generated = web("made");
    generated["metadata"] = json!({"generateName": "made-", "labels": {"app": "made"}});
    let generated = ns.create_deployment(generated).await["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(marker(&ns.get(&generated).await).is_some());
    // Who sets another mode without it may not drop it either: it has brought something.
    let audit = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
        "metadata": {"name": "web", "finalizers": ["example.com/other"]}, "spec": policy});
    kubectl(ns, &["replace", "-f", "-"], &audit.to_string()).unwrap();
    assert_eq!(finalizers().await, Some(vec!["example.com/other".to_owned(), FINALIZER.to_owned()]));
    ns.delete_policy("web").await;
    let _operator = Operator::start(ns).await;
    for name in ["web", &generated] {
        ns.until(name, "it is given back", |object| pod(object)["containers"][0].get("livenessProbe").is_none()).await;
    }
    eventually("the operator lets the policy go", || async {
        (finalizers().await == Some(vec!["example.com/other".to_owned()])).then_some(())
    })
    .await;
    ns.policies()
        .patch("web", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}})))
        .await
        .unwrap();
    ns.policy_gone("web").await;
}

#[tokio::test]
async fn a_policy_waits_while_what_rode_along_unseen_may_not_be_given_back() {
    let Some(ridden) = Ridden::labelled(Cluster::shared(), "unseen-denied", json!({})).await else { return };
    let ns = &ridden.ns;
    drop(operated(&ridden, web_policy()).await);
    ns.create_deployment(web("web")).await;
    let forged = json!({"metadata": {"annotations": {"app.original.gracekeeper.dev/livenessProbe": r#"{"exec":{"command":["x"]}}"#}}});
    ns.merge("web", forged).await;
    ns.delete_policy("web").await;
    let operator = Operator::start(ns).await;
    operator.expect_denials();
    let denied = ns.compliant("web", "Denied").await;
    assert!(denied["status"]["heldFields"].as_array().unwrap().len() > 3, "{denied}");
    // Whoever looks at the policy now sees that something is left of it.
    let policy = ns.policy_says("web", "Accepted", "Releasing").await;
    assert_eq!(policy["metadata"]["finalizers"], json!([FINALIZER]));
    ns.cluster.kubectl(&["annotate", "deploy/web", "-n", &ns.name, "app.original.gracekeeper.dev/livenessProbe-"]);
    ns.policy_gone("web").await;
    assert_eq!(marker(&ns.get("web").await), None);
}

#[tokio::test]
async fn an_exported_copy_that_no_policy_selects_keeps_its_probes() {
    let Some(ridden) = Ridden::new("copy").await else { return };
    let ns = &ridden.ns;
    let operator = operated(&ridden, replacing()).await;
    ns.create_deployment(web("web")).await;
    ns.compliant("web", "InSync").await;
    let mut copy = ns.get("web").await;
    copy["metadata"] =
        json!({"name": "copy", "labels": {"tier": "db"}, "annotations": copy["metadata"]["annotations"]});
    copy.as_object_mut().unwrap().remove("status");
    ns.create_deployment(copy).await;
    ns.policy_says("web", "Ready", "AllCompliant").await;
    // What comes after it has been looked at, so it was, too.
    ns.create_deployment(web("later")).await;
    ns.compliant("later", "InSync").await;
    assert!(ns.healths().get_opt("copy").await.unwrap().is_none());
    assert!(pod(&ns.get("copy").await)["containers"][0].get("livenessProbe").is_some());
    if let Some(writes) = operator.audit().writes("deployments") {
        assert!(writes.is_empty(), "{writes:?}");
    }
}

#[tokio::test]
async fn a_ready_time_that_was_replaced_comes_back() {
    for seconds in [0, 3] {
        let Some(ridden) = Ridden::new("ready-time").await else { return };
        let ns = &ridden.ns;
        let mut policy = json!({"selector": {}, "mode": "Enforce", "whenAlreadySet": "Replace", "rollout": {"minReadySeconds": seconds}});
        let mut own = web("web");
        own["spec"]["minReadySeconds"] = json!(1);
        // By the operator, whose ledger alone knows the original: the workload is older than the policy.
        ns.create_deployment(own.clone()).await;
        let operator = operated(&ridden, policy.clone()).await;
        ns.compliant("web", "InSync").await;
        // And along, in a create.
        own["metadata"]["name"] = json!("along");
        ns.create_deployment(own).await;
        ns.compliant("along", "InSync").await;
        let ready = async |name: &str| ns.get(name).await["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        assert_eq!((ready("web").await, ready("along").await), (seconds, seconds));
        eventually("the policy knows of originals", || async {
            let policy = serde_json::to_value(ns.policies().get("web").await.unwrap()).unwrap();
            policy.pointer("/status/rideAlong/originals").map(|_| ())
        })
        .await;
        // Nobody looks while the policy drops it and the image changes.
        drop(operator);
        policy["whenAlreadySet"] = json!("Keep");
        policy["rollout"] = json!({});
        ridden.policy("web", policy).await;
        ridden.informed().await;
        for name in ["web", "along"] {
            ns.cluster.kubectl(&["set", "image", &format!("deploy/{name}"), "app=x:2", "-n", &ns.name]);
        }
        let _operator = Operator::start(ns).await;
        for name in ["web", "along"] {
            let own = |object: &Value| object["spec"]["minReadySeconds"] == 1;
            ns.until(name, &format!("its own is back, after {seconds}"), own).await;
        }
    }
}

#[tokio::test]
async fn a_marker_that_lists_nothing_of_what_is_there_keeps_no_policy() {
    let ns = TestNamespace::new("stale-marker").await;
    let operator = Operator::start(&ns).await;
    ns.policy("web", web_policy()).await;
    ns.deployment("seen", 1, container()).await;
    ns.compliant("seen", "InSync").await;
    drop(operator);
    for (name, filled) in
        [("garbage", "garbage"), ("stale", "app/startupProbe,app/nothing"), ("gone", "other/livenessProbe")]
    {
        let mut object = web(name);
        object["metadata"]["annotations"] = json!({"gracekeeper.dev/filled": filled});
        object["spec"]["template"]["spec"]["containers"][0] =
            app(&json!({"livenessProbe": {"tcpSocket": {"port": 8080}}}));
        ns.create_deployment(object).await;
    }
    ns.delete_policy("web").await;
    let _operator = Operator::start(&ns).await;
    ns.policy_gone("web").await;
    assert_eq!(marker(&ns.get("seen").await), None);
    for name in ["garbage", "stale", "gone"] {
        assert_eq!(pod(&ns.get(name).await)["containers"][0]["livenessProbe"]["tcpSocket"]["port"], 8080, "{name}");
    }
}

#[tokio::test]
async fn a_number_that_rides_along_higher_goes_back_with_the_release() {
    let Some(ridden) = Ridden::new("higher").await else { return };
    let ns = &ridden.ns;
    let mut policy = web_policy();
    policy["shutdown"] = json!({"drainSeconds": 5, "finishSeconds": 30});
    policy["rollout"] = json!({"minReadySeconds": 1});
    let operator = operated(&ridden, policy).await;
    git(ns, &manifest(&json!({}))).unwrap();
    ns.compliant("web", "InSync").await;
    let numbers = |web: &Value| {
        (pod(web)["terminationGracePeriodSeconds"].clone(), web["spec"]["progressDeadlineSeconds"].clone())
    };
    let before = numbers(&ns.get("web").await);
    let own = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 20}}},
        "startupProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 30, "failureThreshold": 60}});
    git(ns, &manifest(&own)).unwrap();
    let raised = numbers(&ns.get("web").await);
    assert!(raised.0.as_i64() > before.0.as_i64() && raised.1.as_i64() > before.1.as_i64(), "{before:?} {raised:?}");
    // The ledger follows, and the Deployment is not written.
    eventually("the ledger tells the new numbers", || async {
        let health = ns.compliant("web", "InSync").await;
        let held = health["status"]["heldFields"].as_array()?;
        let told = |field: &str| held.iter().find(|entry| entry["field"] == field)?["value"].as_str();
        let is_told = told("terminationGracePeriodSeconds") == Some(&raised.0.to_string())
            && told("progressDeadlineSeconds") == Some(&raised.1.to_string());
        is_told.then_some(())
    })
    .await;
    if let Some(writes) = operator.audit().writes("deployments") {
        assert!(writes.is_empty(), "{writes:?}");
    }
    git(ns, &manifest(&json!({}))).unwrap();
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    let released = ns.get("web").await;
    assert_eq!((numbers(&released), marker(&released)), ((json!(30), json!(600)), None));
}

#[tokio::test]
async fn a_forged_marker_or_original_lets_a_policy_set_fields_and_nothing_else() {
    for labels in [permissive(), json!({})] {
        let allows_exec = labels == permissive();
        let Some(ridden) = Ridden::labelled(Cluster::shared(), "forged", labels).await else { return };
        forged(&ridden, allows_exec).await;
    }
}

async fn forged(ridden: &Ridden, allows_exec: bool) {
    let ns = &ridden.ns;
    ridden.policy("web", web_policy()).await;
    ridden.seen(&web("probe"), "the policy is seen", |object| marker(object).is_some()).await;
    let mut object = web("web");
    object["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 8080}});
    object["metadata"]["annotations"] = json!({
        "gracekeeper.dev/filled": "app/livenessProbe,app/image,/replicas,x,/,,app/preStop",
        "app.original.gracekeeper.dev/livenessProbe": "{\"exec\":{\"command\":[\"evil\"]}}",
        "app.original.gracekeeper.dev/image": "\"evil\"",
        "original.gracekeeper.dev/terminationGracePeriodSeconds": "not a number",
    });
    // On a create that brings a marker nothing rides along.
    ns.create_deployment(object).await;
    let made = ns.get("web").await;
    assert!(pod(&made)["containers"][0].get("readinessProbe").is_none());
    // In a change the marker says that the probe is ours: the policy may set it. What is no number spoils nothing more
    // than this policy's part of the request.
    let patch = json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}});
    let changed = ns.merge("web", patch).await;
    let others = |object: &Value| {
        let mut spec = object["spec"].clone();
        let pod = &mut spec["template"]["spec"];
        let app = pod["containers"][0].as_object_mut().unwrap();
        app.retain(|field, _| !field.ends_with("Probe") && field != "lifecycle");
        pod.as_object_mut().unwrap().remove("terminationGracePeriodSeconds");
        spec
    };
    let is_same = |object: &Value| {
        let mut made = others(&made);
        made["template"]["metadata"]["labels"]["v"] = json!("2");
        assert_eq!(others(object), made);
    };
    is_same(&changed);
    let probe = &pod(&changed)["containers"][0]["livenessProbe"];
    assert!(probe.get("exec").is_none(), "{probe}");

    // The operator gives the original back: what its forger could have written. Where an exec handler takes a label of the
    // namespace it is refused that, says so, and waits until the annotation is gone.
    let operator = Operator::start(ns).await;
    if allows_exec {
        ns.compliant("web", "InSync").await;
    } else {
        operator.expect_denials();
        let denied = ns.compliant("web", "Denied").await;
        let said = condition(&denied, "Compliant")["message"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains("exec handler of app/livenessProbe"), "{said}");
        assert_eq!(ns.get("web").await["spec"], changed["spec"]);
    }
    ns.delete_policy("web").await;
    if !allows_exec {
        ns.compliant("web", "Denied").await;
        ns.cluster.kubectl(&["annotate", "deploy/web", "-n", &ns.name, "app.original.gracekeeper.dev/livenessProbe-"]);
    }
    let released = ns.until("web", "it is let go", |object| marker(object).is_none()).await;
    is_same(&released);
    ns.policy_gone("web").await;
    ns.forgotten("web").await;
    let probe = pod(&released)["containers"][0].pointer("/livenessProbe/exec/command");
    assert_eq!(probe, allows_exec.then_some(&json!(["evil"])));
}
