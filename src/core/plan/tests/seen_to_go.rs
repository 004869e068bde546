//! What is said of a template whose pods were seen to go.

use jiff::Timestamp;

use super::support::{deployment, policy};
use crate::core::plan::{Input, Surroundings, plan};
use crate::core::shutdown::{Departure, End, Evidence};

const FINISHED: Option<End> = Some(End::Finished { seconds: 12 });
const KILLED: Option<End> = Some(End::Killed { after_seconds: 20 });

/// Reasons and messages about the shutdown, for these pods that went.
fn said(policy_yaml: Option<&str>, pod: &str, went: &[(Option<u64>, Option<End>)]) -> Vec<String> {
    let mut evidence = Evidence::default();
    for (removal, end) in went {
        let removal = removal.map(std::time::Duration::from_millis);
        evidence.take_in(&Departure { app: "app", removal, end: *end }, Timestamp::UNIX_EPOCH);
    }
    let surroundings = Surroundings { shutdown: evidence.to_status(), ..Surroundings::default() };
    let (spec, deployment) = (policy_yaml.map(policy), deployment(pod));
    let plan = plan(&Input { policy: spec.as_ref(), deployment: &deployment, held: &[], surroundings: &surroundings });
    let ours = ["DrainBelowObserved", "FinishBelowObserved", "SigtermIgnored"];
    let findings = plan.findings.iter().filter(|finding| ours.contains(&finding.reason.as_str()));
    findings
        .map(|finding| format!("{} [{}]: {}", finding.reason.as_str(), finding.container, finding.message))
        .collect()
}

fn sleeps(seconds: i64) -> String {
    format!("containers: [{{name: app, lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}}}]")
}

const BARE: &str = "containers: [{name: app}]";

#[test]
fn a_drain_is_held_against_the_slowest_removal() {
    let slow = [(Some(1200), None); 3];
    let lost = |sleep: i64| {
        format!(
            "DrainBelowObserved [app]: Pods that went stood in their EndpointSlices for up to 1.5 s, and SIGTERM may come after {sleep} s: what is sent to them in between is lost. Advised: drainSeconds 7."
        )
    };
    let exec = "containers: [{name: app, lifecycle: {preStop: {exec: {command: [x]}}}}]";
    let two = "containers: [{name: app, lifecycle: {preStop: {sleep: {seconds: 9}}}}, {name: log}]";
    let main = "containers: [{name: app}]";
    for (name, policy, pod, went, want) in [
        ("no sleep", None, BARE, slow.as_slice(), vec![lost(0)]),
        ("shorter", None, &sleeps(1), &slow, vec![lost(1)]),
        ("longer", None, &sleeps(2), &slow, vec![]),
        ("the policy will fill it", Some("shutdown: {drainSeconds: 2, finishSeconds: 9}"), BARE, &slow, vec![]),
        ("too few were seen", None, BARE, &slow[..2], vec![]),
        ("none was seen", None, BARE, &[], vec![]),
        ("a hook of unknown duration", None, exec, &slow, vec![]),
        ("nobody says which container serves", None, two, &slow, vec![]),
        ("the policy says which one serves", Some("containers: [{name: app}]"), two, &slow, vec![]),
        ("the only one serves", None, main, &slow, vec![lost(0)]),
    ] {
        assert_eq!(said(policy, pod, went), want, "{name}");
    }
}

#[test]
fn the_time_after_sigterm_is_held_against_what_pods_needed() {
    let killed = |allowed: i64, advised: i64| {
        format!(
            "FinishBelowObserved []: Pods that went were killed (exit code 137) 20 s after SIGTERM, before they had finished, and the template gives {allowed} s. Advised: finishSeconds {advised}."
        )
    };
    let slow = |allowed: i64| {
        format!(
            "FinishBelowObserved []: Pods that went took up to 15 s after SIGTERM to finish, and the template gives {allowed} s. Advised: finishSeconds 20."
        )
    };
    let ignored = "SigtermIgnored []: Each of the pods that went was killed when its grace period was over, 20 s after SIGTERM: the application does not end by itself.";
    let grace = |seconds: i64| format!("terminationGracePeriodSeconds: {seconds}\n{BARE}");
    let finished = [(None, FINISHED); 3];
    let some_killed = [(None, FINISHED), (None, FINISHED), (None, KILLED)];
    let all_killed = [(None, KILLED); 3];
    for (name, pod, went, want) in [
        ("enough", grace(15), finished.as_slice(), vec![]),
        ("less than they took", grace(14), &finished, vec![slow(14)]),
        ("as little as when they were killed", grace(20), &some_killed, vec![killed(20, 40)]),
        ("less", grace(10), &some_killed, vec![killed(10, 40)]),
        ("raised since: it may be enough", grace(21), &some_killed, vec![]),
        (
            "a sleep takes its share",
            format!("{}\nterminationGracePeriodSeconds: 30", sleeps(10)),
            &some_killed,
            vec![killed(20, 40)],
        ),
        ("all killed", grace(20), &all_killed, vec![ignored.to_owned()]),
        ("all killed, and raised since: more time does not help", grace(300), &all_killed, vec![ignored.to_owned()]),
        ("too few", grace(20), &all_killed[..2], vec![]),
    ] {
        assert_eq!(said(None, &pod, went), want, "{name}");
    }
}
