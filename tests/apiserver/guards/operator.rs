//! What a stolen token of the operator is good for: every try is refused, and leaves the object as it was.

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{assert_refused, kubectl_as, label, policy};
use crate::contention::Admission;
use crate::support::cluster::client_of;
use crate::support::namespace::{container, deployment, pod, resource, web_policy};
use crate::support::operator::Identity;
use crate::support::{Cluster, Operator, TestNamespace, eventually};

/// Whoever holds the token, in the namespace where it was found.
struct Thief<'a> {
    ns: &'a TestNamespace,
    client: Client,
    user: String,
    release: String,
}

impl<'a> Thief<'a> {
    async fn new(ns: &'a TestNamespace) -> Self {
        let identity = Identity::install(ns);
        let client = client_of(&identity.kubeconfig).await;
        Self { ns, client, user: identity.user, release: identity.release }
    }

    fn guard(&self, kind: &str) -> String {
        format!("{}-operator-{kind}", self.release)
    }

    /// A JSON patch with the token itself.
    async fn patch(&self, kind: &str, name: &str, patch: &Value) -> Result<String, String> {
        let (group, version, singular) = match kind {
            "healthpolicies" => ("gracekeeper.dev", "v1alpha1", "HealthPolicy"),
            "replicasets" => ("apps", "v1", "ReplicaSet"),
            _ => ("apps", "v1", "Deployment"),
        };
        let of = resource(group, version, singular, kind);
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.ns.name, &of);
        let patch: Patch<()> = Patch::Json(serde_json::from_value(patch.clone()).unwrap());
        match objects.patch(name, &PatchParams::default(), &patch).await {
            Ok(object) => Ok(serde_json::to_string(&object).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The same user with all rights of RBAC, should somebody grant it more than the chart does.
    fn kubectl(&self, arguments: &[&str], object: &Value) -> Result<String, String> {
        kubectl_as(self.ns, &["--as", &self.user, "--as-group=system:masters"], arguments, object)
    }
}

/// A Deployment that has something of everything, paused so that nothing happens by itself.
fn rich() -> Value {
    let mut app = container();
    app["command"] = json!(["run"]);
    app["args"] = json!(["fast"]);
    app["env"] = json!([{"name": "MODE", "value": "good"}]);
    app["lifecycle"] = json!({"postStart": {"exec": {"command": ["warm"]}}});
    app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    app["livenessProbe"] = json!({"exec": {"command": ["own"]}});
    let second = json!({"name": "second", "image": "example.com/second:1"});
    let mut object = deployment("web", 2, vec![app, second]);
    object["metadata"]["annotations"] = json!({"example.com/owner": "a-team"});
    object["spec"]["paused"] = json!(true);
    let spec = &mut object["spec"]["template"]["spec"];
    spec["initContainers"] = json!([
        {"name": "prepare", "image": "example.com/prepare:1"},
        {"name": "sidecar", "image": "example.com/sidecar:1", "restartPolicy": "Always"},
    ]);
    spec["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    object
}

fn set(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

const TEMPLATE: &str = "/spec/template/spec";

/// Patches of a Deployment that are none of the operator's business, with the field that the refusal names.
fn forbidden() -> Vec<(Value, &'static str)> {
    let in_pod = |path: &str, value: Value| set(&format!("{TEMPLATE}{path}"), value);
    let containers = "spec.template.spec.containers";
    let init = "spec.template.spec.initContainers";
    let extra = json!({"name": "miner", "image": "example.com/miner:1"});
    vec![
        (in_pod("/containers/0/image", json!("example.com/evil:1")), containers),
        (in_pod("/containers/1/image", json!("example.com/evil:1")), containers),
        (in_pod("/containers/0/command", json!(["sh"])), containers),
        (in_pod("/containers/0/args", json!(["slow"])), containers),
        (in_pod("/containers/0/env/0/value", json!("bad")), containers),
        (in_pod("/containers/0/env/-", json!({"name": "LD_PRELOAD", "value": "/data/x.so"})), containers),
        (in_pod("/containers/0/envFrom", json!([{"secretRef": {"name": "all"}}])), containers),
        (in_pod("/containers/0/ports/0/containerPort", json!(9090)), containers),
        (in_pod("/containers/0/volumeMounts/0/mountPath", json!("/etc")), containers),
        (in_pod("/containers/0/securityContext", json!({"runAsUser": 0})), containers),
        (in_pod("/containers/0/resources", json!({"limits": {"cpu": "1m"}})), containers),
        (in_pod("/containers/0/imagePullPolicy", json!("Always")), containers),
        (in_pod("/containers/0/workingDir", json!("/data")), containers),
        (in_pod("/containers/0/lifecycle/postStart/exec/command", json!(["evil"])), containers),
        (json!([{"op": "remove", "path": format!("{TEMPLATE}/containers/0/lifecycle")}]), containers),
        (in_pod("/containers/1/lifecycle", json!({"postStart": {"httpGet": {"port": 80}}})), containers),
        (in_pod("/containers/1/name", json!("other")), containers),
        (in_pod("/containers/-", extra.clone()), containers),
        (in_pod("/containers/0", extra.clone()), containers),
        (json!([{"op": "remove", "path": format!("{TEMPLATE}/containers/1")}]), containers),
        // The same containers in another order: probes would move from one to the other.
        (
            json!([{"op": "move", "from": format!("{TEMPLATE}/containers/1"), "path": format!("{TEMPLATE}/containers/0")}]),
            containers,
        ),
        (in_pod("/initContainers/0/image", json!("example.com/evil:1")), init),
        (in_pod("/initContainers/1/image", json!("example.com/evil:1")), init),
        (json!([{"op": "remove", "path": format!("{TEMPLATE}/initContainers/1/restartPolicy")}]), init),
        (in_pod("/initContainers/0", extra), init),
        (json!([{"op": "remove", "path": format!("{TEMPLATE}/initContainers")}]), init),
        (in_pod("/serviceAccountName", json!("admin")), "spec.template.spec.serviceAccountName"),
        (in_pod("/automountServiceAccountToken", json!(true)), "automountServiceAccountToken"),
        (in_pod("/hostNetwork", json!(true)), "hostNetwork"),
        (in_pod("/hostPID", json!(true)), "hostPID"),
        (in_pod("/nodeSelector", json!({"a": "b"})), "nodeSelector"),
        (in_pod("/tolerations", json!([{"operator": "Exists"}])), "tolerations"),
        (in_pod("/priorityClassName", json!("system-node-critical")), "priorityClassName"),
        (in_pod("/runtimeClassName", json!("loose")), "runtimeClassName"),
        (in_pod("/dnsPolicy", json!("Default")), "dnsPolicy"),
        (in_pod("/securityContext", json!({"runAsUser": 0})), "securityContext"),
        (in_pod("/volumes/-", json!({"name": "host", "hostPath": {"path": "/"}})), "spec.template.spec.volumes"),
        (
            json!([{"op": "replace", "path": format!("{TEMPLATE}/volumes/0"), "value": {"name": "data", "hostPath": {"path": "/"}}}]),
            "spec.template.spec.volumes",
        ),
        (in_pod("/readinessGates", json!([{"conditionType": "a.b/c"}])), "readinessGates"),
        (set("/spec/template/metadata/labels/more", json!("x")), "spec.template.metadata"),
        (set("/spec/template/metadata/annotations", json!({"gracekeeper.dev/filled": "x"})), "spec.template.metadata"),
        (set("/spec/replicas", json!(50)), "spec.replicas"),
        (json!([{"op": "remove", "path": "/spec/replicas"}]), "spec.replicas"),
        (set("/spec/strategy", json!({"type": "Recreate"})), "spec.strategy"),
        (set("/spec/revisionHistoryLimit", json!(0)), "spec.revisionHistoryLimit"),
        (set("/metadata/labels/tier", json!("db")), "metadata.labels"),
        (json!([{"op": "remove", "path": "/metadata/labels"}]), "metadata.labels"),
        (set("/metadata/annotations/example.com~1owner", json!("nobody")), "metadata.annotations.example.com/owner"),
        (
            set("/metadata/annotations/deployment.kubernetes.io~1revision", json!("99")),
            "deployment.kubernetes.io/revision",
        ),
        (set("/metadata/annotations/gracekeeper.dev~1filled2", json!("x")), "gracekeeper.dev/filled2"),
        (set("/metadata/annotations/app.original.gracekeeper.dev~1preStop", json!("{}")), "original.gracekeeper.dev"),
        (json!([{"op": "remove", "path": "/metadata/annotations"}]), "metadata.annotations.example.com/owner"),
        (set("/metadata/finalizers", json!(["example.com/stay"])), "metadata.finalizers"),
        (
            set(
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]),
            ),
            "metadata.ownerReferences",
        ),
    ]
}

#[tokio::test]
async fn a_stolen_token_changes_nothing_in_a_deployment_but_what_the_operator_sets() {
    let ns = TestNamespace::new("thief").await;
    let before = ns.create_deployment(rich()).await;
    let thief = Thief::new(&ns).await;
    let guard = thief.guard("deployments");
    for (patch, field) in forbidden() {
        assert_refused(
            thief.patch("deployments", "web", &patch).await,
            &guard,
            &[field, &thief.user, "may change only"],
        );
        // Hidden among what is allowed, behind a forged marker.
        let mut hidden = json!([
            {"op": "add", "path": "/metadata/annotations/gracekeeper.dev~1filled", "value": "app/image,app/command,/replicas"},
            {"op": "add", "path": "/spec/minReadySeconds", "value": 3},
            {"op": "add", "path": format!("{TEMPLATE}/containers/0/readinessProbe"), "value": {"tcpSocket": {"port": 80}}},
        ]);
        hidden.as_array_mut().unwrap().extend(patch.as_array().unwrap().clone());
        // Where the patch itself no longer applies, it is no more of a success.
        let answer = thief.patch("deployments", "web", &hidden).await;
        assert!(answer.is_err(), "{patch} passes in company: {answer:?}");
    }
    let after = ns.get("web").await;
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["generation"], 1);
}

#[tokio::test]
async fn what_the_operator_sets_passes_whatever_the_deployment_is_like() {
    let ns = TestNamespace::new("passes").await;
    ns.create_deployment(rich()).await;
    let thief = Thief::new(&ns).await;
    let tcp = json!({"tcpSocket": {"port": 8080}});
    for patch in [
        set("/metadata/annotations/gracekeeper.dev~1filled", json!("app/readinessProbe")),
        set("/spec/minReadySeconds", json!(5)),
        set("/spec/progressDeadlineSeconds", json!(900)),
        json!([{"op": "remove", "path": "/spec/paused"}]),
        set("/spec/paused", json!(true)),
        set(&format!("{TEMPLATE}/terminationGracePeriodSeconds"), json!(60)),
        set(&format!("{TEMPLATE}/containers/0/readinessProbe"), json!({"httpGet": {"port": "http", "path": "/"}})),
        set(&format!("{TEMPLATE}/containers/1/startupProbe"), tcp.clone()),
        set(&format!("{TEMPLATE}/containers/0/lifecycle/preStop"), json!({"sleep": {"seconds": 5}})),
        // The lifecycle comes and goes with the hook.
        set(&format!("{TEMPLATE}/containers/1/lifecycle"), json!({"preStop": {"sleep": {"seconds": 5}}})),
        json!([{"op": "remove", "path": format!("{TEMPLATE}/containers/1/lifecycle")}]),
        set(&format!("{TEMPLATE}/initContainers/1/readinessProbe"), tcp.clone()),
        set(&format!("{TEMPLATE}/initContainers/1/lifecycle"), json!({"preStop": {"sleep": {"seconds": 5}}})),
        json!([{"op": "remove", "path": format!("{TEMPLATE}/containers/0/readinessProbe")}]),
        json!([{"op": "remove", "path": "/metadata/annotations/gracekeeper.dev~1filled"}]),
    ] {
        let answer = thief.patch("deployments", "web", &patch).await;
        answer.unwrap_or_else(|error| panic!("{patch}: {error}"));
    }
    // A bare one, whose maps are not there yet, and a crowded one: the cost of the rules grows with the containers.
    let mut bare = deployment("bare", 0, vec![container()]);
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    // Paused, its controller adds no annotation before us.
    bare["spec"]["paused"] = json!(true);
    ns.create_deployment(bare).await;
    thief
        .patch("deployments", "bare", &set("/metadata/annotations", json!({"gracekeeper.dev/filled": "x"})))
        .await
        .unwrap();
    let many = (0..1000).map(|i| json!({"name": format!("c{i}"), "image": "example.com/app:1"})).collect();
    ns.create_deployment(deployment("crowd", 0, many)).await;
    let last = format!("{TEMPLATE}/containers/999");
    thief.patch("deployments", "crowd", &set(&format!("{last}/livenessProbe"), tcp)).await.unwrap();
    let image = set(&format!("{last}/image"), json!("example.com/evil:1"));
    assert_refused(thief.patch("deployments", "crowd", &image).await, &thief.guard("deployments"), &[]);
}

#[tokio::test]
async fn an_exec_handler_is_neither_written_nor_taken_where_it_is_not_allowed() {
    let ns = TestNamespace::new("thief-exec").await;
    ns.create_deployment(rich()).await;
    let thief = Thief::new(&ns).await;
    let guard = thief.guard("deployments");
    let exec = json!({"exec": {"command": ["evil"]}});
    let at = |path: &str| format!("{TEMPLATE}{path}");
    let writes = [
        (set(&at("/containers/0/readinessProbe"), exec.clone()), "app/readinessProbe"),
        (set(&at("/containers/0/livenessProbe/exec/command"), json!(["evil"])), "app/livenessProbe"),
        (set(&at("/containers/1/startupProbe"), exec.clone()), "second/startupProbe"),
        (set(&at("/containers/0/lifecycle/preStop"), exec.clone()), "app/preStop"),
        (set(&at("/containers/1/lifecycle"), json!({"preStop": exec})), "second/preStop"),
        (set(&at("/initContainers/1/livenessProbe"), exec.clone()), "sidecar/livenessProbe"),
    ];
    for (patch, place) in &writes {
        assert_refused(thief.patch("deployments", "web", patch).await, &guard, &[place, "allow-exec=true", &ns.name]);
    }
    // The workload's own: once taken it could not be given back.
    let takes = json!([{"op": "remove", "path": at("/containers/0/livenessProbe")}]);
    assert_refused(thief.patch("deployments", "web", &takes).await, &guard, &["app/livenessProbe"]);
    // Not even with a marker that comes in the same request.
    let mut forged = vec![
        json!({"op": "add", "path": "/metadata/annotations/gracekeeper.dev~1filled", "value": "app/livenessProbe"}),
    ];
    forged.extend(takes.as_array().unwrap().clone());
    assert_refused(thief.patch("deployments", "web", &json!(forged)).await, &guard, &["app/livenessProbe"]);
    // Its timing is a probe's and not a command.
    thief.patch("deployments", "web", &set(&at("/containers/0/livenessProbe/periodSeconds"), json!(30))).await.unwrap();
    // What it filled itself goes again, also when the label has gone first.
    ns.merge("web", json!({"metadata": {"annotations": {"gracekeeper.dev/filled": "app/livenessProbe"}}})).await;
    thief.patch("deployments", "web", &takes).await.unwrap();

    label(&ns, &["gracekeeper.dev/allow-exec=true"], || {
        let probe = json!({"spec": {"template": {"spec": {"containers": [{"name": "second", "startupProbe": exec}]}}}});
        let dry_run = ["patch", "deployment", "web", "--dry-run=server", "-p", &probe.to_string()];
        thief.kubectl(&dry_run, &Value::Null).is_ok()
    })
    .await;
    for (patch, _) in writes.iter().filter(|(_, place)| *place != "app/livenessProbe") {
        thief.patch("deployments", "web", patch).await.unwrap();
    }
    assert_refused(
        thief.patch("deployments", "web", &set(&at("/containers/0/image"), json!("example.com/evil:1"))).await,
        &guard,
        &["spec.template.spec.containers"],
    );
}

#[tokio::test]
async fn a_whole_template_is_written_only_where_revert_is_allowed() {
    let ns = TestNamespace::labelled("thief-revert", json!({"gracekeeper.dev/allow-revert": "true"})).await;
    ns.create_deployment(rich()).await;
    let thief = Thief::new(&ns).await;
    let image = set(&format!("{TEMPLATE}/containers/0/image"), json!("example.com/app:2"));
    thief.patch("deployments", "web", &image).await.unwrap();
    for (patch, field) in forbidden() {
        if patch.to_string().contains("/spec/template/") {
            continue;
        }
        assert_refused(thief.patch("deployments", "web", &patch).await, &thief.guard("deployments"), &[field]);
    }
}

#[tokio::test]
async fn more_rights_than_the_charts_are_of_no_use_to_the_operators_account() {
    let ns = TestNamespace::new("thief-rights").await;
    ns.deployment("web", 1, container()).await;
    let thief = Thief::new(&ns).await;
    let (deployments, sets) = (thief.guard("deployments"), thief.guard("replicasets"));
    let none = Value::Null;
    let set_name = {
        let all = ns.replica_sets().list(&kube::api::ListParams::default()).await.unwrap();
        all.items[0].metadata.name.clone().unwrap()
    };
    let words = ["may not create"];
    let other = deployment("other", 1, vec![container()]);
    assert_refused(thief.kubectl(&["create", "-f", "-"], &other), &deployments, &words);
    assert_refused(thief.kubectl(&["apply", "--server-side", "-f", "-"], &other), &deployments, &words);
    assert_refused(thief.kubectl(&["delete", "deployment", "web"], &none), &deployments, &words);
    assert_refused(thief.kubectl(&["delete", "deployments", "--all"], &none), &deployments, &words);
    let collection = format!("/apis/apps/v1/namespaces/{}/deployments", ns.name);
    assert_refused(thief.kubectl(&["delete", "--raw", &collection], &none), &deployments, &words);
    assert_refused(thief.kubectl(&["scale", "deployment", "web", "--replicas=9"], &none), &deployments, &words);
    let status = json!({"status": {"replicas": 7}}).to_string();
    let patch_status = ["patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", &status];
    assert_refused(thief.kubectl(&patch_status, &none), &deployments, &words);
    // `kubectl replace` and `rollout` are updates like any other.
    let mut replaced = ns.get("web").await;
    replaced["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/evil:1");
    assert_refused(thief.kubectl(&["replace", "-f", "-"], &replaced), &deployments, &["spec.template.spec.containers"]);
    assert_refused(
        thief.kubectl(&["rollout", "restart", "deployment/web"], &none),
        &deployments,
        &["spec.template.metadata"],
    );

    assert_refused(thief.kubectl(&["delete", "rs", &set_name], &none), &sets, &words);
    assert_refused(thief.kubectl(&["scale", "rs", &set_name, "--replicas=9"], &none), &sets, &words);
    let mut orphan =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "orphan"}, "spec": other["spec"]});
    orphan["spec"]["replicas"] = json!(1);
    assert_refused(thief.kubectl(&["create", "-f", "-"], &orphan), &sets, &words);

    // Others do as they like.
    kubectl_as(&ns, &[], &["scale", "deployment", "web", "--replicas=2"], &none).unwrap();
    kubectl_as(&ns, &[], &["set", "image", "deployment/web", "app=example.com/app:2"], &none).unwrap();
    kubectl_as(&ns, &[], &["delete", "deployment", "web"], &none).unwrap();
}

#[tokio::test]
async fn of_a_replica_set_a_stolen_token_changes_only_the_size() {
    let ns = TestNamespace::new("thief-sets").await;
    ns.deployment("web", 1, container()).await;
    ns.merge("web", json!({"spec": {"paused": true}})).await;
    let thief = Thief::new(&ns).await;
    let all = ns.replica_sets().list(&kube::api::ListParams::default()).await.unwrap();
    let name = all.items[0].metadata.name.clone().unwrap();
    for (patch, field) in [
        (set("/spec/template/spec/containers/0/image", json!("example.com/evil:1")), "spec.template"),
        (set("/spec/template/spec/containers/0/livenessProbe", json!({"tcpSocket": {"port": 1}})), "spec.template"),
        (set("/spec/template/metadata/labels/more", json!("x")), "spec.template"),
        (set("/spec/minReadySeconds", json!(9)), "spec.minReadySeconds"),
        (set("/metadata/labels/more", json!("x")), "metadata.labels"),
        (json!([{"op": "remove", "path": "/metadata/ownerReferences"}]), "metadata.ownerReferences"),
        (set("/metadata/finalizers", json!(["example.com/stay"])), "metadata.finalizers"),
        (set("/metadata/annotations/deployment.kubernetes.io~1desired-replicas", json!("9")), "desired-replicas"),
        (set("/metadata/annotations/gracekeeper.dev~1filled", json!("x")), "gracekeeper.dev/filled"),
    ] {
        assert_refused(
            thief.patch("replicasets", &name, &patch).await,
            &thief.guard("replicasets"),
            &[field, "only replicas"],
        );
    }
    thief.patch("replicasets", &name, &set("/spec/replicas", json!(2))).await.unwrap();
}

#[tokio::test]
async fn a_stolen_token_writes_no_policy_that_the_operator_would_carry_out() {
    let ns = TestNamespace::new("thief-policy").await;
    ns.policy("web", web_policy()).await;
    let thief = Thief::new(&ns).await;
    let guard = thief.guard("policies");
    let another = json!([{"probes": {"liveness": {"tcpSocket": {"port": 22}}}}]);
    for patch in [
        set("/spec/containers", another),
        set("/spec/selector", json!({"matchLabels": {"a": "b"}})),
        set("/spec/mode", json!("Audit")),
        set("/metadata/labels", json!({"a": "b"})),
        set("/metadata/annotations", json!({"a": "b"})),
        set("/metadata/finalizers", json!(["example.com/stay"])),
        set("/metadata/finalizers", json!(["gracekeeper.dev/release", "example.com/stay"])),
    ] {
        assert_refused(thief.patch("healthpolicies", "web", &patch).await, &guard, &["only its own finalizer"]);
    }
    thief
        .patch("healthpolicies", "web", &set("/metadata/finalizers", json!(["gracekeeper.dev/release"])))
        .await
        .unwrap();
    let theirs = json!({"metadata": {"finalizers": ["example.com/first", "gracekeeper.dev/release"]}});
    kubectl_as(&ns, &[], &["patch", "hp", "web", "--type=merge", "-p", &theirs.to_string()], &Value::Null).unwrap();
    let remove = |index: u32| json!([{"op": "remove", "path": format!("/metadata/finalizers/{index}")}]);
    assert_refused(thief.patch("healthpolicies", "web", &remove(0)).await, &guard, &[]);
    thief.patch("healthpolicies", "web", &remove(1)).await.unwrap();
    assert_refused(thief.kubectl(&["create", "-f", "-"], &policy("other", &web_policy())), &guard, &[]);
    assert_refused(thief.kubectl(&["delete", "hp", "web"], &Value::Null), &guard, &[]);
    let mine = json!({"metadata": {"finalizers": null}});
    kubectl_as(&ns, &[], &["patch", "hp", "web", "--type=merge", "-p", &mine.to_string()], &Value::Null).unwrap();
}

#[tokio::test]
async fn other_admission_that_touches_our_requests_is_named_and_can_be_let_through() {
    if !Cluster::shared().mutates_by_policy() {
        return;
    }
    let ns = TestNamespace::new("touched").await;
    ns.deployment("web", 1, container()).await;
    let operator = Operator::start(&ns).await;
    operator.expect_denials();
    let touch = "[JSONPatch{op: 'add', path: '/metadata/annotations/example.com~1touched', value: string(object.metadata.generation)}]";
    let _touches = Admission::mutating(&ns, "has(object.metadata.annotations)", touch);
    eventually("the other admission acts", || async {
        let touched = ns.merge("web", json!({"metadata": {"annotations": {"any": "thing"}}})).await;
        touched["metadata"]["annotations"].get("example.com/touched").map(drop)
    })
    .await;
    ns.policy("web", web_policy()).await;
    let health = ns.compliant("web", "Denied").await;
    let said = health.to_string();
    assert!(
        said.contains("metadata.annotations.example.com/touched") && said.contains("let it leave out that user"),
        "{said}"
    );

    let release = format!("{}-gracekeeper", ns.name);
    let more = ["--set", "guards.operator.ignoredAnnotations[0]=example.com/touched"];
    let rendered = ns.cluster.render(&release, &ns.name, &["guard-operator"], &more);
    ns.cluster.try_kubectl(&["apply", "--server-side", "-f", "-"], &rendered).unwrap();
    // A refusal is tried again by itself, ever more rarely: an edit is sooner.
    eventually("the operator's write passes", || async {
        let mut spec = web_policy();
        spec["priority"] = json!(ns.get("web").await["metadata"]["generation"]);
        ns.policy("web", spec).await;
        ns.get("web").await["metadata"]["annotations"].get("gracekeeper.dev/filled").map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_workloads_own_exec_probe_is_not_replaced_where_it_could_not_be_given_back() {
    let ns = TestNamespace::new("own-exec").await;
    let mut own = container();
    own["livenessProbe"] = json!({"exec": {"command": ["own"]}});
    let before = ns.deployment("web", 1, own).await;
    let operator = Operator::start(&ns).await;
    operator.expect_denials();
    let mut spec = web_policy();
    spec["whenAlreadySet"] = json!("Replace");
    ns.policy("web", spec.clone()).await;
    let health = ns.compliant("web", "Denied").await;
    let said = health.to_string();
    assert!(
        said.contains("exec handler of app/livenessProbe") && said.contains("Keep what the workload sets"),
        "{said}"
    );
    assert_eq!(ns.get("web").await["metadata"]["generation"], before["metadata"]["generation"]);

    // The way out that it names: everything else is filled, and the own probe stays.
    spec["whenAlreadySet"] = json!("Keep");
    ns.policy("web", spec).await;
    ns.compliant("web", "InSync").await;
    let web = ns.settled("web").await;
    assert_eq!(pod(&web)["containers"][0]["livenessProbe"]["exec"]["command"], json!(["own"]));
    assert_eq!(pod(&web)["containers"][0]["readinessProbe"]["httpGet"]["path"], "/readyz");
    ns.delete_policy("web").await;
    ns.policy_gone("web").await;
    eventually("all is as it was", || async { (ns.get("web").await["spec"] == before["spec"]).then_some(()) }).await;
}
