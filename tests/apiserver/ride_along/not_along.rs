//! Writes in which no policy rides along: the marker stays true in them, too, and nobody is refused (`ride-along-marker.yaml`).

use gracekeeper::api::FILLED_BY_ANNOTATION;
use serde_json::{Value, json};

use super::operating::{git, manifest, operated, web};
use super::{Ridden, annotation, kubectl, marker};
use crate::support::namespace::{pod, web_policy};
use crate::support::{Operator, TestNamespace};

/// Something that people and tools do.
type Does = fn(&TestNamespace) -> Result<(), String>;

fn own_readiness() -> Value {
    json!({"readinessProbe": {"httpGet": {"path": "/mine", "port": 8080}, "periodSeconds": 99}})
}

fn tcp() -> Value {
    json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 99}})
}

fn selecting(when_already_set: &str) -> Value {
    let mut policy = web_policy();
    policy["whenAlreadySet"] = json!(when_already_set);
    policy["selector"] = json!({"matchLabels": {"tier": "web"}});
    policy["rollout"] = json!({"minReadySeconds": 2});
    policy
}

fn edit_policy(ns: &TestNamespace, spec: &Value) -> Result<(), String> {
    let patch = json!({"spec": spec}).to_string();
    kubectl(ns, &["patch", "healthpolicy", "web", "--type=merge", "-p", &patch], "")
}

fn delete_policy(ns: &TestNamespace) -> Result<(), String> {
    kubectl(ns, &["delete", "healthpolicy", "web", "--wait=false"], "")
}

fn readiness(object: &Value) -> &Value {
    &pod(object)["containers"][0]["readinessProbe"]
}

fn is_own(object: &Value) -> bool {
    let probe = readiness(object);
    probe["periodSeconds"] == 99 && (probe["httpGet"]["path"] == "/mine") != (probe["tcpSocket"]["port"] == 8080)
}

/// A policy that no operator has ever seen has ridden along in this manifest.
async fn rode_along(topic: &str, policy: &Value, fields: &Value) -> Option<Ridden> {
    let ridden = Ridden::new(topic).await?;
    ridden.seen(&web("probe"), "nothing is there", |object| marker(object).is_none()).await;
    let ns = &ridden.ns;
    crate::support::eventually("the policy rides along", || async {
        ns.policy("web", policy.clone()).await;
        marker(&ridden.would_create(web("probe")).await)
    })
    .await;
    git(ns, &manifest(fields)).unwrap();
    assert!(marker(&ns.get("web").await).unwrap().contains("app/readinessProbe"));
    Some(ridden)
}

#[tokio::test]
async fn what_somebody_changes_while_nobody_looks_is_theirs() {
    let client_side: Does = |ns| kubectl(ns, &["apply", "-f", "-"], &manifest(&own_readiness()).to_string());
    let server_side: Does = |ns| git(ns, &manifest(&own_readiness()));
    let exempt: Does = |ns| {
        ns.cluster.kubectl(&["label", "namespace", &ns.name, "gracekeeper.dev/ride-along=disabled"]);
        git(ns, &manifest(&own_readiness()))
    };
    let relabelled: Does = |ns| {
        let mut own = manifest(&own_readiness());
        own["metadata"]["labels"]["tier"] = json!("legacy");
        git(ns, &own)
    };
    let deselected: Does = |ns| {
        edit_policy(ns, &json!({"selector": {"matchLabels": {"tier": "db"}}}))?;
        git(ns, &manifest(&own_readiness()))
    };
    let stories = [
        ("client-side", true, client_side),
        ("server-side", true, server_side),
        ("exempt", true, exempt),
        ("relabelled", false, relabelled),
        ("deselected", false, deselected),
    ];
    for (story, is_governed, does) in stories {
        let Some(ridden) = rode_along(&format!("theirs-{story}"), &selecting("Keep"), &json!({})).await else { return };
        let ns = &ridden.ns;
        does(ns).unwrap_or_else(|error| panic!("{story}: {error}"));
        let changed = ns.get("web").await;
        assert!(is_own(&changed), "{story}: {changed}");
        assert!(!marker(&changed).unwrap().contains("readinessProbe"), "{story}: {changed}");
        let _operator = Operator::start(ns).await;
        if is_governed {
            ns.compliant("web", "InSync").await;
        } else {
            ns.until("web", &format!("{story}: the rest is taken out"), |object| marker(object).is_none()).await;
            ns.forgotten("web").await;
        }
        let after = ns.get("web").await;
        assert!(is_own(&after), "{story}: {after}");
        assert_eq!(pod(&after)["containers"][0].get("livenessProbe").is_some(), is_governed, "{story}");
    }
}

#[tokio::test]
async fn numbers_that_somebody_changes_while_nobody_looks_are_theirs() {
    let Some(ridden) = rode_along("their-numbers", &selecting("Keep"), &json!({})).await else { return };
    let ns = &ridden.ns;
    edit_policy(ns, &json!({"selector": {"matchLabels": {"tier": "db"}}})).unwrap();
    // The ready time alone is no other template.
    ns.merge("web", json!({"spec": {"minReadySeconds": 7}})).await;
    assert!(!marker(&ns.get("web").await).unwrap().contains("minReadySeconds"));
    let patch = json!({"spec": {"progressDeadlineSeconds": 2000, "template": {"spec": {"terminationGracePeriodSeconds": 200}}}});
    ns.merge("web", patch).await;
    let _operator = Operator::start(ns).await;
    let after = ns.until("web", "the rest is taken out", |object| marker(object).is_none()).await;
    let spec = &after["spec"];
    assert_eq!(
        (&spec["minReadySeconds"], &spec["progressDeadlineSeconds"], &pod(&after)["terminationGracePeriodSeconds"]),
        (&json!(7), &json!(2000), &json!(200))
    );
    assert!(pod(&after)["containers"][0].get("livenessProbe").is_none());
}

#[tokio::test]
async fn a_manifest_that_changes_what_was_replaced_is_not_given_an_older_one_back() {
    let Some(ridden) = rode_along("newer", &selecting("Replace"), &tcp()).await else { return };
    let ns = &ridden.ns;
    delete_policy(ns).unwrap();
    git(ns, &manifest(&own_readiness())).unwrap();
    let _operator = Operator::start(ns).await;
    ns.policy_gone("web").await;
    let after = ns.get("web").await;
    assert_eq!(marker(&after), None);
    assert!(pod(&after)["containers"][0].get("livenessProbe").is_none(), "{after}");
    // Ours and the newer one are of one type and were merged; what the manifest says is there.
    assert!(is_own(&after), "{after}");
}

#[tokio::test]
async fn an_own_handler_is_refused_to_nobody() {
    // Of a policy that no operator has seen, again and again; of one that is on its way out.
    for (story, meanwhile) in [("unseen", (|_| Ok(())) as Does), ("leaving", delete_policy)] {
        for when in ["Keep", "Replace"] {
            let fields = if when == "Replace" { tcp() } else { json!({}) };
            let what = format!("{story}, {when}");
            let Some(ridden) = rode_along(&format!("handler-{story}"), &selecting(when), &fields).await else { return };
            let ns = &ridden.ns;
            let rode = ns.get("web").await;
            meanwhile(ns).unwrap();
            for _ in 0..2 {
                git(ns, &manifest(&tcp())).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            let after = ns.get("web").await;
            assert_eq!(is_own(&after), when == "Keep", "{what}: {after}");
            if when == "Replace" {
                assert_eq!(readiness(&after), readiness(&rode), "{what}: the same manifest changes nothing");
                assert_eq!(after["metadata"]["generation"], rode["metadata"]["generation"], "{what}");
            }
            let _operator = Operator::start(ns).await;
            if story == "leaving" {
                ns.policy_gone("web").await;
                assert!(is_own(&ns.get("web").await), "{what}");
            } else {
                ns.compliant("web", "InSync").await;
                assert_eq!(is_own(&ns.get("web").await), when == "Keep", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_policy_that_only_looks_refuses_no_manifest() {
    // What was ridden over is there when the policy comes, and is applied again as it was.
    let stories =
        [("Keep", json!({}), tcp()), ("Replace", tcp(), tcp()), ("Replace", own_readiness(), own_readiness())];
    for (when, first, then) in stories {
        let Some(ridden) = Ridden::new("only-looks").await else { return };
        let ns = &ridden.ns;
        let _operator = operated(&ridden, selecting(when)).await;
        git(ns, &manifest(&first)).unwrap();
        ns.compliant("web", "InSync").await;
        let rode = ns.get("web").await;
        edit_policy(ns, &json!({"mode": "Audit"})).unwrap();
        ridden.seen(&web("probe"), "nothing rides along any more", |object| marker(object).is_none()).await;
        if when == "Replace" {
            git(ns, &manifest(&then)).unwrap_or_else(|error| panic!("{when}: {error}"));
            let same = ns.get("web").await;
            assert_eq!((&same["spec"], marker(&same)), (&rode["spec"], marker(&rode)), "the same manifest, {then}");
        }
        let mut next = manifest(&then);
        next["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/app:2");
        git(ns, &next).unwrap_or_else(|error| panic!("{when}: {error}"));
        let after = ns.get("web").await;
        assert_eq!(is_own(&after), when == "Keep", "{when}: {after}");
        ns.delete_policy("web").await;
        ns.policy_gone("web").await;
        let after = ns.get("web").await;
        assert!(is_own(&after) && marker(&after).is_none(), "{when}: {after}");
        assert_eq!(readiness(&after)["failureThreshold"], 3, "{when}: {after}");
        assert!(pod(&after)["containers"][0].get("livenessProbe").is_none(), "{when}: {after}");
    }
}

#[tokio::test]
async fn an_own_handler_is_set_and_dropped_again_where_a_namespace_is_exempt() {
    let pre_stop = json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}});
    for own in [tcp(), own_readiness(), pre_stop] {
        let Some(ridden) = Ridden::new("exempt").await else { return };
        let ns = &ridden.ns;
        ns.cluster.kubectl(&["label", "namespace", &ns.name, "gracekeeper.dev/ride-along=disabled"]);
        ridden.seen(&web("probe"), "nothing rides along", |object| marker(object).is_none()).await;
        let _operator = Operator::start(ns).await;
        ns.policy("web", web_policy()).await;
        git(ns, &manifest(&json!({}))).unwrap();
        let is_filled = |object: &Value| {
            let app = &pod(object)["containers"][0];
            app["readinessProbe"]["httpGet"]["path"] == "/readyz" && app["lifecycle"]["preStop"].get("sleep").is_some()
        };
        ns.until("web", "the operator fills it", is_filled).await;
        ns.compliant("web", "InSync").await;
        git(ns, &manifest(&own)).unwrap_or_else(|error| panic!("{own}: {error}"));
        assert!(!is_filled(&ns.get("web").await), "{own}");
        git(ns, &manifest(&json!({}))).unwrap_or_else(|error| panic!("{own}, dropped: {error}"));
        ns.until("web", &format!("{own}: the operator fills it again"), is_filled).await;
    }
}

#[tokio::test]
async fn a_workload_leaves_with_its_own_handler_in_one_manifest() {
    let Some(ridden) = Ridden::new("leaves").await else { return };
    let ns = &ridden.ns;
    let operator = operated(&ridden, selecting("Keep")).await;
    git(ns, &manifest(&json!({}))).unwrap();
    ns.compliant("web", "InSync").await;
    let mut own = manifest(&tcp());
    own["metadata"]["labels"]["gracekeeper.dev/ride-along"] = json!("disabled");
    git(ns, &own).unwrap();
    ns.compliant("web", "InSync").await;
    let after = ns.get("web").await;
    assert!(is_own(&after) && pod(&after)["containers"][0].get("livenessProbe").is_some(), "{after}");
    assert!(!marker(&after).unwrap().contains("readinessProbe"), "{after}");
    if let Some(writes) = operator.audit().writes("deployments") {
        assert!(writes.is_empty(), "{writes:?}");
    }
}

#[tokio::test]
async fn what_somebody_applies_with_an_exported_marker_is_not_taken_out() {
    let Some(ridden) = Ridden::new("exported").await else { return };
    let ns = &ridden.ns;
    let _operator = operated(&ridden, selecting("Keep")).await;
    git(ns, &manifest(&json!({}))).unwrap();
    ns.compliant("web", "InSync").await;
    let stored = ns.get("web").await;
    assert!(annotation(&stored, FILLED_BY_ANNOTATION).is_some());
    let mut export = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": stored["spec"],
        "metadata": {"name": "web", "labels": {"tier": "legacy", "app": "web"}, "annotations": stored["metadata"]["annotations"]}});
    export["metadata"]["annotations"].as_object_mut().unwrap().remove("deployment.kubernetes.io/revision");
    let taken_out =
        |object: &Value| marker(object).is_none() && pod(object)["containers"][0].get("livenessProbe").is_none();
    ns.merge("web", json!({"metadata": {"labels": {"tier": "legacy"}}})).await;
    ns.until("web", "it is released", taken_out).await;
    ns.forgotten("web").await;
    // Into Git, and synced again and again; and what the revision of before says, with its annotations.
    let kept = async |what: &str| {
        let after = ns.get("web").await;
        assert!(pod(&after)["containers"][0].get("livenessProbe").is_some(), "{what}: {after}");
        assert_eq!((marker(&after), annotation(&after, FILLED_BY_ANNOTATION)), (None, None), "{what}");
        // Whoever would take it out has had the time: it looked at what came after it.
        ns.create_deployment(web(&what.replace(' ', "-"))).await;
        ns.compliant(&what.replace(' ', "-"), "InSync").await;
        let later = ns.get("web").await;
        assert_eq!(pod(&later), pod(&after), "{what}");
        later["metadata"]["generation"].as_i64().unwrap()
    };
    git(ns, &export).unwrap();
    let generation = kept("a sync").await;
    git(ns, &export).unwrap();
    assert_eq!(kept("another sync").await, generation);
    git(ns, &{
        let mut bare = manifest(&json!({}));
        bare["metadata"]["labels"]["tier"] = json!("legacy");
        bare
    })
    .unwrap();
    kubectl(ns, &["rollout", "undo", "deploy/web"], "").unwrap();
    kept("an undo").await;
    // Made anew from the export: the operator, which remembers nothing of it, leaves it alone.
    kubectl(ns, &["delete", "deploy", "web"], "").unwrap();
    git(ns, &export).unwrap();
    let anew = ns.get("web").await;
    assert_eq!(annotation(&anew, FILLED_BY_ANNOTATION), None);
    git(ns, &export).unwrap();
    ns.create_deployment(web("last")).await;
    ns.compliant("last", "InSync").await;
    let again = ns.get("web").await;
    assert_eq!((pod(&again), annotation(&again, FILLED_BY_ANNOTATION)), (pod(&anew), None));
}

/// The API server evaluates its policies in an order that changes whenever one of them does.
#[tokio::test]
async fn the_order_of_the_admission_policies_makes_no_difference() {
    let Some(ridden) = Ridden::new("order").await else { return };
    let ns = &ridden.ns;
    let put: Does = |ns| {
        let mut own = manifest(&tcp());
        own["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/app:3");
        kubectl(ns, &["replace", "-f", "-"], &own.to_string())
    };
    let steps: [(&str, Does); 9] = [
        ("created", |ns| git(ns, &manifest(&tcp()))),
        ("the same again", |ns| git(ns, &manifest(&tcp()))),
        ("another image", |ns| kubectl(ns, &["set", "image", "deploy/web", "app=example.com/app:2"], "")),
        ("a PUT", put),
        ("a number alone", |ns| kubectl(ns, &["patch", "deploy/web", "-p", r#"{"spec": {"minReadySeconds": 7}}"#], "")),
        ("another type", |ns| git(ns, &manifest(&own_readiness()))),
        ("dropped", |ns| git(ns, &manifest(&json!({})))),
        ("its own preStop", |ns| {
            git(ns, &manifest(&json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}})))
        }),
        ("dropped again", |ns| git(ns, &manifest(&json!({})))),
    ];
    for when in ["Keep", "Replace"] {
        ridden.policy("web", selecting(when)).await;
        let mut first = Vec::new();
        for round in 0..8 {
            let name = format!("{}-marker", ridden.release);
            let mark = format!("example.com/round={when}-{round}");
            ns.cluster.kubectl(&["annotate", "--overwrite", "mutatingadmissionpolicybinding", &name, &mark]);
            ridden.informed().await;
            for (nth, (step, does)) in steps.iter().enumerate() {
                does(ns).unwrap_or_else(|error| panic!("{when}, {round}, {step}: {error}"));
                let web = ns.get("web").await;
                let mut annotations = web["metadata"]["annotations"].clone();
                annotations.as_object_mut().unwrap().remove("deployment.kubernetes.io/revision");
                let spec = &web["spec"];
                let now =
                    json!([spec["template"], spec["minReadySeconds"], spec["progressDeadlineSeconds"], annotations]);
                if round == 0 {
                    first.push(now);
                } else {
                    assert_eq!(now, first[nth], "{when}, {round}, {step}");
                }
            }
            kubectl(ns, &["delete", "deploy", "web"], "").unwrap();
        }
    }
}
