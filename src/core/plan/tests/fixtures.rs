//! The laws on a folder of realistic Deployments, under several policies.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{check_laws, deployment, plan_for, policy, reasons, server_defaults, yaml};
use crate::api::HealthPolicySpec;
use crate::core::plan::{Input, Surroundings, plan};

const FOLDER: &str = "tests/fixtures/deployments";

fn fixtures() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), yaml(&fs::read_to_string(path).unwrap()))).collect()
}

fn fixture(name: &str) -> Value {
    fixtures().into_iter().find(|(each, _)| each.starts_with(name)).unwrap().1
}

/// Policies that differ in what they ask for and in how they treat what is there.
fn policies() -> Vec<(&'static str, HealthPolicySpec)> {
    let web = "
containers:
- probes:
    startup:   {httpGet: {path: /healthz, port: http}, periodSeconds: 5, failureThreshold: 24}
    readiness: {httpGet: {path: /readyz, port: http}, periodSeconds: 5}
    liveness:  {httpGet: {path: /livez, port: http}, failureThreshold: 6, terminationGracePeriodSeconds: 15}
shutdown: {drainSeconds: 10, finishSeconds: 20}
rollout: {minReadySeconds: 10}
";
    let by_name = "
whenAlreadySet: Replace
containers:
- name: app
  probes: {liveness: {grpc: {port: 9090}}, readiness: {exec: {command: [ready, 'ß', \"\\u0001\"]}}}
  preStop: {exec: {command: [drain]}}
- name: side
  probes: {startup: {tcpSocket: {port: 8443}}}
  preStop: {sleep: {seconds: 25}}
shutdown: {drainSeconds: 60, finishSeconds: 300}
rollout: {minReadySeconds: 0, patience: {startSeconds: 900}}
";
    vec![
        ("keep", policy(web)),
        ("replace", policy(&format!("whenAlreadySet: Replace{web}"))),
        ("by name", policy(by_name)),
        ("shutdown only", policy("shutdown: {drainSeconds: 5, finishSeconds: 3600}")),
        ("hook only", policy("containers: [{preStop: {sleep: {seconds: 30}}}]")),
        ("nothing", policy("")),
    ]
}

#[test]
fn every_fixture_keeps_the_laws_under_every_policy() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 30, "{}", fixtures.len());
    for (file, deployment) in &fixtures {
        for (name, policy) in &policies() {
            // The copied marker is settled by the first plan already; the laws start from an untouched Deployment.
            if !file.starts_with("32") {
                check_laws(&format!("{file}, {name}"), policy, deployment);
                check_laws(&format!("{file} on a server, {name}"), policy, &server_defaults(deployment));
            }
        }
    }
}

#[test]
fn each_fixture_shows_what_it_is_there_for() {
    let keep = &policies()[0].1;
    let none: &[&str] = &[];
    for (name, without, with) in [
        ("01", none, none),
        (
            "02",
            none,
            &[
                "BakeBelowLivenessDetection",
                "KeptExisting",
                "KeptExisting",
                "KeptExisting",
                "KeptExisting",
                "KeptExisting",
            ][..],
        ),
        ("03", none, none),
        ("04", none, &["AmbiguousContainer"][..]),
        ("05", none, &["AmbiguousContainer"][..]),
        ("06", none, none),
        ("07", &["SingleReplica"][..], &["SingleReplica"][..]),
        ("08", &["NoStartupProbe"], &["KeptExisting"]),
        ("09", &["GraceVersusRecreate", "SingleReplica"], &["GraceVersusRecreate", "SingleReplica"]),
        ("10", none, none),
        ("11", &["ExecProbeHeavy", "TimeoutTooTight"], &["ExecProbeHeavy", "KeptExisting", "TimeoutTooTight"]),
        ("12", none, &["KeptExisting", "KeptExisting"]),
        ("13", &["GrpcToTlsPort"], &["UnknownPort", "UnknownPort", "UnknownPort", "GrpcToTlsPort"]),
        ("14", none, &["MeshOrdering"]),
        ("15", none, none),
        (
            "16",
            &["ExecProbeHeavy", "TimeoutTooTight"],
            &["UnknownPort", "UnknownPort", "UnknownPort", "ExecProbeHeavy", "TimeoutTooTight"],
        ),
        ("17", none, &["BakeBelowLivenessDetection", "KeptExisting", "KeptExisting", "KeptExisting"]),
        ("18", none, &["UnknownPort"; 3]),
        ("19", none, &["DrainDoesNotFit", "GraceTooShort"]),
        ("20", &["ReadinessGateOwner"], &["ReadinessGateOwner"]),
        ("21", none, &["KeptExisting", "KeptExisting"]),
        ("22", none, none),
        ("23", &["UnknownPort"], &["UnknownPort"; 4]),
        ("24", &["LivenessEqualsReadiness"], &["LivenessEqualsReadiness", "KeptExisting", "KeptExisting"]),
        (
            "25",
            &["LivenessFasterThanReadiness", "TimeoutTooTight"],
            &["LivenessFasterThanReadiness", "KeptExisting", "KeptExisting", "TimeoutTooTight"],
        ),
        ("26", none, none),
        ("27", none, none),
        ("28", &["DeadlineBelowStep", "MaxUnavailableAll"], &["MaxUnavailableAll", "KeptExisting"]),
        (
            "29",
            &["PreStopLongerThanGrace", "DrainCutByLiveness"],
            &["PreStopLongerThanGrace", "GraceTooShort", "DrainCutByLiveness", "KeptExisting", "KeptExisting"],
        ),
        ("30", &["NoStartupProbe"], &["BakeBelowLivenessDetection", "KeptExisting"]),
        ("31", &["ExecProbeHeavy", "TimeoutTooTight"], &["UnknownPort"; 0]),
        ("33", none, &["GraceTooShort"]),
    ] {
        let deployment = fixture(name);
        assert_eq!(reasons(&plan_for(None, &deployment, &[])), without, "{name} without a policy");
        if name != "31" {
            assert_eq!(reasons(&plan_for(Some(keep), &deployment, &[])), with, "{name} with the policy");
        }
    }
}

#[test]
fn a_copied_marker_lets_the_policy_set_fields_and_nothing_more() {
    let deployment = fixture("32");
    let plan = plan_for(Some(&policies()[0].1), &deployment, &[]);
    assert!(!plan.marker.contains("gone") && plan.marker.contains("app/livenessProbe"), "{}", plan.marker);
    let after = plan.apply_to(&deployment).unwrap();
    assert!(plan_for(Some(&policies()[0].1), &after, &plan.held).is_empty());
    // Nothing of what it lists is there, so without a policy it is left alone.
    assert!(plan_for(None, &deployment, &[]).is_empty());
}

#[test]
fn fields_of_the_future_survive_a_replacement_and_come_back() {
    let deployment = fixture("21");
    let replace = &policies()[1].1;
    let plan = plan_for(Some(replace), &deployment, &[]);
    let after = plan.apply_to(&deployment).unwrap();
    let pod = |path: &str| format!("/spec/template/spec{path}");
    for path in ["/resources", "/containers/0/restartPolicyRules", "/containers/0/lifecycle/stopSignal"] {
        assert_eq!(after.pointer(&pod(path)), deployment.pointer(&pod(path)), "{path}");
    }
    assert!(after.pointer(&pod("/containers/0/livenessProbe/grpc")).is_none());
    assert_eq!(plan_for(None, &after, &plan.held).apply_to(&after).unwrap(), deployment);
}

#[test]
fn a_number_that_rode_along_higher_is_still_the_policys() {
    let wanted =
        policy("mode: Enforce\nshutdown: {drainSeconds: 5, finishSeconds: 30}\nrollout: {minReadySeconds: 5}\n");
    let mut plain = deployment("containers: [{name: app, image: app}]");
    // One that is stored: of a manifest every number counts as declared.
    plain["metadata"]["uid"] = json!("u");
    let first = plan_for(Some(&wanted), &plain, &[]);
    let mut ridden = first.apply_to(&plain).unwrap();
    let number = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_i64);
    let (grace, deadline) = ("/spec/template/spec/terminationGracePeriodSeconds", "/spec/progressDeadlineSeconds");
    assert_eq!((number(&ridden, grace), number(&ridden, deadline)), (Some(37), Some(606)));
    // Somebody brings a longer sleep and a slower start, and what these need rides along in the same write.
    let slow = json!({"tcpSocket": {"port": 80}, "periodSeconds": 30, "failureThreshold": 60});
    let container = ridden.pointer_mut("/spec/template/spec/containers/0").unwrap();
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 20}}});
    container["startupProbe"] = slow;
    *ridden.pointer_mut(grace).unwrap() = json!(52);
    *ridden.pointer_mut(deadline).unwrap() = json!(2376);
    ridden["metadata"]["annotations"]["gracekeeper.dev/filled"] =
        json!("/minReadySeconds,/progressDeadlineSeconds,/terminationGracePeriodSeconds");

    // Where policies do not ride along, who sets just this number has set it.
    let own = plan_for(Some(&wanted), &ridden, &first.held);
    assert!(own.held.iter().all(|entry| entry.field == "minReadySeconds"), "{:?}", own.held);

    let surroundings = Surroundings { rides_along: true, ..Surroundings::default() };
    let rides = |deployment: &Value| {
        plan(&Input { policy: Some(&wanted), deployment, held: &first.held, surroundings: &surroundings })
    };
    let plan = rides(&ridden);
    assert!(plan.is_empty(), "{:?}", plan.apply_to(&ridden));
    let held = |field: &str| plan.held.iter().find(|entry| entry.field == field).map(|entry| &*entry.value);
    assert_eq!(held("terminationGracePeriodSeconds"), Some("52"));
    assert_eq!(held("progressDeadlineSeconds"), Some("2376"));
    let released = plan_for(None, &ridden, &plan.held).apply_to(&ridden).unwrap();
    assert_eq!(
        (number(&released, deadline), released["metadata"]["annotations"].get("gracekeeper.dev/filled")),
        (None, None)
    );
    // The API server would refuse a grace period shorter than the sleep.
    assert_eq!(number(&released, grace), None);

    // Another number than the policy needs is somebody's own.
    *ridden.pointer_mut(grace).unwrap() = json!(60);
    assert!(rides(&ridden).held.iter().all(|entry| entry.field != "terminationGracePeriodSeconds"));
}
