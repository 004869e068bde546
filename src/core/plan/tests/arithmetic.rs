//! Grace period, deadline and timings, as tables.

use serde_json::{Value, json};

use super::support::{deployment, grace, plan_for, policy, yaml};

/// The value after the plan.
fn after(policy_yaml: &str, deployment: &Value) -> Value {
    plan_for(Some(&policy(policy_yaml)), deployment, &[]).apply_to(deployment).unwrap()
}

#[test]
fn the_grace_period_covers_every_hook_and_the_finish() {
    let shutdown = |drain: i64, finish: i64| format!("shutdown: {{drainSeconds: {drain}, finishSeconds: {finish}}}");
    let own = "containers: [{preStop: {sleep: {seconds: 30}}}]".to_owned();
    let pod = |grace: &str, hook: &str| deployment(&format!("{grace}\ncontainers: [{{name: app{hook}}}]"));
    let sleep = |seconds: i64| format!(", lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}");
    let exec = ", lifecycle: {preStop: {exec: {command: [x]}}}".to_owned();
    for (name, policy, grace_line, hook, want) in [
        ("enough by default", shutdown(10, 18), "", String::new(), 30),
        ("one second short", shutdown(10, 19), "", String::new(), 31),
        ("more is kept", shutdown(10, 20), "terminationGracePeriodSeconds: 600", String::new(), 600),
        ("less is raised", shutdown(10, 20), "terminationGracePeriodSeconds: 5", String::new(), 32),
        ("zero is raised", shutdown(10, 20), "terminationGracePeriodSeconds: 0", String::new(), 32),
        ("negative is raised", shutdown(0, 1), "terminationGracePeriodSeconds: -1", String::new(), 3),
        ("no drain", shutdown(0, 40), "", String::new(), 42),
        ("a longer sleep of the workload", shutdown(10, 20), "terminationGracePeriodSeconds: 30", sleep(25), 47),
        ("a shorter sleep of the workload", shutdown(10, 20), "", sleep(3), 32),
        ("a hook of unknown duration", shutdown(10, 20), "", exec, 32),
        ("the policy's own sleep", own.clone(), "", String::new(), 32),
        ("the policy's own sleep is not taken", own, "", sleep(29), 30),
        ("no wish", "rollout: {}".into(), "terminationGracePeriodSeconds: 1", String::new(), 1),
        ("the largest numbers", shutdown(3600, 86_400), "", String::new(), 90_002),
    ] {
        let mut before = pod(grace_line, &hook);
        before["metadata"]["uid"] = json!("u"); // live, and written by an update: nobody declares the number
        assert_eq!(grace(&after(&policy, &before)), want, "{name}");
    }
}

#[test]
fn a_number_that_the_manifest_declares_is_kept_and_said_so() {
    let findings = |policy_yaml: &str, before: &Value| {
        let plan = plan_for(Some(&policy(policy_yaml)), before, &[]);
        let reasons: Vec<_> = plan
            .findings
            .iter()
            .map(|f| f.reason.as_str())
            .filter(|r| r.contains("Grace") || r.contains("Drain"))
            .collect();
        (grace(&plan.apply_to(before).unwrap()), plan.changes.len(), reasons.join(" "))
    };
    let pod = |grace: i64| deployment(&format!("terminationGracePeriodSeconds: {grace}\ncontainers: [{{name: app}}]"));
    let shutdown = "shutdown: {drainSeconds: 10, finishSeconds: 20}";
    assert_eq!(findings(shutdown, &pod(60)), (60, 1, String::new()), "long enough");
    assert_eq!(findings(shutdown, &pod(15)), (15, 1, "GraceTooShort".into()), "the sleep still fits");
    assert_eq!(findings(shutdown, &pod(5)), (5, 0, "DrainDoesNotFit GraceTooShort".into()), "the sleep does not fit");
    let replace = format!("whenAlreadySet: Replace\n{shutdown}");
    assert_eq!(findings(&replace, &pod(5)), (32, 2, String::new()), "Replace raises it");

    let mut before = deployment("containers: [{name: app}]");
    before["spec"]["progressDeadlineSeconds"] = json!(60);
    let rolled = after("rollout: {minReadySeconds: 90}", &before);
    assert_eq!(rolled["spec"], before["spec"], "minReadySeconds does not fit below a declared deadline");
    assert_eq!(after("rollout: {minReadySeconds: 59}", &before)["spec"]["minReadySeconds"], 59);
}

#[test]
fn a_sleep_of_another_container_counts_too() {
    let before = deployment(
        "
containers: [{name: app}]
initContainers: [{name: side, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 28}}}}]",
    );
    assert_eq!(grace(&after("shutdown: {drainSeconds: 5, finishSeconds: 10}", &before)), 40);
}

#[test]
fn the_deadline_is_only_raised_and_exceeds_the_step() {
    let startup = "containers: [{name: app, startupProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 5, periodSeconds: 10, failureThreshold: 31}}]";
    let plain = "containers: [{name: app}]";
    for (name, rollout, pod, now, want) in [
        ("the default does not cover the default patience", "{}", plain, None, json!(601)),
        ("start from the probes", "{}", startup, None, json!(906)),
        ("start from the policy", "{patience: {startSeconds: 50}}", startup, None, json!(651)),
        ("with minReadySeconds", "{minReadySeconds: 20}", plain, None, json!(621)),
        ("enough", "{}", plain, Some(601), json!(601)),
        ("more is kept", "{}", plain, Some(3600), json!(3600)),
        ("no deadline is kept", "{}", plain, Some(i64::from(i32::MAX)), json!(i32::MAX)),
        (
            "impatient",
            "{minReadySeconds: 3600, patience: {scheduleSeconds: 0, pullSeconds: 0}}",
            plain,
            Some(600),
            json!(3601),
        ),
        ("nothing to raise", "{patience: {scheduleSeconds: 0, pullSeconds: 0}}", plain, Some(2), json!(2)),
    ] {
        let mut before = deployment(pod);
        before["metadata"]["uid"] = json!("u");
        if let Some(now) = now {
            before["spec"]["progressDeadlineSeconds"] = json!(now);
        }
        let after = after(&format!("rollout: {rollout}"), &before);
        assert_eq!(after["spec"]["progressDeadlineSeconds"], want, "{name}");
    }
}

#[test]
fn a_deadline_without_a_rollout_section_is_not_touched() {
    let before = deployment("containers: [{name: app}]");
    assert_eq!(after("containers: []", &before), before);
}

#[test]
fn huge_numbers_saturate() {
    let before = deployment(
        "
terminationGracePeriodSeconds: 9223372036854775807
containers:
- name: app
  startupProbe: {tcpSocket: {port: 1}, periodSeconds: 2147483647, failureThreshold: 9223372036854775807, initialDelaySeconds: 2147483647}
  livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 9223372036854775807, failureThreshold: 9223372036854775807, timeoutSeconds: 9223372036854775807}
  lifecycle: {preStop: {sleep: {seconds: 9223372036854775807}}}
",
    );
    let plan = plan_for(Some(&policy("shutdown: {drainSeconds: 1, finishSeconds: 1}\nrollout: {}")), &before, &[]);
    assert_eq!(plan.timings[0].liveness_detection_seconds, Some(i64::MAX));
    let after = plan.apply_to(&before).unwrap();
    assert_eq!(after["spec"]["progressDeadlineSeconds"], json!(i32::MAX));
}

#[test]
fn timings_follow_the_documented_formulas() {
    let pod = deployment(
        "
terminationGracePeriodSeconds: 60
initContainers:
- {name: side, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}, periodSeconds: 2, failureThreshold: 10}}
containers:
- name: app
  startupProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 7, periodSeconds: 5, failureThreshold: 24}
  readinessProbe: {tcpSocket: {port: 1}, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 4, successThreshold: 2}
  livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 5, timeoutSeconds: 8, failureThreshold: 3}
  lifecycle: {preStop: {sleep: {seconds: 20}}}
- {name: slow, livenessProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 30}, lifecycle: {preStop: {exec: {command: [x]}}}}
- {name: bare}
",
    );
    let plan = plan_for(None, &pod, &[]);
    let got: Vec<Value> = plan.timings.iter().map(|timing| serde_json::to_value(timing).unwrap()).collect();
    let want = yaml(
        "
- container: app
  startupBudgetSeconds: 122      # 7 + 23 x 5
  readinessDetectionSeconds: 23  # 5 + 3 x 5 + 3
  livenessDetectionSeconds: 29   # 5 + 2 x 8 + 8
  livenessRestartSeconds: 89     # 29 + 20 + 40
  drainSeconds: 20
  finishSeconds: 40
  shutdownSeconds: 62            # 2 + 20 + 40
- container: slow
  startupBudgetSeconds: 50       # 30 + 2 x 10
  livenessDetectionSeconds: 31   # 10 + 2 x 10 + 1
  livenessRestartSeconds: 93     # 31 + 60 + 2: the hook may use all of the grace period
  finishSeconds: 2
  shutdownSeconds: 64            # 2 + 60 + 2
- {container: bare, finishSeconds: 60, shutdownSeconds: 62}
- {container: side, startupBudgetSeconds: 18, finishSeconds: 2, shutdownSeconds: 64} # 2 + 60 + 2: after its turn
",
    );
    assert_eq!(json!(got), want);
    // Start 122, readiness 5 + 3 + 1 x 5; 3 replicas, one at a time (25% of 3 is 1 up and 0 down).
    let rollout = plan.rollout;
    assert_eq!((rollout.step_seconds, rollout.rollout_seconds, rollout.pods_per_step), (135, 405, 1));
}

#[test]
fn a_shutdown_lasts_as_long_as_the_late_start_the_hook_and_what_the_kubelet_leaves() {
    let sleep = |seconds: i64| format!(", lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}");
    for (name, grace, hook, want) in [
        ("no hook", 30, String::new(), 32),
        ("a sleep inside the grace", 30, sleep(10), 32),
        ("a sleep that uses it up", 30, sleep(30), 34),
        ("the least that the kubelet leaves", 1, String::new(), 4),
        ("a negative grace counts as 1", -5, String::new(), 4),
        ("none", 0, String::new(), 4),
    ] {
        let pod = deployment(&format!("terminationGracePeriodSeconds: {grace}\ncontainers: [{{name: app{hook}}}]"));
        let timings = plan_for(None, &pod, &[]).timings;
        assert_eq!(timings[0].shutdown_seconds, Some(want), "{name}");
        assert!(
            timings[0].shutdown_seconds > timings[0].drain_seconds.zip(timings[0].finish_seconds).map(|(d, f)| d + f)
        );
    }
}

#[test]
fn strides_round_as_the_deployment_controller_does() {
    for (replicas, strategy, want) in [
        (1, "{}", 1),
        (4, "{}", 2),
        (10, "{}", 5),
        (10, "{rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}", 1),
        (10, "{rollingUpdate: {maxSurge: 0, maxUnavailable: 5%}}", 1),
        (10, "{rollingUpdate: {maxSurge: 100%, maxUnavailable: 0}}", 10),
        (10, "{type: Recreate}", 10),
        (0, "{}", 0),
    ] {
        let mut workload = deployment("containers: [{name: app}]");
        workload["spec"]["replicas"] = json!(replicas);
        workload["spec"]["strategy"] = yaml(strategy);
        assert_eq!(plan_for(None, &workload, &[]).rollout.pods_per_step, want, "{replicas} {strategy}");
    }
}
