//! Install, upgrade, failover and uninstall, by Helm as a user does it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::api::ListParams;
use serde_json::{Value, json};

use crate::shop::{self, bare, governed, policy, runs};
use crate::support::{eventually, stays};
use crate::world::{SYSTEM, World, image_file};
use crate::{run, seconds};

pub(crate) async fn two_restricted_replicas_become_ready_and_one_leads(world: &'static World) {
    let start = Instant::now();
    world.install().await;
    world.figure(format!("helm install --wait of two replicas: {}", seconds(start.elapsed())));
    let operators = world.operators().await;
    assert_eq!(operators.iter().filter(|pod| shop::is_ready(pod)).count(), 2);
    world.some_leader().await;
    for pod in &operators {
        assert_eq!(shop::status_of_container(pod)["restartCount"], 0);
    }
}

pub(crate) async fn the_image_on_the_node_is_the_one_that_was_built(world: &'static World) {
    world.install().await;
    if world.cluster.node.is_none() {
        run::left_out("an existing cluster may have its image from a registry");
        return;
    }
    for name in ["gracekeeper", "shop"] {
        let digest = std::fs::read_to_string(image_file(name, "digest")).unwrap();
        let manifest: Value = serde_json::from_str(&blob(name, digest.trim())).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap());
        world.figure(format!("{name} {}: {} KiB compressed", digest.trim(), layers.sum::<u64>() / 1024));
    }
    let built = std::fs::read_to_string(image_file("gracekeeper", "digest")).unwrap();
    let operators = world.operators().await;
    assert_eq!(operators.len(), 2);
    for pod in operators {
        let running = shop::status_of_container(&pod)["imageID"].as_str().unwrap().to_owned();
        // containerd names an imported image by the digest of its config, which the manifest of that digest holds.
        let manifest = blob("gracekeeper", built.trim());
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap();
        assert!(
            running.ends_with(config) || running.ends_with(built.trim()),
            "{running} is neither {config} nor {built}"
        );
    }
}

fn blob(image: &str, digest: &str) -> String {
    let path = format!("blobs/{}", digest.replace(':', "/"));
    let tar = image_file(image, "tar");
    let output = std::process::Command::new("tar").arg("-xOf").arg(tar).arg(path).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn a_policy_rolls_a_deployment_once_and_its_pods_stay_ready(world: &'static World) {
    let ns = world.namespace("first").await;
    ns.apply(&bare("shop", 2, &[])).await;
    let before = ns.settled("shop").await;
    let start = Instant::now();
    ns.policy("web", policy()).await;
    governed(&ns, "shop").await;
    world.figure(format!("from a policy to two governed pods: {}", seconds(start.elapsed())));
    assert_eq!(ns.revisions("shop").await, 2, "one rollout");
    assert!(before.pointer("/spec/template/spec/containers/0/readinessProbe").is_none());
    for pod in shop::pods(&ns, "shop").await {
        assert!(shop::is_ready(&pod));
    }
}

pub(crate) async fn an_upgrade_restarts_no_pod_of_a_user(world: &'static World) {
    let ns = world.namespace("upgrade").await;
    ns.apply(&bare("shop", 2, &[])).await;
    ns.policy("web", policy()).await;
    let before = governed(&ns, "shop").await;
    let pods = runs(&ns, "shop").await;
    let names = |pods: Vec<Value>| pods.iter().map(|pod| shop::name(pod).to_owned()).collect::<BTreeSet<_>>();
    let old = names(world.operators().await);
    let start = Instant::now();
    world.helm(&["upgrade"], &["--set", "log.level=debug"]);
    world.figure(format!("helm upgrade --wait: {}", seconds(start.elapsed())));
    eventually("all operators are new", || async { names(world.operators().await).is_disjoint(&old).then_some(()) })
        .await;
    let leader = world.some_leader().await;
    assert!(!old.contains(shop::name(&leader)));
    // The new leader has looked at everything when it has carried out what was asked only of it.
    let mut changed = policy();
    changed["mode"] = "Audit".into();
    changed["containers"][0]["probes"]["readiness"]["failureThreshold"] = 4.into();
    ns.policy("web", changed).await;
    ns.compliant("shop", "Planned").await;
    stays("nothing restarts", Duration::from_secs(5), || async { runs(&ns, "shop").await == pods }).await;
    assert_eq!(ns.get("shop").await["metadata"]["generation"], before["metadata"]["generation"]);
}

pub(crate) async fn the_standby_takes_over_when_the_leader_is_killed(world: &'static World) {
    if !world.owns_the_node() {
        return;
    }
    let ns = world.namespace("failover").await;
    ns.apply(&bare("shop", 1, &[])).await;
    ns.settled("shop").await;
    let before = world.some_leader().await;
    let holder = world.holder().await.unwrap();
    let start = Instant::now();
    world.node("crash", &[before["metadata"]["uid"].as_str().unwrap()]);
    // What is asked while nobody leads is done by whoever leads next.
    ns.policy("web", policy()).await;
    let next =
        eventually("another process leads", || async { world.holder().await.filter(|next| *next != holder) }).await;
    let gap = start.elapsed();
    governed(&ns, "shop").await;
    world.figure(format!(
        "leader killed by SIGKILL: {next} leads after {}, a policy made meanwhile is carried out after {}",
        seconds(gap),
        seconds(start.elapsed())
    ));
    // The Lease lasts 15 s from its last renewal, at most 2 s before the kill, and a try comes every 2 s.
    assert!(gap > Duration::from_secs(10), "a killed process releases nothing: {gap:?}");
    assert!(gap < Duration::from_secs(20), "{gap:?}");
}

pub(crate) async fn an_uninstall_without_an_operator_is_refused(world: &'static World) {
    let ns = world.namespace("stranded").await;
    ns.policy("web", policy()).await;
    ns.apply(&bare("shop", 1, &[])).await;
    governed(&ns, "shop").await;
    world.helm(&["upgrade"], &["--set", "replicas=0", "--set", "uninstall.timeoutSeconds=5"]);
    eventually("the operator is gone", || async { world.operators().await.is_empty().then_some(()) }).await;
    let refusal = world.uninstall().unwrap_err();
    world.figure(format!("helm uninstall without an operator: {}", refusal.trim()));
    let policy = ns.policies().get("web").await.unwrap();
    assert_eq!(policy.metadata.finalizers.map_or(0, |all| all.len()), 1, "nothing was forced");
    let log = world.cluster.kubectl(&["logs", "-n", SYSTEM, "job/gracekeeper-leave"]);
    assert!(log.contains("HealthPolicy") && log.contains("Is the operator running"), "{log}");
    // The operator is still installed: it comes back and finishes, and then it may go.
    world.cluster.kubectl(&["scale", "deployment/gracekeeper", "-n", SYSTEM, "--replicas=2"]);
    ns.policy_gone("web").await;
    ns.forgotten("shop").await;
    assert!(shop::pods(&ns, "shop").await.iter().any(shop::is_ready), "it serves");
    world.uninstall().unwrap();
}

pub(crate) async fn an_uninstall_leaves_apps_running_and_gives_everything_back(world: &'static World) {
    world.install().await;
    // An earlier test may have uninstalled it.
    if world.operators().await.is_empty() {
        world.helm(&["install"], &[]);
    }
    // One whose own probe was replaced, one whose bad version is held.
    let ns = world.namespace("uninstall").await;
    let mut rules = policy();
    rules["whenAlreadySet"] = "Replace".into();
    rules["rollout"] = json!({"onFailure": "Hold", "bakeAfterSeconds": 2, "patience": {"startSeconds": 5}});
    ns.policy("web", rules).await;
    let own = json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 7});
    let proven = |name: &'static str| {
        let (ns, own) = (&ns, own.clone());
        async move {
            let mut manifest = bare(name, 2, &[]);
            manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = own;
            ns.apply(&manifest).await;
            governed(ns, name).await;
            shop::gate_says(ns, name, "Stable").await;
        }
    };
    tokio::join!(proven("owner"), proven("held"));
    let mut bad = bare("held", 2, &[("SHOP_READINESS", "fail")]);
    bad["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = own.clone();
    ns.apply(&bad).await;
    shop::gate_says(&ns, "held", "Held").await;
    ns.until("held", "it is paused", |held| held["spec"]["paused"] == true).await;

    let start = Instant::now();
    world.uninstall().unwrap();
    world.figure(format!(
        "helm uninstall with two governed Deployments, one of them held: {}",
        seconds(start.elapsed())
    ));
    for name in ["owner", "held"] {
        let shop = ns.get(name).await;
        assert_ne!(shop["spec"]["paused"], true, "{name} is not held");
        let probe = shop.pointer("/spec/template/spec/containers/0/readinessProbe").unwrap();
        assert_eq!(probe["periodSeconds"], 7, "{name} has its own probe back: {probe}");
        let container = &shop["spec"]["template"]["spec"]["containers"][0];
        assert!(container.get("livenessProbe").is_none() && container.get("lifecycle").is_none(), "{container}");
        assert!(!shop["metadata"]["annotations"].to_string().contains("gracekeeper.dev"), "{}", shop["metadata"]);
        assert!(shop::pods(&ns, name).await.iter().filter(|pod| shop::is_ready(pod)).count() >= 1, "{name} serves");
    }
    ns.settled("owner").await;
    assert!(ns.policies().list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(ns.healths().list(&ListParams::default()).await.unwrap().items.is_empty());
    // Helm does not wait for the pods of a Deployment that it has deleted.
    eventually("nothing of the release is left in its namespace", || async {
        let kinds = "pods,jobs,serviceaccounts,deployments";
        let left = world.cluster.kubectl(&["get", kinds, "-n", SYSTEM, "-o", "name"]);
        (!left.contains("gracekeeper")).then_some(())
    })
    .await;
    for kind in ["clusterrole", "validatingadmissionpolicy", "mutatingadmissionpolicy"] {
        // Older servers have no MutatingAdmissionPolicy.
        for kind in [kind.to_owned(), format!("{kind}binding")] {
            match world.cluster.try_kubectl(&["get", &kind, "-o", "name"], "") {
                Ok(left) => assert!(!left.contains("gracekeeper"), "{left}"),
                Err(error) => assert!(error.contains("doesn't have a resource type"), "{error}"),
            }
        }
    }
}
