//! What people read, state by state.

use serde_json::{Value, json};

use super::*;
use crate::commands::status::screen::{Compliance, PodRow, Policy, Replicas, RevisionRow};

fn screen(gate: Value) -> Screen {
    let revision =
        |name: &str, mark, replicas, ready| RevisionRow { name: name.into(), mark, replicas, ready, available: ready };
    let pod = |name: &str, revision: &str, ready, state: &str, message: &str| PodRow {
        name: name.into(),
        revision: revision.into(),
        ready_containers: ready,
        containers: 1,
        restarts: 0,
        state: state.into(),
        message: message.into(),
    };
    Screen {
        namespace: "shop".into(),
        name: "web".into(),
        now: "2026-01-01T00:10:00Z".parse().unwrap(),
        replicas: Replicas { wanted: 3, updated: 1, ready: 3, available: 3 },
        paused: true,
        template_hash: "bad".into(),
        policy: Some(Policy {
            name: "web".into(),
            mode: crate::api::Mode::Enforce,
            steps: serde_json::from_value(json!([
                {"pods": 1, "bakeSeconds": 60}, {"pods": "50%", "bakeSeconds": 30, "approval": "Manual"}
            ]))
            .unwrap(),
            bake_after_seconds: 120,
        }),
        gate: serde_json::from_value(gate).unwrap(),
        request: None,
        revisions: vec![
            revision("web-b", Mark::Current, 1, 0),
            revision("web-a", Mark::Stable, 3, 3),
            revision("web-0", Mark::Old, 0, 0),
        ],
        pods: vec![
            pod("web-b-1", "web-b", 0, "CrashLoopBackOff", "back-off 10s\u{1b}[2J"),
            pod("web-a-1", "web-a", 1, "Running", ""),
        ],
        compliant: Some(Compliance { status: "True".into(), reason: "InSync".into(), message: "All is set.".into() }),
        findings: 2,
        shutdown: None,
        shutdown_findings: Vec::new(),
    }
}

fn plain(screen: &Screen) -> String {
    anstream::adapter::strip_str(&render(screen)).to_string()
}

fn in_state(state: &str, reason: &str, passed: i32, bake_since: Option<&str>) -> Screen {
    let mut rollout = json!({"version": {"templateHash": "bad", "appHash": "x"}, "started": "2026-01-01T00:00:00Z",
                             "stepsPassed": passed});
    if let Some(since) = bake_since {
        rollout["bakeSince"] = json!(since);
    }
    screen(json!({"state": state, "reason": reason, "message": "A sentence.", "since": "2026-01-01T00:09:18Z",
                  "rollout": rollout}))
}

#[test]
fn each_state_says_what_happens_next() {
    let baking = Some("2026-01-01T00:09:40Z");
    let table = [
        ("Stable", "Proven", 0, None, "The next change of the template is let in over 2 steps."),
        ("Rolling", "Rolling", 0, None, "At 1 pod with the new version, it is paused and watched for 60 s."),
        (
            "Rolling",
            "StepPassed",
            1,
            None,
            "At 50% of the pods with the new version, it is paused and watched for 30 s.",
        ),
        ("Rolling", "StepPassed", 2, None, "When every pod runs the new version, it is watched for 120 s more."),
        ("Baking", "Step", 0, None, "The rollout goes on 60 s after its pods are ready"),
        ("Baking", "Step", 0, baking, "The rollout goes on in 40s, if nothing speaks against it."),
        ("Baking", "Step", 1, baking, "It waits for approval in 10s"),
        ("Baking", "AfterCompletion", 2, baking, "It becomes the stable version in 1m40s"),
        ("AwaitingApproval", "Approval", 1, None, "`gracekeeper approve deploy/web -n shop` lets it go on."),
        ("Held", "ByRequest", 0, None, "`gracekeeper resume deploy/web -n shop` lets it go on."),
        ("Held", "Environment", 0, None, "It goes on when nothing has spoken against it for 30 s"),
        ("Held", "BudgetSpent", 0, None, "when the error budget allows it"),
        ("Held", "Regressed", 0, None, "`gracekeeper retry deploy/web -n shop` tries this one again"),
        ("Restoring", "Restoring", 0, None, "The new version is taken down to 0 pods"),
        ("Restored", "Restored", 0, None, "A corrected template rolls out by itself"),
        ("Reverted", "Reverting", 0, None, "The stable template is written back."),
        ("Reverted", "Reverted", 0, None, "all pods run the stable application again"),
        ("NotGated", "Audit", 0, None, "needs a policy in mode Enforce"),
        ("NotGated", "PausedByUser", 0, None, "resumes it"),
        ("NotGated", "Overridden", 0, None, "it becomes the stable one"),
    ];
    for (state, reason, passed, since, next) in table {
        let text = plain(&in_state(state, reason, passed, since));
        assert!(text.contains(next), "{state} {reason}: {text}");
        assert!(text.contains(&format!("{state} ({reason})  for 42s")), "{text}");
    }
}

#[test]
fn the_step_is_shown_while_a_rollout_is_under_way() {
    assert!(plain(&in_state("Rolling", "Rolling", 0, None)).contains("Step        1 of 2: 1 pod, 60 s\n"));
    let second = plain(&in_state("AwaitingApproval", "Approval", 1, None));
    assert!(second.contains("Step        2 of 2: 50% of the pods, 30 s, then approval\n"), "{second}");
    assert!(plain(&in_state("Rolling", "StepPassed", 2, None)).contains("Step        all 2 passed\n"));
    assert!(!plain(&in_state("Stable", "Proven", 2, None)).contains("Step "));
}

fn restored() -> Screen {
    screen(json!({
        "state": "Restored", "reason": "Restored", "message": "The stable version has the whole capacity.",
        "since": "2026-01-01T00:08:00Z",
        "evidence": [{"class": "Crash", "pods": 1, "pod": "web-b-1", "container": "app",
                      "message": "exit code 1", "firstSeen": "2026-01-01T00:07:30Z"}],
        "blame": {"verdict": "Release", "rule": "1 of 1 new pods failed, 0 of 3 stable ones"},
        "rejected": [{"version": {"templateHash": "bad", "appHash": "x"}, "reason": "Crash",
                      "time": "2026-01-01T00:07:30Z", "takenBack": true}],
        "history": [{"version": {"templateHash": "bad", "appHash": "x"}, "outcome": "Restored", "reason": "Restored",
                     "started": "2026-01-01T00:07:00Z", "seconds": 60, "worstReady": 3, "worstOf": 3}],
    }))
}

#[test]
fn a_restored_version_tells_its_whole_story() {
    let want = "\
Deployment  shop/web  3 of 3 ready, 3 available, 1 updated  paused
Policy      web (Enforce)
Compliant   InSync, 2 findings
Gate        Restored (Restored)  for 2m0s
            The stable version has the whole capacity.
Next        A corrected template rolls out by itself; `gracekeeper retry deploy/web -n shop` tries this one again.

REVISION           REPLICAS  READY  AVAILABLE
web-b     current  1         0      0
web-a     stable   3         3      3

POD      REVISION  READY  RESTARTS  STATE
web-b-1  web-b     0/1    0         CrashLoopBackOff: back-off 10s[2J
web-a-1  web-a     1/1    0         Running

EVIDENCE  PODS  SUCH AS      FIRST SEEN  MESSAGE
Crash     1     web-b-1/app  2m30s ago   exit code 1
  Blame: Release, 1 of 1 new pods failed, 0 of 3 stable ones

REJECTED TEMPLATE  REASON  WHEN
bad                Crash   2m30s ago  the present template

HISTORY  OUTCOME   REASON    BEGAN     TOOK  WORST
bad      Restored  Restored  3m0s ago  1m0s  3 of 3 ready
";
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&plain(&restored())), trimmed(want));
}

#[test]
fn a_deployment_without_a_policy_and_a_request_under_way_are_told() {
    let mut shown = screen(Value::Null);
    shown.policy = None;
    assert!(plain(&shown).contains("none: no HealthPolicy governs this Deployment"));
    assert!(plain(&shown).contains("POD"), "its pods are shown all the same");
    let mut asked = in_state("Rolling", "Rolling", 0, None);
    asked.request = serde_json::from_value(json!({"action": "Hold", "templateHash": "bad", "id": "1"})).unwrap();
    assert!(plain(&asked).contains("Asked       Hold; the operator has not taken it up yet"));
}

#[test]
fn how_pods_went_is_told_with_the_advice_and_what_is_wrong() {
    let mut shown = restored();
    shown.shutdown = serde_json::from_value(json!({
        "observedRemovals": 30, "removalMillis": 1500, "observedEnds": 10, "finishSeconds": 12, "observedKills": 1,
        "killedAfterSeconds": 20, "advisedDrainSeconds": 7, "advisedFinishSeconds": 40,
    }))
    .unwrap();
    shown.shutdown_findings = vec!["FinishBelowObserved: Pods were killed.".into()];
    let want = "\
Shutdown    out of its Services in 1.5s at most (30 pods), finished in 12s at most (10 pods), killed after 20s (1 pod)
            advised: drainSeconds 7, finishSeconds 40
            FinishBelowObserved: Pods were killed.
Gate ";
    assert!(plain(&shown).contains(want), "{}", plain(&shown));
    shown.shutdown = serde_json::from_value(json!({"observedRemovals": 1, "removalMillis": 100})).unwrap();
    shown.shutdown_findings.clear();
    let want = "Shutdown    out of its Services in 0.1s at most (1 pod)\nGate ";
    assert!(plain(&shown).contains(want), "{}", plain(&shown));
}

#[test]
fn the_time_alone_is_no_change() {
    let one = restored();
    let mut other = Screen { now: "2026-01-01T00:11:00Z".parse().unwrap(), ..one.clone() };
    assert!(one.says_the_same(&other));
    other.paused = false;
    assert!(!one.says_the_same(&other));
}
