//! Asks Prometheus' own `promtool`, and Helm.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::scene::Scene;

fn binary(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(root.join("e2e/rig/build-binaries")).arg(name).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim()).join(name)
}

fn run(name: &str, args: &[&str], input: &str) -> String {
    let child = Command::new(binary(name))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name} {args:?}:\n{}", said.chars().take(6000).collect::<String>());
    text(&output.stdout)
}

pub(crate) fn check_rules(file: &str) {
    run("promtool", &["check", "rules", "--lint=all", "--lint-fatal", file], "");
}

/// A configuration of Prometheus whose rules are this file.
pub(crate) fn check_config(config: &str, rules: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(rules, folder.join("gracekeeper-rules.yaml")).unwrap();
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    run("promtool", &["check", "config", file.to_str().unwrap()], "");
}

/// Fails on the smallest remark of its linter.
pub(crate) fn check_metrics(text: &str) {
    run("promtool", &["check", "metrics"], text);
}

/// The older text format, which `promtool check metrics` reads: there a counter's family is called as its series.
pub(crate) fn promtool_text(open_metrics: &str) -> String {
    let counters: Vec<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::new();
    for line in open_metrics.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                writeln!(text, "# {what} {name}_total {rest}").unwrap();
            }
            _ => writeln!(text, "{line}").unwrap(),
        }
    }
    text
}

/// The one object that a template of the chart renders.
pub(crate) fn helm(template: &str, sets: &[&str]) -> Value {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/gracekeeper");
    let file = format!("templates/{template}.yaml");
    let mut args = vec!["template", "gracekeeper", chart.to_str().unwrap(), "--show-only", &file];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    serde_saphyr::from_str(&run("helm", &args, "")).unwrap()
}

/// What is expected of a scene.
pub(crate) struct Checked<'a> {
    scene: &'a Scene,
    name: &'static str,
    tests: Vec<Value>,
}

impl<'a> Checked<'a> {
    pub(crate) fn new(scene: &'a Scene, name: &'static str) -> Self {
        Self { scene, name, tests: Vec::new() }
    }

    /// Alerts that fire, with the labels that are asked for.
    fn expect(&mut self, seconds: u32, matchers: &str, labels: &str, want: &[String]) {
        let samples: Vec<Value> =
            want.iter().map(|labels| json!({"labels": format!("{{{labels}}}"), "value": 1})).collect();
        self.tests.push(json!({
            "eval_time": format!("{seconds}s"),
            "expr": format!("max by ({labels}) (ALERTS{{alertstate=\"firing\",{matchers}}})"),
            "exp_samples": samples,
        }));
    }

    /// The burn alert of this Deployment fires, with all labels that Alertmanager routes on.
    pub(crate) fn fires(&mut self, seconds: u32, workload: &str, severity: &str, long: &str) {
        let labels = "alertname,severity,namespace,workload,policy,long";
        let policy = format!("{workload}-policy");
        let want = format!(
            "alertname=\"GracekeeperErrorBudgetBurn\",severity=\"{severity}\",namespace=\"shop\",workload=\"{workload}\",\
             policy=\"{policy}\",long=\"{long}\""
        );
        self.expect(seconds, &burn(workload, severity, long), labels, &[want]);
    }

    /// It does not.
    pub(crate) fn quiet(&mut self, seconds: u32, workload: &str, severity: &str, long: &str) {
        self.expect(seconds, &burn(workload, severity, long), "alertname", &[]);
    }

    /// No alert about this Deployment fires.
    pub(crate) fn silent(&mut self, seconds: u32, workload: &str) {
        self.expect(seconds, &format!("workload=\"{workload}\""), "alertname,long", &[]);
    }

    pub(crate) fn none(&mut self, seconds: u32, alert: &str) {
        self.expect(seconds, &format!("alertname=\"{alert}\""), "alertname", &[]);
    }

    pub(crate) fn some(&mut self, seconds: u32, alert: &str) {
        self.expect(seconds, &format!("alertname=\"{alert}\""), "alertname", &[format!("alertname=\"{alert}\"")]);
    }

    /// The alert fires about these Deployments, with their policies, and no others.
    pub(crate) fn only(&mut self, seconds: u32, alert: &str, about: &[(&str, &str)]) {
        let want = |(workload, policy): &(&str, &str)| {
            format!("namespace=\"shop\",workload=\"{workload}\",policy=\"{policy}\",severity=\"warning\"")
        };
        let want: Vec<String> = about.iter().map(want).collect();
        self.expect(seconds, &format!("alertname=\"{alert}\""), "namespace,workload,policy,severity", &want);
    }

    pub(crate) fn low(&mut self, seconds: u32, workloads: &[&str]) {
        let want: Vec<String> = workloads.iter().map(|name| format!("workload=\"{name}\"")).collect();
        self.expect(seconds, "alertname=\"GracekeeperErrorBudgetLow\"", "workload", &want);
    }

    /// Asks promtool.
    pub(crate) fn run(self, rules: &str) {
        let interval = format!("{}s", self.scene.interval);
        let series = self
            .scene
            .series
            .iter()
            .map(|(name, values)| json!({"series": name, "values": written(values, self.scene.scrapes)}));
        let test = json!({
            "rule_files": [rules],
            "evaluation_interval": interval,
            "tests": [{
                "interval": interval,
                "input_series": series.collect::<Vec<_>>(),
                "promql_expr_test": self.tests,
            }],
        });
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alerts-{}.yaml", self.name));
        std::fs::write(&file, serde_json::to_string(&test).unwrap()).unwrap();
        run("promtool", &["test", "rules", file.to_str().unwrap()], "");
    }
}

fn burn(workload: &str, severity: &str, long: &str) -> String {
    format!("alertname=\"GracekeeperErrorBudgetBurn\",workload=\"{workload}\",severity=\"{severity}\",long=\"{long}\"")
}

/// Promtool's notation. The first value stands for time 0, before the first scrape; a series that a scrape no longer
/// finds is marked as stale, as Prometheus does it.
fn written(values: &[Option<f64>], scrapes: usize) -> String {
    let mut text = String::from("_");
    let mut was_there = false;
    for index in 0..scrapes {
        let value = values.get(index).copied().flatten();
        match value {
            Some(value) => write!(text, " {value}").unwrap(),
            None => text.push_str(if was_there { " stale" } else { " _" }),
        }
        was_there = value.is_some();
    }
    text
}
