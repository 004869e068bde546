//! What people and tools do to Deployments, one thing after another.

use std::process::Command;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::twins::{Twins, apply_client_side, probes, web, with};
use super::{Ridden, annotation, apply_server_side, kubectl, marker, would_create};
use crate::support::namespace::{pod, web_policy};
use crate::support::{TestNamespace, eventually};

#[tokio::test]
async fn every_way_to_change_a_deployment_carries_the_policy() {
    let mut policy = web_policy();
    // A deadline that does not follow the probes: where one rode along, a smaller need does not lower it.
    policy["rollout"] = json!({"minReadySeconds": 5, "patience": {"startSeconds": 90}});
    let Some(mut twins) = Twins::new("everyday", policy.clone()).await else { return };

    let made = twins
        .both("kubectl create", async |ns| kubectl(ns, &["create", "-f", "-"], &web("example.com/app:1").to_string()))
        .await;
    assert_eq!(probes(&made).len(), 3);
    assert_eq!(pod(&made)["terminationGracePeriodSeconds"], 37);
    assert_eq!(made["metadata"]["generation"], 1, "one write");

    twins
        .both("kubectl set image", async |ns| kubectl(ns, &["set", "image", "deploy/web", "app=example.com/app:2"], ""))
        .await;
    twins.both("kubectl rollout restart", async |ns| kubectl(ns, &["rollout", "restart", "deploy/web"], "")).await;
    twins.both("kubectl rollout undo", async |ns| kubectl(ns, &["rollout", "undo", "deploy/web"], "")).await;
    twins
        .both("a merge patch", async |ns| {
            let patch = json!({"spec": {"template": {"metadata": {"labels": {"version": "3"}}}}});
            kubectl(ns, &["patch", "deploy/web", "--type=merge", "-p", &patch.to_string()], "")
        })
        .await;
    twins.both("a strategic patch", async |ns| {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "A", "value": "b"}]}]}}}});
        kubectl(ns, &["patch", "deploy/web", "-p", &patch.to_string()], "")
    }).await;
    twins.both("a JSON patch", async |ns| {
        let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "example.com/app:4"}]);
        kubectl(ns, &["patch", "deploy/web", "--type=json", "-p", &patch.to_string()], "")
    }).await;
    let put = twins
        .both("a PUT without probes and annotations", async |ns| {
            kubectl(ns, &["replace", "-f", "-"], &web("example.com/app:4").to_string())
        })
        .await;
    assert_eq!(probes(&put).len(), 3);
    twins.both("kubectl apply", async |ns| apply_client_side(ns, &web("example.com/app:5"))).await;
    twins
        .both("kubectl apply --server-side", async |ns| apply_server_side(ns, "kubectl", &web("example.com/app:6")))
        .await;

    // Not of the template: nothing rides along, and nothing rolls.
    let before = twins.ridden.ns.get("web").await;
    for words in [
        &["scale", "deploy/web", "--replicas=2"][..],
        &["label", "deploy/web", "team=shop"],
        &["rollout", "pause", "deploy/web"],
    ] {
        twins.both(&words.join(" "), async |ns| kubectl(ns, words, "")).await;
    }
    let after = twins.ridden.ns.get("web").await;
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    twins.both("kubectl rollout resume", async |ns| kubectl(ns, &["rollout", "resume", "deploy/web"], "")).await;

    // The policy changes; the next change carries the new one.
    policy["containers"][0]["probes"]["readiness"] = json!({"tcpSocket": {"port": "http"}, "periodSeconds": 3});
    policy["shutdown"] = json!({"drainSeconds": 15, "finishSeconds": 60});
    twins.policy(&policy).await;
    let edited = twins
        .both("an image after an edit of the policy", async |ns| apply_client_side(ns, &web("example.com/app:7")))
        .await;
    assert_eq!(pod(&edited)["containers"][0]["readinessProbe"]["tcpSocket"]["port"], "http");
    assert_eq!(pod(&edited)["terminationGracePeriodSeconds"], 77);

    // It drops a probe: the next change lets go of it.
    policy["containers"][0]["probes"].as_object_mut().unwrap().remove("startup");
    twins.policy(&policy).await;
    let dropped = twins
        .both("an image after the policy dropped a probe", async |ns| apply_client_side(ns, &web("example.com/app:8")))
        .await;
    assert_eq!(probes(&dropped), ["livenessProbe", "readinessProbe"]);

    let renamed = |name: &str| {
        let mut manifest = web("example.com/app:9");
        manifest["spec"]["template"]["spec"]["containers"][0]["name"] = json!(name);
        manifest
    };
    twins.both("a container is renamed", async |ns| apply_client_side(ns, &renamed("renamed"))).await;
    // A second container, and nobody knows which is the main one: its probes and hooks go. The grace period may have had
    // an original that only the operator knows; it waits for the operator.
    let ns = &twins.ridden.ns;
    let mut manifest = renamed("renamed");
    let all = manifest["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    all.push(json!({"name": "two", "image": "example.com/two:1"}));
    apply_client_side(ns, &manifest).unwrap();
    let second = ns.get("web").await;
    assert!(probes(&second).is_empty());
    assert_eq!(pod(&second)["terminationGracePeriodSeconds"], 77);
    let numbers = "/minReadySeconds,/progressDeadlineSeconds,/terminationGracePeriodSeconds";
    assert_eq!(marker(&second).as_deref(), Some(numbers));
}

#[tokio::test]
async fn a_users_own_handler_wins_in_the_same_request_and_comes_back_when_dropped() {
    let Some(mut twins) = Twins::new("own-handler", web_policy()).await else { return };
    let own = with(
        "example.com/app:2",
        json!({
            "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 5},
            "lifecycle": {"preStop": {"exec": {"command": ["drain"]}}},
        }),
    );
    // Without riding along the server refuses it: "may not specify more than 1 handler type". There the user has to take
    // our handler out in the same request, which a tool does not do.
    let ridden = &twins.ridden.ns;
    for (manager, client_side) in [("argocd-controller", false), ("kubectl", true)] {
        let apply = |manifest: &Value| {
            if client_side { apply_client_side(ridden, manifest) } else { apply_server_side(ridden, manager, manifest) }
        };
        apply(&web("example.com/app:1")).unwrap();
        let filled = ridden.get("web").await;
        assert!(marker(&filled).unwrap().contains("app/readinessProbe"));
        apply(&own).unwrap();
        let won = ridden.get("web").await;
        let app = &pod(&won)["containers"][0];
        assert_eq!(app["readinessProbe"]["exec"]["command"], json!(["ready"]), "{manager}");
        assert!(app["readinessProbe"].get("httpGet").is_none(), "{manager}: ours is gone");
        assert_eq!(app["lifecycle"]["preStop"], json!({"exec": {"command": ["drain"]}}), "{manager}");
        assert!(
            !marker(&won).unwrap().contains("readinessProbe") && !marker(&won).unwrap().contains("preStop"),
            "{manager}"
        );
        apply(&web("example.com/app:3")).unwrap();
        let back = ridden.get("web").await;
        assert_eq!(
            back["spec"]["template"]["spec"]["containers"][0]["readinessProbe"],
            filled["spec"]["template"]["spec"]["containers"][0]["readinessProbe"],
            "{manager}"
        );
        assert_eq!(marker(&back), marker(&filled), "{manager}");
        kubectl(ridden, &["delete", "deploy", "web"], "").unwrap();
    }

    // A patch of each kind, too.
    for (kind, patch) in [
        (
            "strategic",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "livenessProbe": {"tcpSocket": {"port": 8080}}}]}}}}),
        ),
        (
            "json",
            json!([{"op": "add", "path": "/spec/template/spec/containers/0/livenessProbe/tcpSocket", "value": {"port": 8080}}]),
        ),
    ] {
        apply_client_side(ridden, &web("example.com/app:1")).unwrap();
        kubectl(ridden, &["patch", "deploy/web", &format!("--type={kind}"), "-p", &patch.to_string()], "").unwrap();
        let won = ridden.get("web").await;
        assert_eq!(pod(&won)["containers"][0]["livenessProbe"].get("httpGet"), None, "{kind}");
        assert_eq!(pod(&won)["containers"][0]["livenessProbe"]["tcpSocket"]["port"], 8080, "{kind}");
        kubectl(ridden, &["delete", "deploy", "web"], "").unwrap();
    }

    // Where both can go the same way they do: a handler of the same type, and a threshold alone.
    for (what, fields) in [
        ("the same type", json!({"livenessProbe": {"httpGet": {"path": "/mine", "port": 8080}}})),
        ("a threshold", json!({"startupProbe": {"failureThreshold": 99}})),
    ] {
        twins.both("a manifest", async |ns| apply_server_side(ns, "flux", &web("example.com/app:1"))).await;
        let won = &twins.ridden.ns;
        apply_server_side(won, "flux", &with("example.com/app:2", fields.clone())).unwrap();
        let taken = won.get("web").await;
        let (probe, mine) = fields.as_object().unwrap().iter().next().unwrap();
        for (field, value) in mine.as_object().unwrap().iter().filter(|(_, value)| !value.is_object()) {
            assert_eq!(&pod(&taken)["containers"][0][probe][field], value, "{what}");
        }
        assert!(!marker(&taken).unwrap().contains(probe.as_str()), "{what}");
        apply_server_side(won, "flux", &web("example.com/app:1")).unwrap();
        assert!(marker(&won.get("web").await).unwrap().contains(probe.as_str()), "{what}, dropped");
    }
}

#[tokio::test]
async fn two_appliers_share_a_deployment_and_a_declared_grace_period_stays() {
    let mut policy = web_policy();
    policy["rollout"] = json!({"minReadySeconds": 5});
    let Some(mut twins) = Twins::new("two-appliers", policy).await else { return };
    twins.both("the first", async |ns| apply_server_side(ns, "argocd-controller", &web("example.com/app:1"))).await;
    let second = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "LEVEL", "value": "info"}]}]}}}});
    twins.both("the second adds to a container", async |ns| apply_server_side(ns, "config-tool", &second)).await;
    let graceful = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"minReadySeconds": 7, "template": {"spec": {"terminationGracePeriodSeconds": 38}}}});
    twins.plain.cluster.try_kubectl(&["delete", "deploy", "web", "-n", &twins.plain.name], "").unwrap();
    twins.ridden.ns.cluster.try_kubectl(&["delete", "deploy", "web", "-n", &twins.ridden.ns.name], "").unwrap();
    twins.held.clear();
    let mut declared = web("example.com/app:1");
    declared["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(20);
    let stays =
        twins.both("a declared grace period", async |ns| apply_server_side(ns, "argocd-controller", &declared)).await;
    assert_eq!(pod(&stays)["terminationGracePeriodSeconds"], 20);
    assert!(!marker(&stays).unwrap().contains("terminationGracePeriodSeconds"));
    twins
        .both("another declares more", async |ns| {
            kubectl(
                ns,
                &["apply", "--server-side", "--force-conflicts", "--field-manager", "other", "-f", "-"],
                &graceful.to_string(),
            )
        })
        .await;
}

#[tokio::test]
async fn a_dry_run_of_the_same_manifest_shows_no_drift_and_applying_it_again_rolls_nothing() {
    let Some(ridden) = Ridden::new("no-drift").await else { return };
    for (when, own) in [("Keep", json!({})), ("Replace", json!({"readinessProbe": {"exec": {"command": ["ready"]}}}))] {
        let mut policy = web_policy();
        policy["whenAlreadySet"] = json!(when);
        policy["containers"][0]["probes"]["readiness"]["periodSeconds"] = json!(if when == "Keep" { 5 } else { 6 });
        ridden.policy("web", policy).await;
        let manifest = with("example.com/app:1", own);
        ridden
            .seen(&manifest, "the policy is seen", |object| {
                pod(object)["containers"][0]["readinessProbe"]["periodSeconds"] == if when == "Keep" { 5 } else { 6 }
            })
            .await;
        let ns = &ridden.ns;
        // As Argo CD and Flux apply and look for drift.
        for manager in ["argocd-controller", "kustomize-controller"] {
            let object = serde_json::from_value::<Value>(manifest.clone()).unwrap();
            let params = PatchParams { dry_run: false, ..PatchParams::apply(manager).force() };
            ns.deployments().patch("web", &params, &Patch::Apply(&object)).await.unwrap();
            // The Deployment controller adds an annotation to what was just made.
            let stored = ns.settled("web").await;
            let dry = PatchParams { dry_run: true, ..params };
            let would = ns.deployments().patch("web", &dry, &Patch::Apply(&object)).await.unwrap();
            let would = serde_json::to_value(would).unwrap();
            assert_eq!(would["spec"], stored["spec"], "{manager}, {when}");
            for field in ["annotations", "generation"] {
                assert_eq!(would["metadata"][field], stored["metadata"][field], "{manager}, {when}");
            }
        }
        let stored = ns.get("web").await;
        assert_eq!(stored["metadata"]["generation"], 1, "{when}");
        // What is to be given back is what the manifest said, with the server's defaults and none of the policy's numbers.
        let original = annotation(&stored, "app.original.gracekeeper.dev/readinessProbe");
        let original = original.map(|text| serde_json::from_str::<Value>(&text).unwrap());
        let was = json!({"exec": {"command": ["ready"]}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1,
            "failureThreshold": 3});
        assert_eq!(original, (when == "Replace").then_some(was));
        assert_eq!(probes(&ns.get("web").await).len(), 3, "{when}");
        kubectl(ns, &["delete", "deploy", "web"], "").unwrap();
    }
}

#[tokio::test]
async fn what_kubectl_applied_is_declared_and_a_sleep_that_does_not_fit_is_left_out() {
    let Some(mut twins) = Twins::new("declared", web_policy()).await else { return };
    let odd = |text: &str| {
        let mut manifest = with(
            "example.com/app:1",
            json!({"livenessProbe": {"tcpSocket": {"port": 8080}, "terminationGracePeriodSeconds": 9},
                "env": [{"name": "ODD", "value": text}], "volumeMounts": [{"name": "odd", "mountPath": "/odd"}]}),
        );
        let spec = manifest["spec"]["template"]["spec"].as_object_mut().unwrap();
        spec.insert("volumes".into(), json!([{"name": "odd", "hostPath": {"path": format!("/{text}")}}]));
        spec.insert("tolerations".into(), json!([{"key": "odd", "operator": "Equal", "value": "odd"}]));
        spec.insert("schedulerName".into(), json!(text));
        manifest
    };
    // Brackets within strings begin and end nothing, and what is said in a string is not declared.
    let texts = [
        "plain",
        "a]b",
        "[a",
        "a}b",
        "{",
        r#"\"]"#,
        r"a\",
        r#"\"[[\"#,
        "\u{1}<]>",
        r#""terminationGracePeriodSeconds": 8"#,
        r#"]"terminationGracePeriodSeconds":"#,
    ];
    for text in texts {
        let mut manifest = odd(text);
        let raised = twins.anew("the grace period of a probe alone", async |ns| apply_client_side(ns, &manifest)).await;
        assert_eq!(pod(&raised)["terminationGracePeriodSeconds"], 37, "{text}: a probe's own is another one");
        manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(8);
        let stays = twins.anew("a declared grace period", async |ns| apply_client_side(ns, &manifest)).await;
        assert_eq!(pod(&stays)["terminationGracePeriodSeconds"], 8, "{text}");
        assert!(
            pod(&stays)["containers"][0].get("lifecycle").is_none(),
            "{text}: ten seconds of sleep do not fit into eight"
        );
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/app:2");
        twins.both("another image", async |ns| apply_client_side(ns, &manifest)).await;
    }
    // Another tool's text, with its own order and spaces; and what only has that name.
    let mut manifest = odd("a]b");
    for (grace, text) in [
        (
            37,
            r#"{"metadata": {"annotations": {"terminationGracePeriodSeconds": "8"}, "labels": {"a": "terminationGracePeriodSeconds"}}, "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}}}"#,
        ),
        (
            8,
            r#"{"metadata":{"annotations":{"terminationGracePeriodSeconds":"8"}},"spec":{"template":{"spec":{"containers":[{"name":"app"}],"terminationGracePeriodSeconds":8}}}}"#,
        ),
        (8, r#"{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": null}}}}"#),
        (
            8,
            r#"{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 8, "volumes": [{"a": "]"}], "containers": [{"name": "app"}]}}}}"#,
        ),
        (
            37,
            r#"{"spec": {"template": {"spec": {"volumes": [], "containers": [{"livenessProbe": {"terminationGracePeriodSeconds" : 8}}]}}}}"#,
        ),
    ] {
        manifest["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": text});
        manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(8);
        // Not by kubectl, which would write that annotation anew.
        let create = async |ns: &TestNamespace| {
            ns.create_deployment(manifest.clone()).await;
            Ok(())
        };
        let created = twins.anew(text, create).await;
        assert_eq!(pod(&created)["terminationGracePeriodSeconds"], grace, "{text}");
    }
}

#[tokio::test]
async fn helm_installs_and_upgrades_in_one_rollout_each() {
    let Some(ridden) = Ridden::new("by-helm").await else { return };
    ridden.policy("web", web_policy()).await;
    ridden.seen(&web("example.com/app:1"), "the policy is seen", |object| marker(object).is_some()).await;
    let chart = crate::support::operator::scratch(&format!("{}-chart", ridden.ns.name));
    let write = |image: &str, fields: Value| {
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 0.1.0\n").unwrap();
        std::fs::write(chart.join("templates/web.yaml"), with(image, fields).to_string()).unwrap();
    };
    let helm = |words: &[&str]| {
        let chart = chart.to_str().unwrap();
        ridden.ns.cluster.try_helm(&[words, &["shop", chart, "-n", &ridden.ns.name]].concat(), "")
    };
    // Client-side as Helm 3 does it, and server-side as Helm 4 does.
    for server_side in ["false", "true"] {
        write("example.com/app:1", json!({}));
        helm(&["install", &format!("--server-side={server_side}")]).unwrap();
        let made = ridden.ns.get("web").await;
        assert_eq!((probes(&made).len(), &made["metadata"]["generation"]), (3, &json!(1)), "{server_side}");
        write("example.com/app:2", json!({"readinessProbe": {"exec": {"command": ["ready"]}}}));
        helm(&["upgrade"]).unwrap_or_else(|error| panic!("server-side {server_side}: {error}"));
        let own = ridden.ns.get("web").await;
        assert_eq!(pod(&own)["containers"][0]["readinessProbe"]["exec"]["command"], json!(["ready"]), "{server_side}");
        write("example.com/app:3", json!({}));
        helm(&["upgrade"]).unwrap();
        assert_eq!(probes(&ridden.ns.get("web").await).len(), 3, "{server_side}");
        let generation = ridden.ns.get("web").await["metadata"]["generation"].clone();
        assert_eq!(generation, 3, "{server_side}: one write each");
        ridden.ns.cluster.try_helm(&["uninstall", "shop", "-n", &ridden.ns.name], "").unwrap();
        eventually("the release is gone", || async {
            ridden.ns.deployments().get_opt("web").await.unwrap().is_none().then_some(())
        })
        .await;
    }
    let _ = Command::new("rm").arg("-r").arg(&chart).status();
}

#[tokio::test]
async fn what_is_exempt_or_not_enforced_stays_as_it_is() {
    let Some(ridden) = Ridden::new("exempt").await else { return };
    let selector = |value: &str| {
        json!({"matchExpressions": [
        {"key": "tier", "operator": "In", "values": [value, "both"]}, {"key": "legacy", "operator": "DoesNotExist"},
        {"key": "tier", "operator": "NotIn", "values": ["db"]}, {"key": "app", "operator": "Exists"}]})
    };
    let spec = |mode: &str, value: &str| json!({"selector": selector(value), "mode": mode, "shutdown": {"drainSeconds": 5, "finishSeconds": 5}});
    ridden.policy("audit", spec("Audit", "audit")).await;
    ridden.policy("suspended", spec("Suspended", "suspended")).await;
    ridden.policy("enforced", spec("Enforce", "web")).await;
    let labelled = |labels: Value| {
        let mut object = web("example.com/app:1");
        object["metadata"]["labels"].as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        object
    };
    ridden.seen(&labelled(json!({})), "the policy is seen", |object| marker(object).is_some()).await;
    for labels in [
        json!({"tier": "audit"}),
        json!({"tier": "suspended"}),
        json!({"tier": "db"}),
        json!({"legacy": ""}),
        json!({"gracekeeper.dev/ride-along": "disabled"}),
    ] {
        let object = ridden.would_create(labelled(labels.clone())).await;
        assert_eq!(marker(&object), None, "{labels}");
        assert!(pod(&object)["containers"][0].get("lifecycle").is_none(), "{labels}");
    }
    let words = ["label", "namespace", &ridden.ns.name, "gracekeeper.dev/ride-along=disabled"];
    ridden.ns.cluster.kubectl(&words);
    ridden.seen(&labelled(json!({})), "the namespace is exempt", |object| marker(object).is_none()).await;
}

#[tokio::test]
async fn a_deployment_of_an_excluded_namespace_is_stored_as_it_is() {
    let Some(ridden) = Ridden::new("excluded").await else { return };
    let (cluster, elsewhere) = (ridden.ns.cluster, &ridden.ns);
    let excluded = TestNamespace::new("excluded-here").await;
    let all = [&excluded.name, &elsewhere.name, &ridden.canaries.name].map(String::as_str);
    let install = |more: &[&str]| cluster.install_ride_along(&ridden.release, &elsewhere.name, &all, more);
    install(&[]);
    for ns in [&excluded, elsewhere] {
        ns.policy_that_rides("web", web_policy()).await;
    }
    let would = async |ns: &TestNamespace| would_create(ns, web("example.com/app:1")).await.unwrap();
    for ns in [&excluded, elsewhere] {
        eventually("it rides along in both", || async { marker(&would(ns).await) }).await;
    }
    install(&["--set", &format!("rideAlong.excludedNamespaces={{kube-system,{}}}", excluded.name)]);
    eventually("the namespace is excluded", || async { marker(&would(&excluded).await).is_none().then_some(()) }).await;
    let stored = excluded.create_deployment(web("example.com/app:1")).await;
    let app = &pod(&stored)["containers"][0];
    assert_eq!((probes(&stored).len(), app.get("lifecycle"), marker(&stored)), (0, None, None), "{stored}");
    assert_eq!(pod(&stored)["terminationGracePeriodSeconds"], 30);
    kubectl(&excluded, &["set", "image", "deploy/web", "app=example.com/app:2"], "").unwrap();
    assert_eq!(marker(&excluded.get("web").await), None);
    let stored = elsewhere.create_deployment(web("example.com/app:1")).await;
    assert_eq!((probes(&stored).len(), &pod(&stored)["terminationGracePeriodSeconds"]), (3, &json!(37)));
}
