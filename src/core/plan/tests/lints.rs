//! Findings that need surroundings, or a closer look than the fixtures give.

use serde_json::{Value, json};

use super::support::{deployment, reasons, yaml};
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
