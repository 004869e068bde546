//! Findings that need surroundings, or a closer look than the fixtures give.

use serde_json::{Value, json};

use super::support::{deployment, plan_for, policy, reasons, yaml};
use crate::core::plan::{Input, Surroundings, plan};

fn around(spec: &str, objects: &str, longest_start_seconds: Option<i64>) -> Vec<&'static str> {
    let mut workload =
        deployment("containers: [{name: app, startupProbe: {tcpSocket: {port: 1}, failureThreshold: 7}}]");
    workload["spec"]["template"]["metadata"] = json!({"labels": {"app": "web"}});
    for (key, value) in yaml(spec).as_object().unwrap() {
        workload["spec"][key] = value.clone();
    }
    let mut surroundings = Surroundings { longest_start_seconds, ..Surroundings::default() };
    for object in yaml(objects).as_array().unwrap() {
        surroundings.add(&workload, object);
    }
    reasons(&plan(&Input { policy: None, deployment: &workload, held: &[], surroundings: &surroundings }))
}

#[test]
fn budgets_and_autoscalers_are_compared_with_the_replicas() {
    let pdb = |spec: &str| {
        format!(
            "- {{kind: PodDisruptionBudget, metadata: {{name: b}}, spec: {{selector: {{matchLabels: {{app: web}}}}, {spec}}}}}\n"
        )
    };
    let hpa = |minimum: i64| {
        format!(
            "- {{kind: HorizontalPodAutoscaler, metadata: {{name: h}}, spec: {{scaleTargetRef: {{kind: Deployment, name: web}}, minReplicas: {minimum}}}}}\n"
        )
    };
    let none: Vec<&str> = vec![];
    for (name, spec, objects, want) in [
        ("nothing around", "{replicas: 3}", "[]".into(), none.clone()),
        ("one replica", "{replicas: 1}", "[]".into(), vec!["SingleReplica"]),
        ("a fine budget", "{replicas: 3}", pdb("maxUnavailable: 1"), none.clone()),
        ("nothing may go", "{replicas: 3}", pdb("maxUnavailable: 0"), vec!["PdbBlocksDrain"]),
        ("zero per cent may go", "{replicas: 3}", pdb("maxUnavailable: 0%"), vec!["PdbBlocksDrain"]),
        ("all must stay", "{replicas: 3}", pdb("minAvailable: 100%"), vec!["PdbBlocksDrain"]),
        ("rounded up, all must stay", "{replicas: 3}", pdb("minAvailable: 67%"), vec!["PdbBlocksDrain"]),
        ("one may go", "{replicas: 3}", pdb("minAvailable: 2"), none.clone()),
        ("scaled to zero", "{replicas: 0}", pdb("minAvailable: 1"), none.clone()),
        ("at the autoscaler's minimum", "{replicas: 9}", pdb("minAvailable: 2") + &hpa(2), vec!["PdbVersusHpaMin"]),
        ("above it", "{replicas: 9}", pdb("minAvailable: 2") + &hpa(3), none.clone()),
        ("a minimum of one", "{replicas: 1}", hpa(1), vec!["HpaMinOne"]),
        (
            "of other pods",
            "{replicas: 3}",
            "[{kind: PodDisruptionBudget, spec: {selector: {matchLabels: {app: db}}, maxUnavailable: 0}}, {kind: PodDisruptionBudget, spec: {maxUnavailable: 0}}]".into(),
            none,
        ),
    ] {
        assert_eq!(around(spec, &objects, None), want, "{name}");
    }
}

#[test]
fn an_observed_start_is_compared_with_the_startup_budget() {
    assert_eq!(around("{replicas: 2}", "[]", Some(60)), Vec::<&str>::new());
    assert_eq!(around("{replicas: 2}", "[]", Some(61)), ["StartupBudgetBelowObserved"]);
}

#[test]
fn probes_and_hooks_are_looked_at_one_by_one() {
    let none: Vec<&str> = vec![];
    for (container, want) in [
        ("readinessProbe: {tcpSocket: {port: 80}}", vec!["TcpOnlyProvesPort"]),
        ("livenessProbe: {tcpSocket: {port: 80}}", none.clone()),
        ("livenessProbe: {exec: {command: [x]}, periodSeconds: 10, timeoutSeconds: 2}", none.clone()),
        ("livenessProbe: {exec: {command: [x]}, periodSeconds: 9, timeoutSeconds: 2}", vec!["ExecProbeHeavy"]),
        ("readinessProbe: {grpc: {port: 8443}}", vec!["GrpcToTlsPort"]),
        ("readinessProbe: {grpc: {port: 8443, mode: TLS}}", none.clone()),
        ("readinessProbe: {grpc: {port: 81}}, ports: [{name: grpcs, containerPort: 81}]", vec!["GrpcToTlsPort"]),
        ("livenessProbe: {grpc: {port: 1}}, readinessProbe: {grpc: {port: 1}, failureThreshold: 2}", none.clone()),
        (
            "livenessProbe: {grpc: {port: 1}}, readinessProbe: {grpc: {port: 1, service: ''}}",
            vec!["LivenessEqualsReadiness"],
        ),
        ("livenessProbe: {grpc: {port: 1}}, readinessProbe: {grpc: {port: 2}}", none.clone()),
        ("lifecycle: {preStop: {sleep: {seconds: 28}}}", none.clone()),
        ("lifecycle: {preStop: {sleep: {seconds: 29}}}", vec!["PreStopLongerThanGrace"]),
        ("lifecycle: {preStop: {httpGet: {port: gone}}}", vec!["UnknownPort"]),
        (
            "lifecycle: {preStop: {sleep: {seconds: 9}}}, livenessProbe: {grpc: {port: 1}, terminationGracePeriodSeconds: 8}",
            vec!["DrainCutByLiveness"],
        ),
    ] {
        let workload: Value = deployment(&format!("containers: [{{name: app, {container}}}]"));
        let got =
            plan(&Input { policy: None, deployment: &workload, held: &[], surroundings: &Surroundings::default() });
        assert_eq!(reasons(&got), want, "{container}");
    }
}

#[test]
fn a_bake_that_is_shorter_than_a_hang_takes_to_show_is_named_with_both_numbers() {
    // Detection 10 + 5 x 10 + 1 = 61 s; the hung container then sleeps 5 s and is killed after 15 s: 76 s.
    let probe = "livenessProbe: {grpc: {port: 1}, failureThreshold: 6, terminationGracePeriodSeconds: 15}";
    let hook = "lifecycle: {preStop: {sleep: {seconds: 5}}}";
    let hung = format!("containers: [{{name: app, {probe}, {hook}}}]");
    let shows = "Liveness notices a hang after up to 61 s and has killed the container after up to 76 s";
    let accepted =
        |seconds: i64| Some(format!("{shows}, while a version is accepted {seconds} s after it is complete."));
    let step = |seconds: i64| Some(format!("{shows}, while a step lets more pods of a version in after {seconds} s."));
    for (name, rollout, pod, want) in [
        ("the default is long enough", "{}", hung.as_str(), None),
        ("just long enough", "{bakeAfterSeconds: 76}", &hung, None),
        ("one second short", "{bakeAfterSeconds: 75}", &hung, accepted(75)),
        ("none at all", "{bakeAfterSeconds: 0}", &hung, accepted(0)),
        (
            "a step that is too short",
            "{steps: [{pods: 1, bakeSeconds: 90}, {pods: 2, bakeSeconds: 60}]}",
            &hung,
            step(60),
        ),
        ("a person looks", "{steps: [{pods: 1, bakeSeconds: 0, approval: Manual}]}", &hung, None),
        ("long enough everywhere", "{steps: [{pods: 1, bakeSeconds: 76}], bakeAfterSeconds: 76}", &hung, None),
        ("both: the acceptance is told", "{steps: [{pods: 1}], bakeAfterSeconds: 9}", &hung, accepted(9)),
        ("no liveness, nothing to see", "{bakeAfterSeconds: 0}", "containers: [{name: app}]", None),
    ] {
        let plan = plan_for(Some(&policy(&format!("rollout: {rollout}"))), &deployment(pod), &[]);
        let found = plan.findings.iter().find(|finding| finding.reason.as_str() == "BakeBelowLivenessDetection");
        assert_eq!(found.map(|finding| finding.message.clone()), want, "{name}");
    }
    let ungated = plan_for(Some(&policy("shutdown: {drainSeconds: 1, finishSeconds: 1}")), &deployment(&hung), &[]);
    assert!(!reasons(&ungated).contains(&"BakeBelowLivenessDetection"), "no gate, no bake");
}
