//! Recording and alerting rules of Prometheus, made from thresholds.
//!
//! The loss within a time `w` is the time that a full outage would have needed for it, as a share of `w`:
//! missing replica time, over the replicas that were wanted on average, over `w`. So it agrees with the budget, time in
//! which nothing was wanted or nobody watched costs nothing, and a Deployment that is minutes old does not count as
//! lost for an hour because its first pods needed a minute.

use std::collections::BTreeMap;

use serde::Serialize;

use super::thresholds::{Burn, CEILING, Numbers, Severity, Span, Thresholds, share_name, short};

/// A rules file.
#[derive(Clone, Debug, Serialize)]
pub struct Rules {
    /// Its groups.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// How often.
    pub interval: String,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Rule {
    /// A series that is made from others.
    Record {
        /// Its name.
        record: String,
        /// What it is.
        expr: String,
    },
    /// An alert.
    Alert {
        /// Its name.
        alert: String,
        /// It fires while this has a value.
        expr: String,
        /// After this time.
        #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// What Alertmanager routes on, besides the labels of the expression.
        labels: BTreeMap<String, String>,
        /// What people read.
        annotations: BTreeMap<String, String>,
    },
}

/// Names of all alerts, with what each means.
pub const ALERTS: &[(&str, &str)] = &[
    ("GracekeeperErrorBudgetBurn", "a Deployment loses its error budget too fast"),
    ("GracekeeperErrorBudgetLow", "little of a Deployment's error budget is left, or nothing"),
    ("GracekeeperHoldTooOld", "a rollout is held or restored and waits for people"),
    ("GracekeeperContended", "another writer and the operator undo each other's changes"),
    (
        "GracekeeperNotWatching",
        "no replica of the operator leads, or its metrics are gone: nothing is gated or measured",
    ),
    ("GracekeeperRefused", "writes are refused by an admission policy or by Pod Security"),
    ("GracekeeperWatchFails", "a watch of the operator fails again and again"),
    ("GracekeeperBug", "a look at a Deployment ended in a bug of the operator"),
];

/// Who a series is about, whichever replica of the operator told it. `cluster` is for a Prometheus that collects from
/// several and labels them so; elsewhere it is empty.
const PLACE: &str = "cluster, namespace, workload";
/// Windows from here on are computed from coarser series and less often.
const LONG: u32 = 86_400;
const FINE_INTERVAL: &str = "30s";
/// Less than half of Prometheus' look-back of 5 min.
const COARSE_INTERVAL: &str = "2m";
const RUNBOOK: &str = "https://github.com/gracekeeper/gracekeeper/blob/main/docs/observability.md";

impl Rules {
    /// The rules of these thresholds. `labels` are added to every alert.
    pub fn of(thresholds: &Thresholds, numbers: Numbers, labels: &BTreeMap<String, String>) -> Self {
        let mut spans: Vec<Span> = thresholds.burns.iter().flat_map(|burn| [burn.long, burn.short]).collect();
        spans.sort_unstable();
        spans.dedup();
        let (coarse, fine): (Vec<Span>, Vec<Span>) = spans.into_iter().partition(|span| span.seconds() >= LONG);
        let mut first = copies("max");
        first.push(record(
            "gracekeeper:workload_objective_ratio:max",
            format!("max by ({PLACE}, policy) (gracekeeper_workload_objective_ratio)"),
        ));
        first.extend(thresholds.burns.iter().map(|burn| limit(burn, numbers)));
        first.extend(fine.into_iter().map(|span| burn_rate(span, "max")));
        let mut groups = vec![group("gracekeeper-record", FINE_INTERVAL, first)];
        if !coarse.is_empty() {
            let slow = copies("max2m").into_iter().chain(coarse.into_iter().map(|span| burn_rate(span, "max2m")));
            groups.push(group("gracekeeper-record-slow", COARSE_INTERVAL, slow.collect()));
        }
        let alerts = Alerts { thresholds, numbers, labels };
        groups.push(group("gracekeeper-workloads", FINE_INTERVAL, alerts.of_workloads()));
        groups.push(group("gracekeeper-operator", FINE_INTERVAL, alerts.of_the_operator()));
        Self { groups }
    }

    /// Names of the recorded series.
    pub fn recorded(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
            Rule::Record { record, .. } => Some(record.as_str()),
            Rule::Alert { .. } => None,
        })
    }
}

fn group(name: &str, interval: &str, rules: Vec<Rule>) -> Group {
    Group { name: name.into(), interval: interval.into(), rules }
}

fn record(name: impl Into<String>, expr: String) -> Rule {
    Rule::Record { record: name.into(), expr }
}

/// The counters without the labels of the replica that told them. They go on where another replica takes over, so the
/// greatest is the last; a sum of rates by replica would count some stretches twice, and miss others.
fn copies(suffix: &str) -> Vec<Rule> {
    let copy = |name: &str| {
        record(format!("gracekeeper:{name}:{suffix}"), format!("max by ({PLACE}, class) (gracekeeper_{name}_total)"))
    };
    vec![copy("workload_replica_seconds"), copy("workload_seconds")]
}

fn burn_rate(span: Span, suffix: &str) -> Rule {
    let rate = |name: &str, class: &str| format!("sum by ({PLACE}) (rate(gracekeeper:{name}:{suffix}{class}[{span}]))");
    let missing = rate("workload_replica_seconds", "{class!=\"available\"}");
    let wanted = rate("workload_replica_seconds", "");
    let counted = rate("workload_seconds", "{class=~\"good|planned|fault\"}");
    record(
        format!("gracekeeper:workload_burn:rate{span}"),
        format!(
            "{missing}\n/ ({wanted} > 0)\n* {counted}\n\
             / on ({PLACE}) group_left (policy) (1 - gracekeeper:workload_objective_ratio:max)"
        ),
    )
}

/// The burn rate above which an alert fires, for each Deployment's own window and objective.
fn limit(burn: &Burn, numbers: Numbers) -> Rule {
    let share = numbers.write(&share_name(burn), &short(burn.share));
    let ceiling = format!("{} / (1 - gracekeeper:workload_objective_ratio:max)", short(CEILING));
    let window = format!("max by ({PLACE}, policy) (gracekeeper_workload_window_seconds)");
    let seconds = burn.long.seconds();
    record(
        format!("gracekeeper:workload_burn_limit:rate{}", burn.long),
        format!("clamp_min({share} * {window} / {seconds}, 1) < {ceiling}\nor {ceiling}"),
    )
}

struct Alerts<'a> {
    thresholds: &'a Thresholds,
    numbers: Numbers,
    labels: &'a BTreeMap<String, String>,
}

impl Alerts<'_> {
    fn of_workloads(&self) -> Vec<Rule> {
        let number = |name: &str, value: String| self.numbers.write(name, &value);
        let by = format!("{PLACE}, policy");
        let who = "{{ $labels.namespace }}/{{ $labels.workload }}";
        let mut rules: Vec<Rule> = self.thresholds.burns.iter().map(|burn| self.burn(burn)).collect();
        let low = number("budgetLow", short(self.thresholds.budget_low));
        rules.push(self.alert(
            "GracekeeperErrorBudgetLow",
            format!("min by ({by}) (gracekeeper_workload_error_budget_left_ratio) < {low}"),
            Some("5m".into()),
            Severity::Warning,
            &format!("{who} has {{{{ $value | humanizePercentage }}}} of its error budget left"),
            "Below 0 % more was lost than the objective allows. It recovers as bad days leave the window; until then put off \
             what may cost availability.",
        ));
        let minutes = number("holdMinutes", self.thresholds.hold_minutes.to_string());
        rules.push(self.alert(
            "GracekeeperHoldTooOld",
            format!("time() - min by ({by}) (gracekeeper_workload_hold_timestamp_seconds) > 60 * {minutes}"),
            None,
            Severity::Warning,
            &format!("The rollout of {who} is held for {{{{ $value | humanizeDuration }}}}"),
            "`gracekeeper status deploy/{{ $labels.workload }} -n {{ $labels.namespace }}` shows the evidence. Apply a \
             corrected template, or use `gracekeeper retry` or `gracekeeper resume`.",
        ));
        let minutes = number("contendedMinutes", self.thresholds.contended_minutes.to_string());
        rules.push(self.alert(
            "GracekeeperContended",
            format!("max by ({by}) (gracekeeper_workload_contended) > 0"),
            Some(format!("{minutes}m")),
            Severity::Warning,
            &format!("Another writer contends for fields of {who}"),
            "The condition Compliant of its WorkloadHealth names the writer and the fields. Take the fields out of that \
             writer's manifest, or out of the policy {{ $labels.policy }}.",
        ));
        rules
    }

    fn burn(&self, burn: &Burn) -> Rule {
        let (long, short) = (burn.long, burn.short);
        let above = |span| format!("gracekeeper:workload_burn:rate{span} > gracekeeper:workload_burn_limit:rate{long}");
        let mut rule = self.alert(
            "GracekeeperErrorBudgetBurn",
            format!("{}\nand\n{}", above(long), above(short)),
            None,
            burn.severity,
            "{{ $labels.namespace }}/{{ $labels.workload }} loses its error budget {{ $value | humanize }} times as fast as \
             allowed",
            &format!(
                "Over the last {long}, and still over the last {short}. `kubectl describe workloadhealth -n \
                 {{{{ $labels.namespace }}}} {{{{ $labels.workload }}}}` shows the last losses with their causes."
            ),
        );
        if let Rule::Alert { labels, .. } = &mut rule {
            labels.insert("long".into(), long.to_string());
            labels.insert("short".into(), short.to_string());
        }
        rule
    }

    fn of_the_operator(&self) -> Vec<Rule> {
        let minutes = self.numbers.write("notWatchingMinutes", &self.thresholds.not_watching_minutes.to_string());
        vec![
            self.alert(
                "GracekeeperNotWatching",
                "absent(gracekeeper_leader) or max by (cluster) (gracekeeper_leader) < 1".into(),
                Some(format!("{minutes}m")),
                Severity::Critical,
                "No Gracekeeper operator leads, or its metrics are not scraped",
                "Workloads run on, but no rollout is gated, availability counts as unknown, and no alert about a Deployment \
                 can fire. Look at the operator's pods and their log.",
            ),
            self.alert(
                "GracekeeperRefused",
                "increase(gracekeeper_reconciles_total{reason=~\"Denied|PsaRefuses\"}[30m]) > 0".into(),
                Some("30m".into()),
                Severity::Warning,
                "Gracekeeper's writes are refused ({{ $labels.reason }})",
                "The condition Compliant of the WorkloadHealths concerned says by whom and why.",
            ),
            self.alert(
                "GracekeeperWatchFails",
                // Nothing but advice depends on EndpointSlices, and the right to follow them is optional.
                "rate(gracekeeper_watch_failures_total{kind!=\"EndpointSlice\"}[10m]) > 0".into(),
                Some("15m".into()),
                Severity::Warning,
                "Gracekeeper's watch of {{ $labels.kind }} fails again and again",
                "What it knows of the cluster may be old. The log says why: rights, the API server, or the network.",
            ),
            self.alert(
                "GracekeeperBug",
                "increase(gracekeeper_panics_total[1h]) > 0".into(),
                None,
                Severity::Warning,
                "A look at a Deployment ended in a bug of Gracekeeper",
                "The Deployment is tried again, and nothing else is affected. Please report the line of the log that begins \
                 with a panic.",
            ),
        ]
    }

    fn alert(
        &self,
        name: &str,
        expr: String,
        after: Option<String>,
        severity: Severity,
        summary: &str,
        description: &str,
    ) -> Rule {
        let severity = self.numbers.write(severity.as_str(), severity.as_str());
        let mut labels = self.labels.clone();
        labels.insert("severity".into(), severity);
        let anchor = name.to_lowercase();
        let annotations = [
            ("summary", summary.to_owned()),
            ("description", description.to_owned()),
            ("runbook_url", format!("{RUNBOOK}#{anchor}")),
        ];
        Rule::Alert {
            alert: name.into(),
            expr,
            after,
            labels,
            annotations: annotations.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
        }
    }
}
