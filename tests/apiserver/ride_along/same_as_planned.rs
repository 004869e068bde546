//! The admission policy and the planner come to the same template and the same marker.

use std::collections::BTreeSet;
use std::fs;

use gracekeeper::api::{HealthPolicySpec, ORIGINAL_PREFIX};
use gracekeeper::core::plan::{Input, Plan, Surroundings, plan};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::{Ridden, generate, marker, spec_of, would_create};
use crate::support::TestNamespace;
use crate::support::cluster::root;
use crate::support::namespace::web_policy;

fn planned(policy: &HealthPolicySpec, deployment: &Value) -> Plan {
    plan(&Input { policy: Some(policy), deployment, held: &[], surroundings: &Surroundings::default() })
}

/// What the two may differ in: nothing of the template, of the numbers, or of the marker.
pub(super) fn essence(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    // `creationTimestamp: null` and the like say nothing.
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
        // `kubectl rollout restart` writes the time, which differs from one twin to the other.
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/restartedAt");
        }
    }
    // Without the server's defaults for what a plan has just written.
    let stored = |value: &Value| value.as_i64().unwrap_or(0);
    json!({
        "template": template,
        "minReadySeconds": stored(&object["spec"]["minReadySeconds"]),
        "progressDeadlineSeconds": stored(&object["spec"]["progressDeadlineSeconds"]),
        "marker": marker(object).unwrap_or_default(),
    })
}

/// Lets the API server add its defaults to what was planned.
pub(super) async fn as_stored(plain: &TestNamespace, planned: Value) -> Value {
    let mut object = planned;
    for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
    would_create(plain, object).await.unwrap()
}

/// Compares one Deployment under one policy, created anew.
async fn compare(
    ridden: &Ridden,
    plain: &TestNamespace,
    policy: &HealthPolicySpec,
    object: &Value,
    what: &str,
) -> bool {
    let mut twin = object.clone();
    twin["metadata"]["namespace"] = json!(plain.name);
    // What the server refuses without us is not ours to compare.
    let Ok(stored) = would_create(plain, twin).await else { return false };
    let plan = planned(policy, &stored);
    let expected = as_stored(plain, plan.apply_to(&stored).unwrap()).await;
    let mut sent = object.clone();
    sent["metadata"]["namespace"] = json!(ridden.ns.name);
    let got = ridden.would_create(sent).await;
    let (got_essence, expected_essence) = (essence(&got), essence(&expected));
    if got_essence == expected_essence {
        check_originals(&plan, &got, what);
        return true;
    }
    // The one thing that is left to the operator: an original that CEL cannot write as JSON.
    let odd = plan.held.iter().any(|held| {
        let original = held.original.as_deref().unwrap_or_default();
        held.original.is_some() && (original.len() > 10_000 || original.contains("\\u") || original.contains("\\\\"))
    });
    assert!(
        odd,
        "{what}\npolicy {}\nsent {object}\ngot      {got_essence}\nexpected {expected_essence}",
        json!(policy)
    );
    false
}

/// What Replace overwrote, and numbers that were raised, can be given back.
fn check_originals(plan: &Plan, got: &Value, what: &str) {
    let server_defaults = ["30", "600"];
    for held in &plan.held {
        let Some(original) = held.original.as_deref().filter(|text| *text != "null" && !server_defaults.contains(text))
        else {
            continue;
        };
        let prefix = if held.container.is_empty() { String::new() } else { format!("{}.", held.container) };
        let key = format!("{prefix}{ORIGINAL_PREFIX}/{}", held.field);
        let noted = super::annotation(got, &key).unwrap_or_else(|| panic!("{what}: no annotation {key}"));
        let [noted, original] = [noted.as_str(), original].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(noted, original, "{what}: {key}");
    }
}

/// The realistic Deployments that the planner's own tests have.
fn fixtures() -> Vec<(String, Value)> {
    let mut files: Vec<_> =
        fs::read_dir(root().join("tests/fixtures/deployments")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files.iter().map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(path))).collect()
}

/// A manifest in the fewest words becomes one that an API server takes.
pub(super) fn complete(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "namespace"] {
        metadata.remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
    object["spec"]["selector"] = json!({"matchLabels": {"app": "compared"}});
    object["spec"]["template"]["metadata"]["labels"] = json!({"app": "compared"});
    let pod = object["spec"]["template"]["spec"].as_object_mut().unwrap();
    for list in ["containers", "initContainers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().unwrap().entry("image").or_insert(json!("example.com/app:1"));
        }
    }
    object
}

/// Selects one case by a label, so that many policies can stand beside one another.
pub(super) fn enforcing(spec: &Value, case: usize) -> Value {
    let mut spec = spec.clone();
    spec["mode"] = json!("Enforce");
    spec["selector"] = json!({"matchLabels": {"case": format!("c{case}")}});
    spec
}

pub(super) fn of_case(object: &Value, case: usize) -> Value {
    let mut object = object.clone();
    object["metadata"]["labels"] = json!({"case": format!("c{case}")});
    object
}

/// The same cases each time: what fails can be looked at again.
pub(super) fn same_each_time(seed: u8) -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
}

/// Creates the policy of this case. Some break a rule of the schema, such as a sleep longer than the shutdown.
pub(super) fn is_taken(ridden: &Ridden, case: usize, spec: &Value) -> bool {
    let object = json!({"apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy",
        "metadata": {"name": format!("p{case}"), "namespace": ridden.ns.name}, "spec": spec});
    ridden.ns.cluster.try_kubectl(&["create", "-f", "-"], &object.to_string()).is_ok()
}

#[tokio::test]
async fn every_fixture_is_stored_as_it_is_planned_under_every_policy() {
    let Some(ridden) = Ridden::new("same-fixtures").await else { return };
    let plain = TestNamespace::new("same-fixtures-plain").await;
    let replace = |mut spec: Value| {
        spec["whenAlreadySet"] = json!("Replace");
        spec
    };
    let mut web = web_policy();
    web["rollout"] = json!({"minReadySeconds": 10});
    let by_name = json!({
        "containers": [
            {"name": "app", "probes": {"liveness": {"grpc": {"port": 9090}}, "readiness": {"exec": {"command": ["ready", "ß"]}}},
             "preStop": {"exec": {"command": ["drain"]}}},
            {"name": "side", "probes": {"startup": {"tcpSocket": {"port": 8443}}}, "preStop": {"sleep": {"seconds": 25}}}],
        "shutdown": {"drainSeconds": 60, "finishSeconds": 300},
        "rollout": {"minReadySeconds": 0, "patience": {"startSeconds": 900}},
    });
    let policies = [
        web.clone(),
        replace(web),
        by_name.clone(),
        replace(by_name),
        json!({"shutdown": {"drainSeconds": 5, "finishSeconds": 3600}}),
        json!({"containers": [{"preStop": {"sleep": {"seconds": 30}}}]}),
        replace(json!({"containers": [{"preStop": {"sleep": {"seconds": 30}}}]})),
        json!({"rollout": {"minReadySeconds": 30, "patience": {"scheduleSeconds": 0, "pullSeconds": 1}}}),
        json!({}),
    ];
    for (case, spec) in policies.iter().enumerate() {
        ridden.policy(&format!("p{case}"), enforcing(spec, case)).await;
    }
    ridden.informed().await;
    let mut compared = 0;
    for (case, spec) in policies.iter().enumerate() {
        let policy = spec_of(&enforcing(spec, case));
        // A marker that comes with a create is another story: nothing rides along, see `operating`.
        for (name, fixture) in fixtures().into_iter().filter(|(_, fixture)| marker(fixture).is_none()) {
            let object = of_case(&complete(fixture), case);
            compared += usize::from(compare(&ridden, &plain, &policy, &object, &format!("{name} under p{case}")).await);
        }
    }
    println!("compared: {compared} Deployments, created under {} policies", policies.len());
    assert!(compared > 200, "{compared}");
}

#[tokio::test]
async fn generated_deployments_are_stored_as_they_are_planned() {
    const CASES: usize = 120;
    let Some(ridden) = Ridden::new("same-generated").await else { return };
    let plain = TestNamespace::new("same-generated-plain").await;
    let mut runner = same_each_time(7);
    let mut cases = Vec::new();
    for case in 0..CASES {
        let spec = json!(generate::policy().new_tree(&mut runner).unwrap().current());
        let objects: Vec<Value> =
            (0..4).map(|_| generate::deployment().new_tree(&mut runner).unwrap().current()).collect();
        let spec = enforcing(&spec, case);
        if is_taken(&ridden, case, &spec) {
            cases.push((case, spec_of(&spec), objects));
        }
    }
    ridden.informed().await;
    let (mut compared, mut kinds) = (0, BTreeSet::new());
    for (case, policy, objects) in &cases {
        for object in objects {
            let object = of_case(&complete(object.clone()), *case);
            if compare(&ridden, &plain, policy, &object, &format!("case {case}")).await {
                compared += 1;
                let got = ridden.would_create(object).await;
                kinds.extend(marker(&got).unwrap_or_default().split(',').map(str::to_owned));
            }
        }
    }
    println!("compared: {compared} Deployments, created under {} policies; fields: {kinds:?}", cases.len());
    assert!(compared > 200 && kinds.len() > 10, "{compared}, {kinds:?}");
}
