//! Which containers are reached, and what is said of the others.

use super::support::{deployment, plan_for, policy, reasons};

const THREE: &str = "
initContainers: [{name: migrate}, {name: side, restartPolicy: Always}]
containers: [{name: app}, {name: other}]
";

fn probe(name: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!("name: {name}, ") };
    format!("{{{name}probes: {{liveness: {{tcpSocket: {{port: 80}}}}}}}}")
}

#[test]
fn entries_reach_the_containers_they_mean() {
    let annotated = |name: &str| {
        let mut workload = deployment(THREE);
        workload["spec"]["template"]["metadata"] =
            serde_json::json!({"annotations": {"kubectl.kubernetes.io/default-container": name}});
        workload
    };
    for (name, entries, workload, changes, findings) in [
        ("the only one", vec![""], deployment("containers: [{name: x}]"), vec!["x/livenessProbe"], vec![]),
        ("annotated", vec![""], annotated("other"), vec!["other/livenessProbe"], vec![]),
        ("ambiguous", vec![""], deployment(THREE), vec![], vec!["AmbiguousContainer"]),
        ("annotated wrongly", vec![""], annotated("side"), vec![], vec!["AmbiguousContainer"]),
        ("by name", vec!["other"], deployment(THREE), vec!["other/livenessProbe"], vec![]),
        ("sidecar", vec!["side"], deployment(THREE), vec!["side/livenessProbe"], vec![]),
        ("init", vec!["migrate"], deployment(THREE), vec![], vec!["InitContainer"]),
        ("missing", vec!["gone"], deployment(THREE), vec![], vec!["MissingContainer"]),
        ("no container", vec![""], deployment("containers: []"), vec![], vec!["MissingContainer"]),
        (
            "a name that is none",
            vec![""],
            deployment("containers: [{name: 'A,b/c'}]"),
            vec![],
            vec!["MissingContainer"],
        ),
        ("twice", vec!["", "app"], annotated("app"), vec!["app/livenessProbe"], vec!["DuplicateEntry"]),
        (
            "one wrong, one right",
            vec!["gone", "app"],
            deployment(THREE),
            vec!["app/livenessProbe"],
            vec!["MissingContainer"],
        ),
    ] {
        let entries: Vec<String> = entries.into_iter().map(probe).collect();
        let plan = plan_for(Some(&policy(&format!("containers: [{}]", entries.join(", ")))), &workload, &[]);
        assert_eq!(plan.changed_fields(), changes, "{name}");
        assert_eq!(reasons(&plan), findings, "{name}");
    }
}

#[test]
fn the_drain_goes_to_the_regular_containers_that_entries_address() {
    let shutdown = "shutdown: {drainSeconds: 5, finishSeconds: 60}";
    let grace = "/terminationGracePeriodSeconds";
    for (name, entries, spec, changes, findings) in [
        ("no entries: the main one", "[]", "containers: [{name: x}]", vec!["x/preStop", grace], vec![]),
        ("no entries, ambiguous: not at all", "[]", THREE, vec![], vec!["AmbiguousContainer"]),
        ("named", "[{name: app}, {name: other}]", THREE, vec!["app/preStop", "other/preStop", grace], vec![]),
        ("a sidecar stops later anyway", "[{name: app}, {name: side}]", THREE, vec!["app/preStop", grace], vec![]),
        ("only a sidecar: not at all", "[{name: side}]", THREE, vec![], vec!["ShutdownNotApplied"]),
        ("only a missing one: not at all", "[{name: gone}]", THREE, vec![], vec!["MissingContainer"]),
    ] {
        let policy = policy(&format!("{shutdown}\ncontainers: {entries}"));
        let plan = plan_for(Some(&policy), &deployment(spec), &[]);
        assert_eq!(plan.changed_fields(), changes, "{name}");
        assert_eq!(reasons(&plan), findings, "{name}");
    }
}

#[test]
fn an_explicit_hook_wins_over_the_drain_and_replaces_only_under_replace() {
    let own =
        "containers: [{name: app, lifecycle: {preStop: {sleep: {seconds: 3}}, postStart: {exec: {command: [x]}}}}]";
    let explicit = "containers: [{preStop: {sleep: {seconds: 8}}}]";
    for (name, text, want) in [
        ("keep", explicit.to_owned(), 3),
        ("replace", format!("whenAlreadySet: Replace\n{explicit}"), 8),
        ("a drain never replaces", "whenAlreadySet: Replace\nshutdown: {drainSeconds: 5, finishSeconds: 5}".into(), 3),
    ] {
        let before = deployment(own);
        let after = plan_for(Some(&policy(&text)), &before, &[]).apply_to(&before).unwrap();
        let sleep = after.pointer("/spec/template/spec/containers/0/lifecycle/preStop/sleep/seconds");
        assert_eq!(sleep.and_then(serde_json::Value::as_i64), Some(want), "{name}");
    }
}

#[test]
fn a_probe_with_an_unknown_port_name_is_not_written_and_ours_is_taken_back() {
    let named = policy("containers: [{probes: {readiness: {httpGet: {port: http}}, liveness: {httpGet: {port: 80}}}}]");
    let before = deployment("containers: [{name: app, ports: [{name: http, containerPort: 80}]}]");
    let first = plan_for(Some(&named), &before, &[]);
    assert_eq!(first.changed_fields(), ["app/livenessProbe", "app/readinessProbe"]);
    let mut renamed = first.apply_to(&before).unwrap();
    renamed["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = "web".into();
    let second = plan_for(Some(&named), &renamed, &first.held);
    assert_eq!(second.changed_fields(), ["app/readinessProbe"]);
    assert_eq!(reasons(&second), ["UnknownPort"]);
    assert!(second.changes[0].to.is_none());
}

#[test]
fn a_kept_hook_is_not_measured_against_a_declared_grace_period() {
    let policy = policy("shutdown: {drainSeconds: 10, finishSeconds: 20}");
    for (hook, findings) in [
        ("", vec!["DrainDoesNotFit"]),
        (", lifecycle: {preStop: {exec: {command: [x]}}}", vec!["GraceTooShort", "KeptExisting"]),
    ] {
        let workload = deployment(&format!("terminationGracePeriodSeconds: 5\ncontainers: [{{name: app{hook}}}]"));
        let plan = plan_for(Some(&policy), &workload, &[]);
        assert!(findings.iter().all(|reason| reasons(&plan).contains(reason)), "{hook}: {:?}", reasons(&plan));
        assert_eq!(reasons(&plan).contains(&"DrainDoesNotFit"), hook.is_empty());
    }
}
