//! Alerts fire when they should, and only then: a fleet lives through outages in virtual time, its metrics are rendered
//! by the operator's own code at each scrape, and Prometheus' own `promtool` evaluates the rules on them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may fail

mod alerts {
    pub(crate) mod promtool;
    pub(crate) mod scene;
}

use alerts::promtool::{Checked, check_config, check_metrics, check_rules, helm, promtool_text};
use alerts::scene::{Scene, at};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring/gracekeeper-rules.yaml");

/// A fleet at its first scrapes.
fn fleet() -> Scene {
    let mut scene = Scene::new(30);
    scene.deploy("api", Some(("99.9", 30)), 3);
    scene.deploy("web", Some(("99.9", 30)), 3);
    scene.deploy("batch", Some(("90", 30)), 2);
    scene.deploy("week", Some(("99.9", 7)), 2);
    scene.deploy("daily", Some(("99", 1)), 2);
    scene.deploy("plain", None, 1);
    scene
}

#[test]
fn budget_alerts_fire_for_outages_and_end_after_them() {
    let mut scene = fleet();
    scene.until(at(2, 0, 0));
    for name in ["api", "batch", "daily"] {
        scene.available(name, 0);
    }
    scene.until(at(2, 10, 0));
    scene.available("api", 3);
    scene.until(at(2, 14, 0));
    scene.available("daily", 2);
    scene.until(at(2, 55, 0));
    scene.available("batch", 2);
    // A planned dip within the budget: a rollout takes one of three pods for 40 s.
    scene.until(at(3, 30, 0));
    scene.rolls("web", 2);
    scene.until(at(3, 30, 40));
    scene.settles("web");
    // The same 30 s of full outage are little of a month's budget and much of a week's.
    scene.until(at(5, 0, 0));
    scene.available("web", 0);
    scene.available("week", 0);
    scene.until(at(5, 0, 30));
    scene.available("web", 3);
    scene.available("week", 2);
    scene.until(at(9, 0, 0));

    let mut checked = Checked::new(&scene, "outages");
    checked.none(at(1, 59, 30), "GracekeeperErrorBudgetBurn");
    checked.none(at(2, 0, 30), "GracekeeperErrorBudgetBurn");
    // 52 s of full outage are 2 % of the month's budget of 99.9 %. A day's budget of 99 % may burn as it is allowed to.
    checked.fires(at(2, 2, 0), "api", "critical", "1h");
    checked.fires(at(2, 4, 0), "api", "critical", "6h");
    checked.fires(at(2, 6, 0), "api", "warning", "1d");
    checked.fires(at(2, 6, 0), "api", "warning", "3d");
    checked.fires(at(2, 10, 0), "daily", "critical", "1h");
    // It ends when the short window is over.
    checked.fires(at(2, 13, 0), "api", "critical", "1h");
    checked.quiet(at(2, 17, 0), "api", "critical", "1h");
    checked.fires(at(2, 35, 0), "api", "critical", "6h");
    checked.quiet(at(2, 42, 0), "api", "critical", "6h");
    checked.fires(at(3, 0, 0), "api", "warning", "1d");
    checked.quiet(at(4, 30, 0), "api", "warning", "1d");
    checked.fires(at(7, 0, 0), "api", "warning", "3d");
    checked.quiet(at(8, 30, 0), "api", "warning", "3d");
    // 14.4 times cannot be reached with 90 %: it fires after four fifths of an hour.
    checked.quiet(at(2, 47, 0), "batch", "critical", "1h");
    checked.fires(at(2, 50, 0), "batch", "critical", "1h");
    checked.quiet(at(3, 5, 0), "batch", "critical", "1h");
    // Within budget, planned or not.
    for minute in (25..59).step_by(2) {
        checked.silent(at(3, minute, 0), "web");
    }
    for seconds in (0..600).step_by(30) {
        checked.silent(at(5, 0, seconds), "web");
    }
    checked.fires(at(5, 2, 0), "week", "critical", "1h");
    checked.quiet(at(5, 8, 0), "week", "critical", "1h");
    // 840 of 864 s.
    checked.low(at(2, 20, 0), &["daily"]);
    checked.run(RULES);
}

#[test]
fn the_budget_recovers_when_the_bad_day_leaves_the_window() {
    let mut scene = Scene::new(60);
    scene.deploy("daily", Some(("99", 1)), 2);
    scene.until(at(2, 0, 0));
    scene.available("daily", 0);
    scene.until(at(2, 14, 0));
    scene.available("daily", 2);
    scene.until(at(25, 0, 0));
    let mut checked = Checked::new(&scene, "recovers");
    checked.low(at(2, 10, 0), &[]);
    checked.low(at(23, 50, 0), &["daily"]);
    checked.low(at(24, 10, 0), &[]);
    checked.run(RULES);
}

#[test]
fn a_new_deployment_whose_first_pods_need_a_while_alerts_nobody() {
    let mut scene = Scene::new(30);
    scene.until(at(1, 0, 0));
    scene.deploy_with("fresh", Some(("99.9", 30)), 3, 0);
    scene.until(at(1, 0, 45));
    scene.available("fresh", 3);
    scene.until(at(3, 0, 0));
    let mut checked = Checked::new(&scene, "fresh");
    for minute in 0..100 {
        checked.silent(at(1, minute, 30), "fresh");
    }
    checked.run(RULES);
}

#[test]
fn a_slow_loss_is_a_warning_after_days_and_never_critical() {
    let mut scene = Scene::new(60);
    scene.deploy("big", Some(("99.9", 30)), 2000);
    scene.available("big", 1997); // 1.5 times as fast as allowed
    scene.until(at(72, 0, 0));
    let mut checked = Checked::new(&scene, "slow");
    for hours in [1, 6, 12, 24, 40, 47] {
        checked.silent(at(hours, 0, 0), "big");
    }
    for hours in [49, 60, 71] {
        checked.fires(at(hours, 0, 0), "big", "warning", "3d");
        checked.quiet(at(hours, 0, 0), "big", "warning", "1d");
        checked.quiet(at(hours, 0, 0), "big", "critical", "6h");
        checked.quiet(at(hours, 0, 0), "big", "critical", "1h");
    }
    checked.run(RULES);
}

#[test]
fn a_crash_of_the_operator_in_an_outage_neither_counts_twice_nor_takes_back() {
    let mut scene = fleet();
    scene.until(at(1, 0, 0));
    scene.available("api", 0);
    scene.until(at(1, 10, 0));
    scene.available("api", 3);
    scene.until(at(9, 0, 0));
    // A third is missing for a minute: not enough for an alert, unless what the counters already have counted again. The
    // loss ends while nobody watches, so that a counter that had run ahead of the lease would have to go back.
    scene.available("api", 2);
    scene.until(at(9, 1, 0));
    scene.crash();
    scene.until(at(9, 1, 10));
    scene.available("api", 3);
    scene.until(at(9, 1, 20));
    scene.take_over();
    scene.until(at(10, 0, 0));
    // And back to the replica that led before.
    scene.crash();
    scene.until(at(10, 0, 20));
    scene.take_over();
    scene.until(at(11, 30, 0));

    scene.assert_counters_only_grow();
    let mut checked = Checked::new(&scene, "crash");
    checked.fires(at(1, 2, 0), "api", "critical", "1h");
    for minute in 0..100 {
        for long in ["1h", "6h"] {
            checked.quiet(at(9, minute, 0), "api", "critical", long);
        }
        checked.silent(at(9, minute, 0), "web");
        checked.none(at(9, minute, 0), "GracekeeperNotWatching");
    }
    checked.run(RULES);
}

#[test]
fn holds_contention_and_a_missing_leader_alert_after_their_time() {
    let mut scene = fleet();
    scene.until(at(0, 30, 0));
    scene.hold("web", true);
    scene.contend("plain", true);
    scene.until(at(1, 0, 0));
    scene.contend("plain", false);
    scene.until(at(2, 0, 0));
    scene.hold("web", false);
    scene.crash();
    scene.until(at(2, 10, 0));
    scene.take_over();
    scene.until(at(3, 0, 0));
    scene.crash_all();
    scene.until(at(3, 10, 0));
    let mut checked = Checked::new(&scene, "people");
    checked.only(at(1, 29, 0), "GracekeeperHoldTooOld", &[]);
    checked.only(at(1, 31, 0), "GracekeeperHoldTooOld", &[("web", "web-policy")]);
    checked.only(at(2, 1, 0), "GracekeeperHoldTooOld", &[]);
    checked.only(at(0, 44, 0), "GracekeeperContended", &[]);
    checked.only(at(0, 46, 0), "GracekeeperContended", &[("plain", "plain-policy")]);
    checked.only(at(1, 1, 0), "GracekeeperContended", &[]);
    checked.none(at(2, 4, 0), "GracekeeperNotWatching");
    checked.some(at(2, 6, 0), "GracekeeperNotWatching");
    checked.none(at(2, 12, 0), "GracekeeperNotWatching");
    checked.some(at(3, 6, 0), "GracekeeperNotWatching");
    checked.run(RULES);
}

#[test]
fn series_do_not_grow_with_the_churn_of_pods() {
    let mut scene = fleet();
    scene.until(at(0, 10, 0));
    let before = scene.names();
    for round in 0..50 {
        for (name, all) in [("api", 3), ("web", 3), ("batch", 2)] {
            scene.available(name, all - 1);
            scene.until(at(0, 10, 60 * round + 30));
            scene.available(name, all);
        }
        scene.until(at(0, 11, 60 * round));
    }
    assert_eq!(scene.names(), before);
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics_and_the_rules() {
    let mut scene = fleet();
    scene.hold("web", true);
    scene.until(at(0, 10, 0));
    check_metrics(&promtool_text(&scene.text()));
    check_rules(RULES);
}

#[test]
fn the_chart_renders_the_rules_of_the_file() {
    let rendered = |sets: &[&str]| helm("prometheusrule", &[&["metrics.prometheusRule.enabled=true"], sets].concat());
    let plain: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(RULES).unwrap()).unwrap();
    assert_eq!(rendered(&[])["spec"]["groups"], plain["groups"]);

    let ours = rendered(&[
        "metrics.prometheusRule.alertLabels.team=shop",
        "metrics.prometheusRule.severities.critical=page",
        "metrics.prometheusRule.thresholds.budgetShare1h=0.05",
        "metrics.prometheusRule.thresholds.holdMinutes=90",
        "metrics.prometheusRule.withoutAlerts={GracekeeperContended}",
    ]);
    let text = ours.to_string();
    assert!(!text.contains("GracekeeperContended") && !text.contains("${"));
    assert!(text.contains("60 * 90") && text.contains("clamp_min(0.05 * max"));
    for rule in ours["spec"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        if rule["alert"].is_string() {
            assert_eq!(rule["labels"]["team"], "shop");
            assert!(["page", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        }
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("rendered-rules.yaml");
    std::fs::write(&file, serde_json::json!({"groups": ours["spec"]["groups"]}).to_string()).unwrap();
    check_rules(file.to_str().unwrap());
}

fn rules(args: &[&str]) -> (i32, String, String) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_gracekeeper")).arg("rules").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_prints_the_file_and_other_rules_that_prometheus_takes() {
    assert_eq!(rules(&[]), (0, std::fs::read_to_string(RULES).unwrap(), String::new()));
    let args =
        ["--objective=99", "--window-days=7", "--burn=20@30m/5m", "--burn=1.5@2d/4h=critical", "--label=team=shop"];
    let (code, text, _) = rules(&args);
    assert_eq!(code, 0);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-rules.yaml");
    std::fs::write(&file, text).unwrap();
    check_rules(file.to_str().unwrap());
}

#[test]
fn the_command_refuses_thresholds_that_can_never_fire_with_one_sentence_and_2() {
    for (args, says) in [
        (&["--objective=90"][..], "can never fire for an objective of 90 %"),
        (&["--objective=99.9", "--burn=1000@1h/5m"], "even a full outage burns only 1000 times as fast"),
        (&["--objective=100"], "is no decimal greater than 0 and less than 100"),
        (&["--burn=14.4"], "is no burn rate"),
        (&["--label=severity=page"], "that no alert has yet"),
    ] {
        let (code, out, err) = rules(args);
        assert_eq!((code, &*out), (2, ""), "{args:?}: {err}");
        assert!(err.contains(says) && err.lines().count() == 1, "{args:?}: {err}");
    }
}

#[test]
fn the_documented_scrape_config_is_one_and_every_snippet_is_yaml() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md")).unwrap();
    let snippets: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    for snippet in &snippets {
        for document in snippet.split("---\n") {
            let value: serde_json::Value =
                serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}:\n{document}"));
            assert!(value.is_object(), "{document}");
        }
    }
    let config = snippets.iter().find(|snippet| snippet.starts_with("scrape_configs:")).unwrap();
    check_config(config, RULES);
}
