//! How Kubernetes merges, while a policy rides along: containers that are renamed or go, handlers that change their type, and
//! managers that share a field, under Keep and under Replace.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::twins::{Twins, web, with};
use super::{Ridden, apply_server_side, kubectl, marker};
use crate::support::TestNamespace;
use crate::support::namespace::{deployment, pod, web_policy};

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A policy for the main container, a second one, and a native sidecar.
fn three(when: &str) -> Value {
    let mut policy = web_policy();
    policy["whenAlreadySet"] = json!(when);
    policy["rollout"] = json!({"minReadySeconds": 5, "patience": {"startSeconds": 90}});
    let entries = policy["containers"].as_array_mut().unwrap();
    let liveness = json!({"liveness": {"tcpSocket": {"port": 9000}, "periodSeconds": 7}});
    // Shorter than the drain: a grace period that rode along is not lowered when the helper goes.
    entries.push(json!({"name": "helper", "probes": liveness, "preStop": {"sleep": {"seconds": 8}}}));
    entries.push(json!({"name": "proxy", "probes": {"startup": {"httpGet": {"path": "/ready", "port": 15021}}},
        "preStop": {"exec": {"command": ["drain"]}}}));
    policy
}

/// Two containers, the main one of this name, and a native sidecar.
fn shop(main: &str, others: &[&str], sidecar: &str) -> Value {
    let mut containers: Vec<Value> =
        others.iter().map(|name| json!({"name": name, "image": "example.com/other:1"})).collect();
    containers
        .push(json!({"name": main, "image": "example.com/app:1", "ports": [{"name": "http", "containerPort": 8080}]}));
    let mut manifest = deployment("web", 1, containers);
    manifest["spec"]["template"]["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: main});
    manifest["spec"]["template"]["spec"]["initContainers"] =
        json!([{"name": sidecar, "image": "example.com/proxy:1", "restartPolicy": "Always"}]);
    manifest
}

fn names(object: &Value) -> Vec<&str> {
    let lists = ["initContainers", "containers"].map(|list| pod(object)[list].as_array());
    lists.into_iter().flatten().flatten().map(|container| container["name"].as_str().unwrap()).collect()
}

fn git(ns: &TestNamespace, manifest: &Value) -> Result<(), String> {
    apply_server_side(ns, "git", manifest)
}

async fn patch(ns: &TestNamespace, patch: Patch<&Value>) -> Result<(), String> {
    let params = PatchParams { field_manager: Some("a-person".into()), ..PatchParams::default() };
    ns.deployments().patch("web", &params, &patch).await.map(|_| ()).map_err(|error| error.to_string())
}

/// Edits the live object and PUTs it, as `kubectl edit` and controllers do.
async fn edit(ns: &TestNamespace, edit: impl Fn(&mut Value)) -> Result<(), String> {
    for _ in 0..20 {
        let mut object = ns.get("web").await;
        edit(&mut object);
        let params = PostParams { field_manager: Some("an-editor".into()), ..PostParams::default() };
        match ns.deployments().replace("web", &params, &serde_json::from_value(object).unwrap()).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => return answer.map(|_| ()).map_err(|error| error.to_string()),
        }
    }
    Err("conflicts, again and again".into())
}

#[tokio::test]
async fn containers_that_are_renamed_or_removed_leave_nothing_behind() {
    for when in ["Keep", "Replace"] {
        let Some(mut twins) = Twins::new(&format!("renamed-{}", when.to_lowercase()), three(when)).await else {
            return;
        };
        let made = twins.anew("created", async |ns| git(ns, &shop("app", &["helper"], "proxy"))).await;
        let fields = marker(&made).unwrap();
        for field in [
            "app/livenessProbe",
            "app/preStop",
            "helper/livenessProbe",
            "helper/preStop",
            "proxy/preStop",
            "proxy/startupProbe",
        ] {
            assert!(fields.contains(field), "{when}: {fields}");
        }
        // Row 5 of a server-side apply: what another applier owns a part of would stay, without an image. Here nobody does.
        let mut changes = vec![
            ("the main container is renamed", shop("server", &["helper"], "proxy")),
            ("the sidecar is renamed", shop("server", &["helper"], "envoy")),
            ("the second goes", shop("server", &[], "envoy")),
            ("a second comes, and changes its place", shop("server", &["helper", "more"], "proxy")),
        ];
        if when == "Keep" {
            changes.push(("another is the main one", shop("more", &["server"], "proxy")));
        }
        for (what, manifest) in &changes {
            let stored = twins.both(what, async |ns| git(ns, manifest)).await;
            assert_eq!(names(&stored), names(manifest), "{when}: {what}");
        }
        // The same by who merges two manifests, and by a PUT.
        for (how, words) in [("apply", &["apply", "-f", "-"][..]), ("replace", &["replace", "-f", "-"])] {
            let first = shop("app", &["helper"], "proxy").to_string();
            twins.anew(how, async |ns| kubectl(ns, &["apply", "-f", "-"], &first)).await;
            for (what, manifest) in &changes {
                let what = format!("{what}, by kubectl {how}");
                let stored = twins.both(&what, async |ns| kubectl(ns, words, &manifest.to_string())).await;
                assert_eq!(names(&stored).len(), names(manifest).len(), "{when}: {what}");
            }
        }
    }
}

#[tokio::test]
async fn what_may_have_an_original_waits_for_the_operator_when_another_container_is_the_main_one() {
    let Some(ridden) = Ridden::new("main-moves").await else { return };
    let ns = &ridden.ns;
    ridden.policy("web", three("Replace")).await;
    ridden.informed().await;
    git(ns, &shop("app", &["other"], "proxy")).unwrap();
    git(ns, &shop("other", &["app"], "proxy")).unwrap();
    let moved = ns.get("web").await;
    for container in pod(&moved)["containers"].as_array().unwrap() {
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez", "{container}");
    }
    assert!(marker(&moved).unwrap().contains("app/livenessProbe,app/preStop"), "{moved}");
}

#[tokio::test]
async fn a_handler_of_another_type_by_every_request() {
    let own = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 4});
    let without_ours = json!({"httpGet": null, "tcpSocket": {"port": 8080}, "periodSeconds": 4});
    let hook = json!({"exec": {"command": ["drain"]}});
    let merged = |probe: &Value, hook: &Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "livenessProbe": probe, "lifecycle": {"preStop": hook}}]}}}});
    for when in ["Keep", "Replace"] {
        let mut policy = web_policy();
        policy["whenAlreadySet"] = json!(when);
        let Some(mut twins) = Twins::new(&format!("handler-{}", when.to_lowercase()), policy).await else { return };
        for request in ["PUT", "edit", "merge patch", "strategic merge patch"] {
            twins.anew("created", async |ns| git(ns, &web("example.com/app:1"))).await;
            let mine = with("example.com/app:1", json!({"livenessProbe": own, "lifecycle": {"preStop": hook}}));
            let stored = match request {
                "PUT" => {
                    let put = async |ns: &TestNamespace| kubectl(ns, &["replace", "-f", "-"], &mine.to_string());
                    twins.both(request, put).await
                }
                "edit" => {
                    let change = |object: &mut Value| {
                        let app = &mut object["spec"]["template"]["spec"]["containers"][0];
                        (app["livenessProbe"], app["lifecycle"]["preStop"]) = (own.clone(), hook.clone());
                    };
                    twins.both(request, async |ns| edit(ns, change).await).await
                }
                "merge patch" => {
                    let change = json!({"spec": {"template": {"spec": {"containers": pod(&mine)["containers"]}}}});
                    twins.both(request, async |ns| patch(ns, Patch::Merge(&change)).await).await
                }
                _ => {
                    let change = merged(&own, &hook);
                    let hook = json!({"sleep": null, "exec": {"command": ["drain"]}});
                    let makes_way = merged(&without_ours, &hook);
                    let ridden = async |ns: &TestNamespace| patch(ns, Patch::Strategic(&change)).await;
                    let plain = async |ns: &TestNamespace| {
                        assert!(
                            patch(ns, Patch::Strategic(&change))
                                .await
                                .unwrap_err()
                                .contains("may not specify more than")
                        );
                        patch(ns, Patch::Strategic(&makes_way)).await
                    };
                    twins.each(request, ridden, plain).await
                }
            };
            let app = &pod(&stored)["containers"][0];
            let (keeps, what) = (when == "Keep", format!("{request}, {when}"));
            assert_eq!(app["livenessProbe"].get("tcpSocket").is_some(), keeps, "{what}: {app}");
            assert_eq!(app["livenessProbe"].get("httpGet").is_some(), !keeps, "{what}: {app}");
            // A mere drain never replaces a hook.
            assert_eq!(app["lifecycle"]["preStop"], hook, "{what}");
            assert_eq!(marker(&stored).unwrap().contains("app/livenessProbe"), !keeps, "{what}");
            assert!(!marker(&stored).unwrap().contains("preStop"), "{what}");
            // Another image, and the manifest says nothing of either any more.
            let back = twins
                .both("dropped", async |ns| kubectl(ns, &["replace", "-f", "-"], &web("example.com/app:2").to_string()))
                .await;
            assert_eq!(pod(&back)["containers"][0]["livenessProbe"]["httpGet"]["path"], "/livez", "{what}");
        }
    }
}

#[tokio::test]
async fn what_kubernetes_refuses_by_itself_is_refused_with_a_policy_as_well() {
    let Some(mut twins) = Twins::new("refused", web_policy()).await else { return };
    twins.both("created", async |ns| git(ns, &web("example.com/app:1"))).await;
    // A default that another type does not allow stays in a server-side apply.
    let mut recreate = web("example.com/app:2");
    recreate["spec"]["strategy"] = json!({"type": "Recreate"});
    for ns in [&twins.ridden.ns, &twins.plain] {
        assert!(git(ns, &recreate).unwrap_err().contains("may not be specified when strategy"), "{}", ns.name);
    }
    twins.both("a PUT of the same", async |ns| kubectl(ns, &["replace", "-f", "-"], &recreate.to_string())).await;
}

#[tokio::test]
async fn who_declares_a_field_that_rode_along_meets_no_conflict() {
    for when in ["Keep", "Replace"] {
        let mut policy = web_policy();
        policy["whenAlreadySet"] = json!(when);
        let Some(mut twins) = Twins::new(&format!("shared-{}", when.to_lowercase()), policy).await else { return };
        twins.both("created", async |ns| git(ns, &web("example.com/app:1"))).await;
        let also = |probe: Value| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {
                "metadata": {"labels": {"says": probe["periodSeconds"].to_string()}},
                "spec": {"containers": [{"name": "app", "readinessProbe": probe}]}}}})
        };
        // The same values: both say so, and the field stays the policy's.
        let same = also(json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5}));
        let shared = twins.both("the same values", async |ns| apply_server_side(ns, "also", &same)).await;
        assert!(marker(&shared).unwrap().contains("app/readinessProbe"), "{when}");
        // Another value. Where the operator wrote it is a conflict that names it.
        let other = also(json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 8}));
        let forced = async |ns: &TestNamespace| {
            let refused = apply_server_side(ns, "also", &other).unwrap_err();
            assert!(refused.contains("conflict with \"gracekeeper\""), "{refused}");
            let words = ["apply", "--server-side", "--force-conflicts", "--field-manager", "also", "-f", "-"];
            kubectl(ns, &words, &other.to_string())
        };
        let unforced = async |ns: &TestNamespace| apply_server_side(ns, "also", &other);
        let stored = twins.each("another value", unforced, forced).await;
        let period = if when == "Keep" { 8 } else { 5 };
        assert_eq!(pod(&stored)["containers"][0]["readinessProbe"]["periodSeconds"], period, "{when}");
        assert_eq!(marker(&stored).unwrap().contains("readinessProbe"), when == "Replace", "{when}");
        // It says nothing of it any more.
        let mut nothing = also(json!({}));
        nothing["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("readinessProbe");
        let back = twins.both("nothing", async |ns| apply_server_side(ns, "also", &nothing)).await;
        assert_eq!(pod(&back)["containers"][0]["readinessProbe"]["periodSeconds"], 5, "{when}");
        assert!(marker(&back).unwrap().contains("app/readinessProbe"), "{when}");
    }
}
