//! Evidence and advice: tables, stories, and laws over whatever pods may do.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::advice::{ENOUGH, count_down, drain_seconds, finish_seconds, millis_up, seconds_of, seconds_up};
use super::*;
use crate::api::shutdown_status::ShutdownStatus;
use crate::core::rollout::PodView;

/// Deleted at 09:00:00 with a grace period of 30 s, and a sleep of 10 s in `app`.
fn pod(changes: &[(&str, Value)]) -> Value {
    let mut pod = json!({
        "metadata": {"name": "web-1", "uid": "1", "deletionTimestamp": "2026-01-01T09:00:30Z", "deletionGracePeriodSeconds": 30},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [
            {"name": "app", "lifecycle": {"preStop": {"sleep": {"seconds": 10}}}}, {"name": "other"}]},
        "status": {"containerStatuses": []},
    });
    for (path, value) in changes {
        *pod.pointer_mut(path).unwrap() = value.clone();
    }
    pod
}

fn ending_at(name: &str, time: &str, exit: i32) -> Value {
    let reason = if exit == 0 { "Completed" } else { "Error" };
    let terminated = json!({"exitCode": exit, "reason": reason, "finishedAt": format!("2026-01-01T{time}Z"), "startedAt": "2026-01-01T08:00:00Z"});
    json!({"name": name, "state": {"terminated": terminated}})
}

#[test]
fn an_end_is_measured_from_sigterm_by_the_pods_own_settings() {
    let statuses = "/status/containerStatuses";
    let app = |time: &str, exit: i32| (statuses, json!([ending_at("app", time, exit)]));
    let finished = |seconds: i64| Some(End::Finished { seconds });
    let killed = |after_seconds: i64| Some(End::Killed { after_seconds });
    let hook = "/spec/containers/0/lifecycle/preStop";
    let grace = |seconds: i64| ("/metadata/deletionGracePeriodSeconds", json!(seconds));
    let (until, own) = ("/metadata/deletionTimestamp", "/spec/terminationGracePeriodSeconds");
    let mut oom = ending_at("app", "09:00:30", 137);
    oom["state"]["terminated"]["reason"] = json!("OOMKilled");
    for (name, changes, want) in [
        ("nobody saw it", vec![], None),
        ("at once", vec![app("09:00:10", 0)], finished(0)),
        ("rounding makes it a second too early", vec![app("09:00:09", 0)], finished(0)),
        ("after 7 s, the late start of the kubelet counted", vec![app("09:00:17", 0)], finished(7)),
        ("with another code", vec![app("09:00:17", 143)], finished(7)),
        ("it went by itself while it slept", vec![app("09:00:04", 0)], None),
        ("it was dead before", vec![app("08:59:00", 1)], None),
        ("killed when its time was over", vec![app("09:00:30", 137)], killed(20)),
        ("by late start and rounding", vec![app("09:00:32", 137)], killed(20)),
        ("rounded down", vec![app("09:00:29", 137)], killed(20)),
        ("killed sooner: by somebody else", vec![app("09:00:25", 137)], None),
        ("by the kernel", vec![(statuses, json!([oom]))], None),
        ("without a hook", vec![app("09:00:07", 0), (hook, Value::Null)], finished(7)),
        (
            "with a hook of unknown duration",
            vec![app("09:00:07", 0), (hook, json!({"exec": {"command": ["x"]}}))],
            None,
        ),
        (
            "a sleep that uses up the grace",
            vec![app("09:00:32", 137), (hook, json!({"sleep": {"seconds": 30}}))],
            killed(2),
        ),
        (
            "in a hurry: --grace-period=5",
            vec![app("09:00:05", 137), grace(5), (until, json!("2026-01-01T09:00:05Z"))],
            None,
        ),
        ("more than its own is no hurry", vec![app("09:00:17", 0), (own, json!(20))], finished(7)),
        ("not being deleted", vec![app("09:00:17", 0), (until, Value::Null)], None),
        (
            "the slower of two",
            vec![(statuses, json!([ending_at("app", "09:00:12", 0), ending_at("other", "09:00:08", 0)]))],
            finished(8),
        ),
        (
            "one of two is killed",
            vec![(statuses, json!([ending_at("app", "09:00:12", 0), ending_at("other", "09:00:31", 137)]))],
            killed(30),
        ),
    ] {
        let pod: PodView = serde_json::from_value(pod(&changes)).unwrap();
        assert_eq!(ended(&pod), want, "{name}");
    }
}

#[test]
fn a_sidecar_says_nothing() {
    let mut pod = pod(&[]);
    pod["status"] = json!({"initContainerStatuses": [ending_at("app", "09:00:31", 137)]});
    assert_eq!(ended(&serde_json::from_value(pod).unwrap()), None);
}

#[test]
fn advice_follows_the_documented_arithmetic() {
    for (millis, want) in
        [(0, 5), (1, 6), (900, 6), (1000, 6), (1500, 7), (5000, 10), (5001, 15), (60_000, 75), (i64::MAX, 3600)]
    {
        assert_eq!(drain_seconds(millis), want, "{millis} ms");
    }
    for (took, killed, want) in [
        (None, None, None),
        (Some(0), None, Some(3)),       // 1 + 2
        (Some(12), None, Some(20)),     // 13 + 3, rounded up
        (Some(100), None, Some(135)),   // 101 + 25, rounded up
        (None, Some(20), Some(40)),     // 31 + 7: more than 20, nobody knows how much
        (Some(25), Some(20), Some(40)), // it finishes in 25 now
        (Some(50), Some(20), Some(75)),
        (Some(i64::MAX), Some(i64::MAX), Some(86_400)),
    ] {
        assert_eq!(finish_seconds(took, killed), want, "{took:?} {killed:?}");
    }
}

#[test]
fn figures_are_rounded_the_more_coarsely_the_larger_they_are() {
    for (value, want) in [(0, 0), (7, 7), (10, 10), (11, 15), (60, 60), (61, 75), (300, 300), (301, 360), (-5, 0)] {
        assert_eq!(seconds_up(value), want);
    }
    for (value, want) in [(0, 0), (1, 100), (1000, 1000), (1001, 1500), (10_001, 11_000)] {
        assert_eq!(millis_up(value), want);
    }
    for (value, want) in [(-1, 0), (0, 0), (1, 1), (2, 2), (3, 3), (9, 3), (10, 10), (99, 30), (i32::MAX, 10_000)] {
        assert_eq!(count_down(value), want);
    }
}

const FIRST: &str = "first";

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

fn went(app: &str, removal_millis: Option<u64>, end: Option<End>) -> Departure<'_> {
    Departure { app, removal: removal_millis.map(Duration::from_millis), end }
}

fn of(departures: &[Departure<'_>]) -> Evidence {
    let mut evidence = Evidence::default();
    for one in departures {
        evidence.take_in(one, at(0));
    }
    evidence
}

fn told(evidence: &Evidence) -> ShutdownStatus {
    evidence.to_status().unwrap_or_default()
}

const KILLED: Option<End> = Some(End::Killed { after_seconds: 20 });
const FINISHED: Option<End> = Some(End::Finished { seconds: 4 });

#[test]
fn nothing_is_advised_until_enough_pods_were_seen() {
    assert_eq!(Evidence::default().to_status(), None);
    assert_eq!(of(&[went(FIRST, None, None)]).to_status(), None, "it says nothing");
    let mut evidence = Evidence::default();
    for seen in 1..=ENOUGH {
        evidence.take_in(&went(FIRST, Some(1200), FINISHED), at(0));
        let status = told(&evidence);
        let is_enough = seen >= ENOUGH;
        assert_eq!((status.removal_millis, status.finish_seconds), (Some(1500), Some(4)), "what was seen is shown");
        assert_eq!(status.advised_drain_seconds, is_enough.then_some(7), "{seen}");
        assert_eq!(status.advised_finish_seconds, is_enough.then_some(7), "{seen}");
    }
}

#[test]
fn an_application_that_never_ends_by_itself_gets_no_advice_for_more_time() {
    let status = told(&of(&[went(FIRST, None, KILLED); 3]));
    assert_eq!((status.observed_kills, status.killed_after_seconds), (3, Some(20)));
    assert_eq!((status.killed_app.as_str(), status.advised_finish_seconds), (FIRST, None));
    let sometimes =
        [went(FIRST, None, KILLED), went(FIRST, None, FINISHED), went(FIRST, None, KILLED), went(FIRST, None, KILLED)];
    assert_eq!(told(&of(&sometimes)).advised_finish_seconds, Some(40));
    let finishes_first =
        [went(FIRST, None, FINISHED), went(FIRST, None, KILLED), went(FIRST, None, KILLED), went(FIRST, None, KILLED)];
    assert_eq!(told(&of(&finishes_first)).advised_finish_seconds, Some(40));
}

#[test]
fn kills_are_forgotten_once_pods_of_another_version_have_finished() {
    let mut evidence = of(&[went(FIRST, None, KILLED); 5]);
    for _ in 0..2 {
        evidence.take_in(&went("fixed", None, FINISHED), at(1));
    }
    assert_eq!(told(&evidence).observed_kills, 3, "two are not enough");
    let mut unlucky = evidence.clone();
    unlucky.take_in(&went("fixed", None, KILLED), at(1));
    unlucky.take_in(&went("fixed", None, FINISHED), at(1));
    assert_eq!(told(&unlucky).killed_app, "fixed", "it is not fixed");
    evidence.take_in(&went("fixed", None, FINISHED), at(1));
    let status = told(&evidence);
    assert_eq!((status.observed_kills, status.killed_after_seconds, status.killed_app.as_str()), (0, None, ""));
    assert_eq!(status.advised_finish_seconds, Some(7));
}

#[test]
fn figures_count_for_one_to_two_weeks() {
    let mut evidence = of(&[went(FIRST, Some(9000), None); 3]);
    let fast = went(FIRST, Some(100), None);
    evidence.take_in(&fast, at(7 * 24 - 1));
    assert_eq!(told(&evidence).removal_millis, Some(9000));
    (0..3).for_each(|_| evidence.take_in(&fast, at(7 * 24)));
    assert_eq!(told(&evidence).removal_millis, Some(9000), "the week before counts");
    evidence.take_in(&fast, at(14 * 24));
    assert_eq!((told(&evidence).removal_millis, told(&evidence).weeks.len()), (Some(100), 2));
    assert_eq!(told(&evidence).advised_drain_seconds, Some(6));
    evidence.take_in(&fast, at(0));
    assert_eq!(told(&evidence).weeks.len(), 2, "a clock that was set back changes nothing");
}

fn end() -> impl Strategy<Value = Option<End>> {
    prop_oneof![
        2 => Just(None),
        6 => (0..500_i64).prop_map(|seconds| Some(End::Finished { seconds })),
        1 => (2..500_i64).prop_map(|after_seconds| Some(End::Killed { after_seconds })),
    ]
}

/// Pods of one application, one of which has finished: it heeds SIGTERM.
fn pods() -> impl Strategy<Value = Vec<Departure<'static>>> {
    let one = (prop::option::of(0..20_000_u64), end()).prop_map(|(removal, end)| went(FIRST, removal, end));
    prop::collection::vec(one, 0..60).prop_map(|mut pods| {
        pods.insert(0, went(FIRST, None, Some(End::Finished { seconds: 0 })));
        pods
    })
}

fn advice(status: &ShutdownStatus) -> [Option<i64>; 2] {
    [status.advised_drain_seconds, status.advised_finish_seconds]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_evidence_never_lowers_the_advice(pods in pods()) {
        let mut evidence = Evidence::default();
        let mut before = [None, None];
        for pod in &pods {
            evidence.take_in(pod, at(0));
            let after = advice(&told(&evidence));
            prop_assert!(before[0] <= after[0] && before[1] <= after[1], "{before:?} {after:?}");
            before = after;
        }
    }

    #[test]
    fn advice_covers_whatever_was_seen(pods in pods()) {
        let status = told(&of(&pods));
        for pod in &pods {
            if let (Some(removal), Some(advised)) = (pod.removal, status.advised_drain_seconds) {
                let needed = seconds_of(i64::try_from(removal.as_millis()).unwrap());
                prop_assert!(advised >= needed + super::advice::PROXY_MARGIN_SECONDS);
            }
            match (pod.end, status.advised_finish_seconds) {
                (Some(End::Finished { seconds }), Some(advised)) => prop_assert!(advised > seconds + 1),
                (Some(End::Killed { after_seconds }), Some(advised)) => prop_assert!(advised > after_seconds + 1),
                _ => {}
            }
        }
    }

    #[test]
    fn the_same_again_changes_no_advice_and_no_figure_but_counts(pods in pods()) {
        let once = told(&of(&pods));
        let twice = told(&of(&[pods.clone(), pods].concat()));
        if once.advised_drain_seconds.is_some() && once.advised_finish_seconds.is_some() {
            prop_assert_eq!(advice(&once), advice(&twice));
        }
        prop_assert_eq!((once.removal_millis, once.finish_seconds), (twice.removal_millis, twice.finish_seconds));
        prop_assert_eq!(once.killed_after_seconds, twice.killed_after_seconds);
    }

    #[test]
    fn the_order_of_pods_of_one_application_is_the_same_to_the_figures(pods in pods()) {
        let mut turned = pods.clone();
        turned.reverse();
        prop_assert_eq!(of(&pods).figures(), of(&turned).figures());
    }

    #[test]
    fn what_is_stored_and_read_back_is_stored_the_same(pods in pods(), later in pods()) {
        let mut evidence = of(&pods);
        for one in &later {
            evidence.take_in(one, at(8 * 24));
        }
        let stored = told(&evidence);
        prop_assert_eq!(told(&Evidence::of_status(&stored)), stored);
    }

    #[test]
    fn a_week_of_pods_changes_what_is_stored_a_few_times_only(pods in prop::collection::vec((0..3_600_000_u64, 0..3_600_i64), 500)) {
        let mut evidence = Evidence::default();
        let (mut stored, mut writes) = (None, 0);
        for (millis, seconds) in pods {
            evidence.take_in(&went(FIRST, Some(millis), Some(End::Finished { seconds })), at(1));
            let now = evidence.to_status();
            writes += u32::from(now != stored);
            stored = now;
        }
        prop_assert!(writes <= 40, "{writes} writes");
    }
}
