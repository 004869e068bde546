//! What people and programs get of a constructed week. `UPDATE=1 cargo test --lib report` writes the golden files anew.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::core::availability::{Cause, Ledger, Level, Objective};
use crate::core::report::Subject;

const HOSTILE: &str = "</title><script>alert('x')</script>\"><img src=x onerror=\"alert(1)\">&amp;\u{202e}\u{1b}[31m";

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// A ledger that begins well, and changes at these moments.
fn ledger(begin: &str, changes: &[(&str, Level, Option<Cause>, &str)]) -> Ledger {
    let mut ledger = Ledger::begin(at(begin));
    ledger.change(Level::of(4, 4, 0, 2), None, "");
    for (moment, level, cause, rollout) in changes {
        ledger.advance(at(moment));
        ledger.change(*level, *cause, rollout);
    }
    ledger
}

fn subject(name: &str, policy: &str, objective: &str, ledger: &Ledger, gate: Value) -> Subject {
    let status = ledger.to_status(&Objective::parse(objective, 7).unwrap(), objective);
    Subject {
        namespace: "shop".into(),
        name: name.into(),
        policy: policy.into(),
        availability: Some(Ok(status)),
        gate: serde_json::from_value(gate).unwrap(),
    }
}

fn past(hash: &str, started: &str, seconds: i64, outcome: &str, reason: &str) -> Value {
    json!({"version": {"templateHash": hash, "appHash": "a"}, "started": started, "seconds": seconds, "outcome": outcome,
           "reason": reason, "worstReady": 2, "worstOf": 4})
}

/// Three workloads in a week: one that suffers, one that is attacked by its names, and one that was switched off.
fn subjects() -> Vec<Subject> {
    let (whole, two) = (Level::of(4, 4, 0, 2), Level::of(4, 2, 0, 2));
    let web = ledger(
        "2026-02-27T00:00:00Z",
        &[
            ("2026-03-03T09:00:00Z", Level::of(4, 3, 1, 2), Some(Cause::Rollout), "6f7d9c"),
            ("2026-03-03T09:04:00Z", whole, None, ""),
            ("2026-03-05T22:10:00Z", two, Some(Cause::NodeLost), ""),
            ("2026-03-05T22:31:20Z", whole, None, ""),
            ("2026-03-07T03:00:00Z", Level::Unknown, Some(Cause::NotWatched), ""),
            ("2026-03-07T05:30:00Z", whole, None, ""),
            ("2026-03-08T09:58:00Z", Level::of(4, 3, 1, 2), Some(Cause::Rollout), "81bb02"),
            ("2026-03-08T10:00:00Z", Level::of(4, 1, 0, 2), Some(Cause::FailedRollout), "81bb02"),
            ("2026-03-08T10:06:30Z", whole, None, ""),
        ],
    );
    let gate = json!({"state": "Rolling", "reason": "NewVersion",
        "rollout": {"version": {"templateHash": "93ce11", "appHash": "b"}, "started": "2026-03-08T11:58:00Z"},
        "history": [past("6f7d9c", "2026-03-03T09:00:00Z", 260, "Completed", "Proven"),
                    past("81bb02", "2026-03-08T09:58:00Z", 520, "Restored", "Crash")]});
    let crash = [("2026-03-08T08:00:00Z", two, Some(Cause::Crash), HOSTILE), ("2026-03-08T08:30:00Z", whole, None, "")];
    let hostile = ledger("2026-03-08T06:00:00Z", &crash);
    let attack = json!({"state": "Stable", "reason": HOSTILE,
        "history": [past(HOSTILE, "2026-03-08T07:59:00Z", 60, "Held", HOSTILE)]});
    let batch = ledger(
        "2026-02-20T00:00:00Z",
        &[("2026-03-04T18:00:00Z", Level::Excluded, None, ""), ("2026-03-06T06:00:00Z", whole, None, "")],
    );
    vec![
        subject("batch", "batch", "99", &batch, Value::Null),
        subject("web", "web", "99.9", &web, gate),
        subject(HOSTILE, HOSTILE, "99", &hostile, attack),
        Subject { namespace: "shop".into(), name: "new".into(), policy: "web".into(), ..Subject::default() },
    ]
}

fn told() -> Told {
    told_of(subjects())
}

fn told_of(subjects: Vec<Subject>) -> Told {
    let now = at("2026-03-08T12:00:00Z");
    let lease = json!({"metadata": {"annotations": {"gracekeeper.dev/watched": "[]"}},
        "spec": {"holderIdentity": "one", "renewTime": "2026-03-08T11:59:58.000000Z", "leaseDurationSeconds": 15}});
    let vigil = Vigil::of_lease(&lease, now);
    let report = report(subjects, &vigil, now);
    let notes = notes(&report, &vigil, "namespace shop");
    Told { report, scope: "namespace shop".into(), watched_until: watched_until(&vigil), notes }
}

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{name} is out of date: look at the change, then run `make generate`");
}

#[test]
fn the_page_is_the_golden_one() {
    assert_golden("tests/golden/report.html", &html::page(&told()));
}

#[test]
fn the_image_in_the_documentation_is_what_the_tool_makes() {
    let web = subjects().into_iter().filter(|subject| subject.name == "web").collect();
    assert_golden("docs/reference/report.svg", &svg::image(&told_of(web)));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(html::page(&told()), html::page(&told()));
    assert_eq!(svg::image(&told()), svg::image(&told()));
}

#[test]
fn no_name_of_the_cluster_becomes_markup() {
    for text in [html::page(&told()), svg::image(&told())] {
        assert!(text.contains("&lt;/title&gt;&lt;script&gt;"), "it is shown, as text");
        assert!(!text.contains("<script") && !text.contains("<img"));
        assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
        assert!(!text.contains("onerror=\"alert"), "a quote ends no attribute");
    }
    let shown = table::render(&told());
    let plain = anstream::adapter::strip_str(&shown).to_string();
    assert!(!plain.contains('\u{1b}') && !plain.contains('\u{202e}'));
}

#[test]
fn the_page_loads_and_runs_nothing() {
    let page = html::page(&told());
    assert!(page.contains("default-src 'none'"));
    for word in ["src=\"", "@import", "url(http", "<link", "href=\"http"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn every_element_of_the_image_is_closed() {
    let image = svg::image(&told());
    let mut open = Vec::new();
    for tag in image.split('<').skip(2).map(|rest| rest.split('>').next().unwrap()) {
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_table_has_the_worst_first_and_the_fleet_last() {
    let text = anstream::adapter::strip_str(&table::render(&told())).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAMESPACE  NAME"), "{text}");
    let place = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap();
    assert!(place("shop       web") < place("shop       batch"), "{text}");
    assert!(lines[4].starts_with("fleet      3 workloads") && lines[4].contains("1 of 3 spent"), "{text}");
    assert!(lines[5].starts_with("watched until 2026-03-08 11:59:58 UTC"), "{text}");
}

#[test]
fn what_is_not_measured_is_said() {
    assert_eq!(
        told().notes,
        ["1 workload is not measured: shop/new (its policy has no spec.availability, or it was not looked at yet)"]
    );
    let empty = report(Vec::new(), &Vigil::Untold("no".into()), 0);
    assert!(notes(&empty, &Vigil::Untold("no".into()), "all namespaces")[0].contains("must govern a Deployment first"));
}

#[test]
fn a_lease_that_cannot_be_read_is_said_in_one_line() {
    let vigil = Vigil::Untold("not allowed to get leases".into());
    let report = report(subjects(), &vigil, at("2026-03-08T12:00:00Z"));
    let notes = notes(&report, &vigil, "namespace shop");
    assert_eq!(notes[0], "the figures are as of the last stored change of each workload: not allowed to get leases");
    assert!(!notes[0].contains('\n'));
}

#[test]
fn the_json_has_a_version_and_numbers() {
    let document: Value = serde_json::from_str(&machine::json(&told()).unwrap()).unwrap();
    assert_eq!((&document["version"], &document["generatedAt"]), (&json!(1), &json!("2026-03-08T12:00:00Z")));
    let web = document["workloads"].as_array().unwrap().iter().find(|one| one["name"] == "web").unwrap();
    assert_eq!((&web["objective"], &web["windowDays"]), (&json!(99.9), &json!(7)));
    assert!(web["replicaWeighted"].as_f64().unwrap() < 99.9 && web["budget"].as_f64().unwrap() < 0.0, "{web}");
    assert_eq!(web["days"].as_array().unwrap().len(), 7);
    assert_eq!(web["days"][6]["budget"], web["budget"], "the line ends at the figure");
    assert_eq!(web["lost"]["unknownSeconds"], 9000);
    assert_eq!(web["episodes"].as_array().unwrap().len(), 5);
    assert_eq!((&web["rollouts"][2]["outcome"], &web["rollouts"][2]["ended"]), (&json!("Rolling"), &Value::Null));
    assert_eq!((&document["fleet"]["workloads"], &document["fleet"]["notMeasured"]), (&json!(3), &json!(1)));
}

#[test]
fn the_csv_is_what_a_reader_of_rfc_4180_understands() {
    let text = machine::csv(&told()).unwrap();
    assert_eq!(text.matches("\r\n").count(), 5, "{text}");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> = reader.headers().unwrap().iter().map(Into::into).collect();
    assert_eq!((columns.len(), columns[0].as_str(), columns[10].as_str()), (18, "namespace", "budget"));
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(records.iter().any(|record| record[1].contains("\"><img src=x")), "quotes survive");
    assert!(records[3][17].contains("no spec.availability"), "{:?}", records[3]);
}

#[test]
fn a_file_holds_so_many_workloads_and_says_what_it_leaves_out() {
    let mut told = told();
    let row = told.report.rows[0].clone();
    told.report.rows = vec![row; 120];
    assert!(html::page(&told).contains("70 more workloads, all with more of their budget left, have no picture"));
    let image = svg::image(&told);
    assert!(image.contains("100 more workloads, all with more of their budget left, are not in this image"));
    assert!(image.len() < 1_000_000, "{}", image.len());
}

#[test]
fn every_class_has_a_pattern_of_its_own() {
    let patterns = draw::patterns().into_string();
    for class in ["planned", "fault", "unknown", "excluded", "mixed"] {
        assert!(patterns.contains(&format!("id=\"gk-{class}\"")) && draw::LOOK.contains(&format!("url(#gk-{class})")));
    }
}
