//! Claims about the report.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::core::availability::{Cause, DAY, Level, MAX_EPISODES, Watched};
use crate::core::lease::WATCHED_ANNOTATION as WATCHED;

const HOUR: i64 = 3_600_000;
const NOW: i64 = 20_000 * DAY + 12 * HOUR;

fn whole() -> Level {
    Level::of(4, 4, 0, 2)
}

fn half() -> Level {
    Level::of(4, 2, 0, 2)
}

/// Four replicas that are all there since so long ago.
fn good_since(ago: i64) -> Ledger {
    let mut ledger = Ledger::begin(NOW - ago);
    ledger.change(whole(), None, "");
    ledger
}

/// A fault that takes half of the replicas.
fn hurt(ledger: &mut Ledger, ago: i64, lasts: i64) {
    ledger.advance(NOW - ago);
    ledger.change(half(), Some(Cause::Crash), "");
    ledger.advance(NOW - ago + lasts);
    ledger.change(whole(), None, "");
}

fn objective() -> Objective {
    Objective::parse("99", 7).unwrap()
}

fn subject(name: &str, ledger: &Ledger) -> Subject {
    Subject {
        namespace: "shop".into(),
        name: name.into(),
        policy: "web".into(),
        availability: Some(Ok(ledger.to_status(&objective(), "99"))),
        gate: None,
    }
}

fn row_of(ledger: &Ledger, vigil: &Vigil) -> Row {
    report(vec![subject("web", ledger)], vigil, NOW).rows.remove(0)
}

/// The ledger is read as it is stored.
fn untold() -> Vigil {
    Vigil::Untold(String::new())
}

/// The Lease of an operator that holds it, renewed so long ago.
fn lease(gaps: &[(i64, i64)], renewed_ago: i64) -> serde_json::Value {
    let gaps: Vec<_> = gaps.iter().map(|(from, to)| json!([NOW - from, NOW - to])).collect();
    let renewed = Timestamp::from_millisecond(NOW - renewed_ago).unwrap();
    json!({"metadata": {"annotations": {WATCHED: json!(gaps).to_string()}},
           "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": format!("{renewed:.6}")}})
}

#[test]
fn a_stored_ledger_is_read_up_to_the_last_renewal() {
    let ledger = good_since(2 * DAY);
    let row = row_of(&ledger, &Vigil::of_lease(&lease(&[], 2_000), NOW));
    assert_eq!(row.ledger.as_of(), NOW - 2_000);
    assert_eq!((row.figures.replica_weighted, row.figures.coverage), (Some(1.0), Some(1.0)));
}

#[test]
fn time_since_nobody_watches_is_unknown_and_never_good() {
    let ledger = good_since(2 * DAY);
    let row = row_of(&ledger, &Vigil::of_lease(&lease(&[], DAY), NOW));
    assert_eq!(row.ledger.as_of(), NOW);
    let window = row.ledger.window(7);
    assert_eq!((window.good, window.unknown), (DAY, DAY));
    assert_eq!(row.ledger.episodes().last().map(|last| last.cause), Some(Cause::NotWatched));
}

#[test]
fn a_released_lease_is_not_watched_at_once() {
    let mut lease = lease(&[], 1_000);
    lease["spec"]["holderIdentity"] = json!("");
    let row = row_of(&good_since(DAY), &Vigil::of_lease(&lease, NOW));
    assert_eq!(row.ledger.window(7).unknown, 1_000);
}

#[test]
fn an_operator_that_holds_the_lease_but_sees_nothing_does_not_watch() {
    let mut lease = lease(&[], 1_000);
    lease["metadata"]["annotations"][WATCHED] = json!(json!([[NOW - HOUR]]).to_string());
    let row = row_of(&good_since(DAY), &Vigil::of_lease(&lease, NOW));
    assert_eq!(row.ledger.window(7).unknown, HOUR);
}

#[test]
fn an_unsettled_ledger_is_good_until_its_last_store_only() {
    let mut ledger = good_since(DAY);
    ledger.advance(NOW - HOUR);
    ledger.settle(false);
    let row = row_of(&ledger, &Vigil::of_lease(&lease(&[], 1_000), NOW));
    assert_eq!(row.ledger.as_of(), NOW - HOUR);
    let row = row_of(&ledger, &Vigil::of_lease(&lease(&[], HOUR / 2), NOW));
    assert_eq!((row.ledger.as_of(), row.ledger.window(7).unknown), (NOW, HOUR));
}

#[test]
fn a_gap_is_crossed_once_the_operator_had_time_to_look() {
    let ledger = good_since(2 * DAY);
    let fresh = Vigil::of_lease(&lease(&[(120_000, 60_000)], 1_000), NOW);
    assert_eq!(row_of(&ledger, &fresh).ledger.as_of(), NOW - 120_000);
    let old = Vigil::of_lease(&lease(&[(2 * HOUR, HOUR)], 1_000), NOW);
    assert_eq!(row_of(&ledger, &old).ledger.as_of(), NOW - 1_000);
    // It watched for a second only, then died: what it had no time for is unknown.
    let short = Vigil::of_lease(&lease(&[(2 * HOUR, HOUR)], HOUR - 1_000), NOW);
    assert_eq!(row_of(&ledger, &short).ledger.window(7).unknown, 2 * HOUR);
}

#[test]
fn a_lease_that_does_not_tell_leaves_the_ledger_as_it_is_stored() {
    let whole = lease(&[], 1_000);
    for (path, value, why) in [
        ("/metadata/annotations", json!({}), "no annotation"),
        ("/metadata/annotations", json!({WATCHED: "[[5,1]]"}), "damaged"),
        ("/metadata/annotations", json!({WATCHED: "[[1,2,3]]"}), "damaged"),
        ("/metadata/annotations", json!({WATCHED: "half a"}), "damaged"),
        ("/metadata/annotations", json!({WATCHED: json!([[NOW, NOW + DAY]]).to_string()}), "another clock"),
        ("/spec/renewTime", json!(null), "renewTime"),
        ("/spec/renewTime", json!("2100-01-01T00:00:00.000000Z"), "in times to come"),
    ] {
        let mut lease = whole.clone();
        *lease.pointer_mut(path).unwrap() = value;
        let vigil = Vigil::of_lease(&lease, NOW);
        let Vigil::Untold(reason) = &vigil else { panic!("{vigil:?}") };
        assert!(reason.contains(why), "{reason}");
        assert_eq!(row_of(&good_since(DAY), &vigil).ledger.as_of(), NOW - DAY);
    }
}

#[test]
fn what_the_operator_writes_is_understood() {
    let mut watched = Watched::resume(None, Some(NOW - 2 * DAY), NOW - DAY);
    watched.tick(NOW - DAY, std::time::Duration::ZERO, true, std::time::Duration::from_secs(60));
    let mut lease = lease(&[], 1_000);
    lease["metadata"]["annotations"][WATCHED] = json!(watched.encode());
    assert!(matches!(Vigil::of_lease(&lease, NOW), Vigil::Told { is_watching: true, .. }));
}

#[test]
fn the_worst_comes_first_and_what_was_never_counted_last() {
    let (mut bad, mut worse) = (good_since(3 * DAY), good_since(3 * DAY));
    hurt(&mut bad, 2 * HOUR, 600_000);
    hurt(&mut worse, 2 * HOUR, HOUR);
    let subjects = vec![
        subject("idle", &Ledger::begin(NOW)),
        subject("good", &good_since(3 * DAY)),
        subject("bad", &bad),
        subject("worse", &worse),
        subject("also-good", &good_since(3 * DAY)),
    ];
    let report = report(subjects, &untold(), NOW);
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["worse", "bad", "also-good", "good", "idle"]);
}

#[test]
fn a_fleet_is_the_sum_of_its_workloads() {
    let (mut bad, good) = (good_since(DAY), good_since(DAY));
    hurt(&mut bad, 12 * HOUR, 6 * HOUR);
    let (bad, good) = (bad.at(NOW), good.at(NOW));
    let fleet = report(vec![subject("a", &bad), subject("b", &good), Subject::default()], &untold(), NOW).fleet;
    assert_eq!((fleet.workloads, fleet.spent, fleet.unmeasured), (2, 1, 1));
    // Half of the replicas of one of two, for a quarter of the time.
    assert_eq!(fleet.figures.replica_weighted, Some(1.0 - 0.5 * 0.5 * 0.25));
    assert_eq!(fleet.figures.fault, 3 * HOUR);
}

#[test]
fn what_cannot_be_understood_is_not_measured_and_says_why() {
    let with = |change: fn(&mut AvailabilityStatus)| {
        let mut subject = subject("web", &good_since(DAY));
        if let Some(Ok(status)) = &mut subject.availability {
            change(status);
        }
        report(vec![subject], &untold(), NOW).unmeasured.remove(0).reason
    };
    assert!(with(|status| status.ledger = "[9]".into()).contains("version 9"));
    assert!(with(|status| status.ledger = "no".into()).contains("damaged"));
    assert!(with(|status| status.ledger.clear()).contains("no ledger"));
    assert!(with(|status| status.objective = "100".into()).contains("objective is not understood"));
}

#[test]
fn the_days_of_a_window_add_up_and_end_at_the_budget() {
    let mut ledger = good_since(3 * DAY);
    hurt(&mut ledger, DAY + 13 * HOUR, 2 * HOUR);
    let row = row_of(&ledger.at(NOW), &untold());
    let days = days(&row);
    assert_eq!(days.len(), 7);
    assert_eq!(days.iter().filter(|day| day.budget.is_none()).count(), 3, "before the first look there is no line");
    for day in &days {
        let unknown = day.bucket.unknown + day.bucket.excluded;
        assert_eq!(day.good + day.planned + day.fault + unknown, day.bucket.span());
    }
    // Across midnight, an hour of half the replicas on each side.
    let faults: Vec<i64> = days.iter().map(|day| day.fault).collect();
    assert_eq!(faults, [0, 0, 0, 0, HOUR / 2, HOUR / 2, 0]);
    assert_eq!(days.last().and_then(|day| day.budget), Some(row.figures.budget));
}

#[test]
fn a_band_has_no_gaps_and_no_overlaps() {
    let mut ledger = good_since(2 * HOUR);
    hurt(&mut ledger, HOUR, 600_000);
    let row = row_of(&ledger.at(NOW), &untold());
    let band = band(&row);
    assert_eq!((band.from, band.to), (NOW - 6 * HOUR, NOW));
    assert!(band.segments.windows(2).all(|two| two[0].to == two[1].from), "{band:?}");
    let classes: Vec<Class> = band.segments.iter().map(|segment| segment.class).collect();
    assert_eq!(classes, [Class::NotKept, Class::Good, Class::Fault, Class::Good]);
    assert_eq!(band.segments[2].episode, Some((0, Cause::Crash, 2, 4)));
    assert_eq!((band.segments[0].from, band.segments[3].to), (band.from, band.to));
}

#[test]
fn a_band_is_as_long_as_the_newest_episode_needs() {
    for (ago, span) in [(HOUR, 6 * HOUR), (20 * HOUR, DAY), (2 * DAY, 3 * DAY), (6 * DAY, 7 * DAY), (8 * DAY, DAY)] {
        let mut ledger = good_since(10 * DAY);
        hurt(&mut ledger, ago, 60_000);
        let band = band(&row_of(&ledger.at(NOW), &untold()));
        assert_eq!(band.to - band.from, span, "{ago}");
    }
}

#[test]
fn an_episode_that_goes_on_reaches_to_the_end_of_the_band() {
    let mut ledger = good_since(DAY);
    ledger.advance(NOW - HOUR);
    ledger.change(half(), Some(Cause::NodeLost), "");
    let band = band(&row_of(&ledger.at(NOW), &untold()));
    let last = band.segments.last().unwrap();
    assert_eq!((last.class, last.from, last.to), (Class::Fault, NOW - HOUR, NOW));
}

#[test]
fn before_the_oldest_episode_that_is_kept_nothing_is_claimed() {
    let mut ledger = good_since(5 * HOUR);
    for index in 0..=i64::try_from(MAX_EPISODES).unwrap() {
        hurt(&mut ledger, 2 * HOUR - index * 120_000, 60_000);
    }
    let band = band(&row_of(&ledger.at(NOW), &untold()));
    assert_eq!(band.segments[0].class, Class::NotKept);
    assert_eq!(band.segments[0].to, NOW - 2 * HOUR + 120_000);
}

#[test]
fn a_day_that_was_partly_excluded_is_not_told_apart() {
    let mut ledger = good_since(DAY);
    ledger.advance(NOW - 2 * HOUR);
    ledger.change(Level::Excluded, None, "");
    let row = row_of(&ledger.at(NOW), &untold());
    let classes: Vec<Class> = band(&row).segments.iter().map(|segment| segment.class).collect();
    assert_eq!(classes, [Class::Good, Class::GoodOrExcluded]);
}

fn gate(state: &str, history: &serde_json::Value) -> Vec<Rollout> {
    let gate = json!({"state": state, "reason": "Why", "history": history,
        "rollout": {"version": {"templateHash": "b", "appHash": "b"}, "started": "2026-01-02T00:00:00Z"}});
    rollouts::of_gate(Some(&serde_json::from_value(gate).unwrap()))
}

#[test]
fn a_rollout_that_stopped_is_listed_once() {
    let past = |hash: &str, day: &str, outcome: &str| {
        json!({"version": {"templateHash": hash, "appHash": hash}, "outcome": outcome, "reason": "Crash",
               "started": format!("2026-01-0{day}T00:00:00Z"), "seconds": 60})
    };
    let history = json!([past("a", "1", "Completed"), past("b", "2", "Held")]);
    let held = gate("Held", &history);
    let shown: Vec<_> = held.iter().map(|one| (one.hash.as_str(), one.outcome.as_str(), one.mark)).collect();
    assert_eq!(shown, [("a", "Completed", Mark::Completed), ("b", "Held", Mark::Stopped)]);
    // Tried again, it is under way, whatever was said of it before.
    let again = gate("Rolling", &history);
    assert_eq!(again.len(), 2);
    assert_eq!((again[1].outcome.as_str(), again[1].ended, again[1].mark), ("Rolling", None, Mark::UnderWay));
}

#[test]
fn texts_are_bounded_and_steer_nothing() {
    let text = format!("a\u{1b}[31m\u{202e}\u{0}\n{}", "x".repeat(1000));
    let clean = clean(&text);
    assert_eq!(clean.chars().count(), 253);
    assert!(clean.starts_with("a[31mxx"));
}
