//! Claims about thresholds, rules and series.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::core::availability::{Cause, DAY, Ledger, Level, Objective, Watched};

const START: i64 = 1_700_006_400_000;

fn objective(percent: &str, days: i32) -> Objective {
    Objective::parse(percent, days).unwrap()
}

fn plain(thresholds: &Thresholds) -> String {
    serde_saphyr::to_string(&Rules::of(thresholds, Numbers::Plain, &BTreeMap::new())).unwrap()
}

fn sample(workload: &str) -> WorkloadSample {
    let mut ledger = Ledger::begin(START);
    ledger.change(Level::of(3, 2, 0, 2), Some(Cause::Crash), "");
    let watched = Watched::default();
    let now = START + 600_000;
    WorkloadSample {
        namespace: "shop".into(),
        workload: workload.into(),
        policy: "web".into(),
        availability: Some(AvailabilitySample::of(&ledger, &ledger, (&watched, now), objective("99.9", 30), now)),
        held_since: None,
        contended: false,
    }
}

#[test]
fn the_defaults_are_those_of_the_workbook() {
    let rates: Vec<f64> = Thresholds::default().burns.iter().map(|burn| burn.rate(30)).collect();
    for (rate, want) in rates.iter().zip([14.4, 6.0, 3.0, 1.0]) {
        assert!((rate - want).abs() < 1e-9, "{rates:?}");
    }
}

#[test]
fn the_same_share_of_a_shorter_window_is_a_slower_burn_and_never_one_that_the_objective_allows() {
    let defaults = Thresholds::default();
    assert!((defaults.burns[0].rate(7) - 3.36).abs() < 1e-9);
    assert!((defaults.burns[3].rate(7) - 1.0).abs() < 1e-9, "0.23 times as fast as allowed is no reason to alert");
}

#[test]
fn a_burn_rate_is_read_as_a_share_of_the_budget() {
    let burn = Burn::parse("14.4@1h/5m", 30).unwrap();
    assert!((burn.share - 0.02).abs() < 1e-12);
    assert_eq!((burn.long.to_string(), burn.short.to_string()), ("1h".into(), "5m".into()));
    assert_eq!(burn.severity, Severity::Critical);
    assert_eq!(Burn::parse("1@3d/6h", 30).unwrap().severity, Severity::Warning);
    assert_eq!(Burn::parse("1@3d/6h=critical", 30).unwrap().severity, Severity::Critical);
}

#[test]
fn a_burn_rate_that_is_none_is_refused_with_a_sentence() {
    for (text, says) in [
        ("14.4", "is no burn rate"),
        ("14.4@1h", "has no short window"),
        ("14.4@1h/5s", "is no time such as"),
        ("14.4@5m/1h", "must be shorter"),
        ("14.4@1h/1h", "must be shorter"),
        ("0.5@1h/5m", "never spends the budget"),
        ("fast@1h/5m", "does not begin with a number"),
        ("14.4@200d/5m", "is not between"),
        ("14.4@1h/5m=loud", "is no severity"),
    ] {
        let wrong = Burn::parse(text, 30).unwrap_err();
        assert!(wrong.contains(says), "{text}: {wrong}");
    }
}

#[test]
fn a_threshold_that_a_full_outage_cannot_reach_is_refused() {
    let defaults = Thresholds::default();
    let wrong = defaults.refused(Some(&objective("90", 30)), 30).unwrap();
    assert!(
        wrong.starts_with("14.4@1h/5m can never fire for an objective of 90 %: even a full outage burns only 10 times")
    );
    assert!(defaults.refused(Some(&objective("99.9", 30)), 30).is_none());
    assert!(defaults.refused(None, 30).is_none());
    let at_the_most = Thresholds { burns: vec![Burn::parse("10@1h/5m", 30).unwrap()], ..defaults.clone() };
    assert!(at_the_most.refused(Some(&objective("90", 30)), 30).is_some(), "more than the most is never seen");
    let twice = vec![Burn::parse("14.4@1h/5m", 30).unwrap(), Burn::parse("9@1h/10m", 30).unwrap()];
    assert!(Thresholds { burns: twice, ..defaults }.refused(None, 30).unwrap().contains("once"));
}

#[test]
fn every_alert_is_listed_and_can_be_routed() {
    let rules = Rules::of(&Thresholds::default(), Numbers::Plain, &[("team".into(), "a".into())].into());
    let mut names = BTreeSet::new();
    for rule in rules.groups.iter().flat_map(|group| &group.rules) {
        let Rule::Alert { alert, labels, annotations, expr, .. } = rule else { continue };
        names.insert(alert.as_str());
        assert!(["critical", "warning"].contains(&&*labels["severity"]), "{alert}");
        assert_eq!(labels["team"], "a");
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["description", "runbook_url", "summary"]);
        let is_about_a_workload = expr.contains("workload");
        assert_eq!(is_about_a_workload, annotations["summary"].contains("$labels.workload"), "{alert}");
    }
    assert_eq!(names, ALERTS.iter().map(|(name, _)| *name).collect());
}

#[test]
fn named_numbers_filled_in_give_the_plain_rules() {
    let thresholds = Thresholds::default();
    let mut text = serde_saphyr::to_string(&Rules::of(&thresholds, Numbers::Named, &BTreeMap::new())).unwrap();
    for (name, value) in thresholds.named() {
        let token = format!("${{{name}}}");
        assert!(text.contains(&token), "{name} is not used");
        text = text.replace(&token, &value);
    }
    for severity in [Severity::Critical, Severity::Warning] {
        text = text.replace(&format!("${{{}}}", severity.as_str()), severity.as_str());
    }
    let parse = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&text), parse(&plain(&thresholds)));
}

#[test]
fn without_a_long_window_there_is_no_slow_group() {
    let thresholds = Thresholds { burns: vec![Burn::parse("14.4@1h/5m", 30).unwrap()], ..Thresholds::default() };
    let text = plain(&thresholds);
    assert!(!text.contains("slow") && !text.contains("3d") && text.contains("workload_burn:rate5m"));
}

#[test]
fn labels_are_bounded_and_never_name_a_pod() {
    for family in FAMILIES {
        let last = if family.described.kind == Kind::Counter { "class" } else { "policy" };
        assert_eq!(family.described.labels, ["namespace", "workload", last]);
        for one in series(family, &[sample("a"), WorkloadSample { held_since: Some(5), ..sample("b") }]) {
            let names: Vec<&str> = one.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, family.described.labels);
        }
    }
}

#[test]
fn classes_of_time_add_up_to_it() {
    let values = |index: usize| -> f64 { series(&FAMILIES[index], &[sample("a")]).iter().map(|one| one.value).sum() };
    assert!((values(0) - 600.0).abs() < 1e-9);
    assert!((values(1) - 3.0 * 600.0).abs() < 1e-9);
}

#[test]
fn without_an_objective_there_is_the_gate_but_no_availability() {
    let bare = WorkloadSample { availability: None, held_since: Some(START / 1000), contended: true, ..sample("a") };
    let told: Vec<&str> = FAMILIES
        .iter()
        .filter(|family| !series(family, std::slice::from_ref(&bare)).is_empty())
        .map(|family| family.described.name)
        .collect();
    assert_eq!(told, ["workload_hold_timestamp", "workload_contended"]);
}

#[test]
fn nothing_is_told_that_a_successor_would_take_back() {
    let objective = objective("99.9", 30);
    let mut ledger = Ledger::begin(START);
    ledger.change(Level::of(3, 0, 0, 2), Some(Cause::Crash), "");
    let stored = Ledger::decode(&ledger.encode()).unwrap();
    // The leader renewed 4 s before its end, and was scraped at its end.
    let (renewed, end) = (START + 60_000, START + 64_000);
    let last = AvailabilitySample::of(&ledger, &ledger, (&Watched::default(), renewed), objective, end);
    assert_eq!(last.life.fault, 60_000);
    let watched = Watched::resume(Some("[]"), Some(renewed), START + 80_000);
    let next = AvailabilitySample::of(&stored, &stored, (&watched, START + 80_000), objective, START + 80_000);
    assert_eq!(next.life, last.life, "before its first look the successor knows no more");

    // While changes are not stored one by one, what was stored last counts.
    ledger.advance(START + 100_000);
    ledger.settle(false);
    let told = AvailabilitySample::of(&ledger, &stored, (&Watched::default(), DAY + START), objective, START + 120_000);
    assert_eq!(told.life, stored.life_at(stored.as_of()));
}
