//! The Grafana dashboard: made here, so that panels look alike and every query can be checked.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::generated::check;
use super::monitoring::{names_in, queryable};

/// Of a Deployment, as the variables at the top choose.
const CHOSEN: &str = r#"namespace=~"$namespace", workload=~"$workload""#;
/// Grafana's grid has 24 columns.
const COLUMNS: u64 = 24;

struct Dashboard {
    panels: Vec<Value>,
    x: u64,
    y: u64,
    row_height: u64,
}

impl Dashboard {
    fn row(&mut self, title: &str) {
        self.line_break();
        let place = json!({"h": 1, "w": COLUMNS, "x": 0, "y": self.y});
        self.panels.push(json!({
            "type": "row", "title": title, "collapsed": false, "panels": [], "gridPos": place, "id": self.panels.len() + 1,
        }));
        self.y += 1;
    }

    fn line_break(&mut self) {
        self.y += self.row_height;
        (self.x, self.row_height) = (0, 0);
    }

    fn panel(&mut self, kind: &str, (width, height): (u64, u64), text: (&str, &str, &str), queries: &[(&str, &str)]) {
        if self.x + width > COLUMNS {
            self.line_break();
        }
        let (title, unit, description) = text;
        let is_table = kind == "table";
        let targets = queries.iter().zip('A'..).map(|((legend, query), letter)| {
            json!({
                "refId": letter.to_string(),
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "expr": query.replace("$chosen", CHOSEN),
                "legendFormat": legend,
                "instant": kind != "timeseries",
                "range": kind == "timeseries",
                "format": if is_table { "table" } else { "time_series" },
            })
        });
        let mut panel = json!({
            "id": self.panels.len() + 1,
            "type": kind,
            "title": title,
            "description": description,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"h": height, "w": width, "x": self.x, "y": self.y},
            "targets": targets.collect::<Vec<_>>(),
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        });
        match kind {
            "timeseries" => {
                panel["options"] = json!({
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                });
                panel["fieldConfig"]["defaults"]["custom"] =
                    json!({"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"});
            }
            "stat" => {
                panel["options"] = json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}, "colorMode": "none"});
            }
            _ => {
                panel["transformations"] = json!([{"id": "merge", "options": {}}, {
                    "id": "organize",
                    "options": {"excludeByName": {"Time": true}, "renameByName": renames(queries)},
                }]);
                panel["fieldConfig"]["overrides"] = overrides(queries);
            }
        }
        self.x += width;
        self.row_height = self.row_height.max(height);
        self.panels.push(panel);
    }

    fn stat(&mut self, title: &str, unit: &str, description: &str, query: &str) {
        self.panel("stat", (4, 4), (title, unit, description), &[(title, query)]);
    }

    fn graph(&mut self, title: &str, unit: &str, description: &str, queries: &[(&str, &str)]) {
        self.panel("timeseries", (12, 8), (title, unit, description), queries);
    }

    fn table(&mut self, title: &str, unit: &str, description: &str, columns: &[(&str, &str)]) {
        self.panel("table", (COLUMNS, 9), (title, unit, description), columns);
    }
}

/// Grafana calls the columns of several queries `Value #A`, `Value #B`; of one `Value`.
fn columns<'a>(queries: &'a [(&str, &str)]) -> impl Iterator<Item = (String, &'a str)> {
    let is_one = queries.len() == 1;
    queries
        .iter()
        .zip('A'..)
        .map(move |((title, _), letter)| (if is_one { "Value".to_owned() } else { format!("Value #{letter}") }, *title))
}

fn renames(queries: &[(&str, &str)]) -> Value {
    columns(queries).map(|(column, title)| (column, title.into())).collect::<serde_json::Map<_, _>>().into()
}

fn overrides(queries: &[(&str, &str)]) -> Value {
    let unit = |title: &str| match title {
        "Burn rate 1h" | "Burn rate 6h" => "none",
        "Held for" => "s",
        _ => "percentunit",
    };
    columns(queries)
        .map(|(_, title)| {
            json!({
                "matcher": {"id": "byName", "options": title},
                "properties": [{"id": "unit", "value": unit(title)}, {"id": "decimals", "value": 3}],
            })
        })
        .collect()
}

fn panels() -> Vec<Value> {
    let mut board = Dashboard { panels: Vec::new(), x: 0, y: 0, row_height: 0 };
    fleet(&mut board);
    workload(&mut board);
    budget(&mut board);
    rollouts(&mut board);
    operator(&mut board);
    board.panels
}

fn fleet(board: &mut Dashboard) {
    board.row("Fleet");
    board.stat(
        "Deployments with an objective",
        "none",
        "Deployments whose availability is measured.",
        "count(max by (namespace, workload) (gracekeeper_workload_objective_ratio{$chosen})) or vector(0)",
    );
    board.stat(
        "Availability",
        "percentunit",
        "Available replicas of those wanted, over the time range of the dashboard, all chosen Deployments together.",
        r#"sum(increase(gracekeeper_workload_replica_seconds_total{$chosen, class="available"}[$__range])) / (sum(increase(gracekeeper_workload_replica_seconds_total{$chosen}[$__range])) > 0)"#,
    );
    board.stat(
        "Below their objective",
        "none",
        "Deployments whose availability over their own window is less than their objective.",
        "count(max by (namespace, workload, policy) (gracekeeper_workload_availability_ratio{$chosen}) < max by (namespace, workload, policy) (gracekeeper_workload_objective_ratio{$chosen})) or vector(0)",
    );
    board.stat(
        "Budget spent",
        "none",
        "Deployments that have no error budget left.",
        "count(max by (namespace, workload) (gracekeeper_workload_error_budget_left_ratio{$chosen}) <= 0) or vector(0)",
    );
    board.stat(
        "Held rollouts",
        "none",
        "Rollouts that are held or restored and wait for people.",
        "count(max by (namespace, workload) (gracekeeper_workload_hold_timestamp_seconds{$chosen})) or vector(0)",
    );
    board.stat(
        "Contended",
        "none",
        "Deployments for whose fields another writer contends.",
        "sum(max by (namespace, workload) (gracekeeper_workload_contended{$chosen})) or vector(0)",
    );
    board.table(
        "Deployments",
        "percentunit",
        "Each Deployment against its own objective, over its own window.",
        &[
            ("Objective", "max by (namespace, workload, policy) (gracekeeper_workload_objective_ratio{$chosen})"),
            ("Availability", "max by (namespace, workload, policy) (gracekeeper_workload_availability_ratio{$chosen})"),
            ("By time", "max by (namespace, workload, policy) (gracekeeper_workload_availability_time_ratio{$chosen})"),
            ("Coverage", "max by (namespace, workload, policy) (gracekeeper_workload_coverage_ratio{$chosen})"),
            (
                "Budget left",
                "max by (namespace, workload, policy) (gracekeeper_workload_error_budget_left_ratio{$chosen})",
            ),
            ("Burn rate 1h", "max by (namespace, workload, policy) (gracekeeper_workload_burn_rate_1h{$chosen})"),
            ("Burn rate 6h", "max by (namespace, workload, policy) (gracekeeper_workload_burn_rate_6h{$chosen})"),
        ],
    );
    board.graph(
        "Missing replicas",
        "short",
        "Replicas that were wanted and not available, on average: as planned (rollouts, drains, scaling) and by faults.",
        &[(
            "{{class}}",
            r#"sum by (class) (rate(gracekeeper_workload_replica_seconds_total{$chosen, class!="available"}[$__rate_interval]))"#,
        )],
    );
    board.graph(
        "Time by class",
        "percentunit",
        "Share of the time of all chosen Deployments: good, planned, fault, unknown (nobody watched), excluded (none wanted).",
        &[(
            "{{class}}",
            "sum by (class) (rate(gracekeeper_workload_seconds_total{$chosen}[$__rate_interval])) / on () group_left () (sum(rate(gracekeeper_workload_seconds_total{$chosen}[$__rate_interval])) > 0)",
        )],
    );
}

fn workload(board: &mut Dashboard) {
    board.row("Workload: $workload");
    board.graph(
        "Availability and objective",
        "percentunit",
        "Over the policy's window. Replica-weighted counts partial losses; by time counts the moments with at least \
         minAvailable replicas.",
        &[
            (
                "{{namespace}}/{{workload}} replicas",
                "max by (namespace, workload) (gracekeeper_workload_availability_ratio{$chosen})",
            ),
            (
                "{{namespace}}/{{workload}} by time",
                "max by (namespace, workload) (gracekeeper_workload_availability_time_ratio{$chosen})",
            ),
            (
                "{{namespace}}/{{workload}} objective",
                "max by (namespace, workload) (gracekeeper_workload_objective_ratio{$chosen})",
            ),
        ],
    );
    board.graph(
        "Missing replicas by class",
        "short",
        "Replicas that were wanted and not available, on average.",
        &[(
            "{{namespace}}/{{workload}} {{class}}",
            r#"sum by (namespace, workload, class) (rate(gracekeeper_workload_replica_seconds_total{$chosen, class!="available"}[$__rate_interval]))"#,
        )],
    );
    board.graph(
        "Wanted and available replicas",
        "short",
        "On average. Pods above the wanted number hide nothing and are not counted.",
        &[
            ("{{namespace}}/{{workload}} wanted", "sum by (namespace, workload) (rate(gracekeeper_workload_replica_seconds_total{$chosen}[$__rate_interval]))"),
            ("{{namespace}}/{{workload}} available", r#"sum by (namespace, workload) (rate(gracekeeper_workload_replica_seconds_total{$chosen, class="available"}[$__rate_interval]))"#),
        ],
    );
    board.graph(
        "Coverage",
        "percentunit",
        "Watched time of the time since the first look, over the window. What nobody watched counts neither as good nor as lost.",
        &[("{{namespace}}/{{workload}}", "max by (namespace, workload) (gracekeeper_workload_coverage_ratio{$chosen})")],
    );
}

fn budget(board: &mut Dashboard) {
    board.row("Error budget");
    board.graph(
        "Budget left",
        "percentunit",
        "Share of the window's error budget. Below 0 more was lost than the objective allows.",
        &[(
            "{{namespace}}/{{workload}}",
            "max by (namespace, workload) (gracekeeper_workload_error_budget_left_ratio{$chosen})",
        )],
    );
    board.graph(
        "Burn rates",
        "none",
        "How many times as fast as the objective allows budget is spent. At 1 it lasts exactly for the window.",
        &[
            (
                "{{namespace}}/{{workload}} 1h",
                "max by (namespace, workload) (gracekeeper_workload_burn_rate_1h{$chosen})",
            ),
            (
                "{{namespace}}/{{workload}} 6h",
                "max by (namespace, workload) (gracekeeper_workload_burn_rate_6h{$chosen})",
            ),
        ],
    );
    board.graph(
        "Burn rate that alerts look at",
        "none",
        "Over one hour and five minutes, and the limit above which the alert fires. Needs the recording rules.",
        &[
            ("{{namespace}}/{{workload}} 1h", "gracekeeper:workload_burn:rate1h{$chosen}"),
            ("{{namespace}}/{{workload}} 5m", "gracekeeper:workload_burn:rate5m{$chosen}"),
            ("{{namespace}}/{{workload}} limit", "gracekeeper:workload_burn_limit:rate1h{$chosen}"),
        ],
    );
    board.graph(
        "Time until the budget is spent",
        "s",
        "If it burns on as in the last six hours. Nothing is shown while nothing burns.",
        &[(
            "{{namespace}}/{{workload}}",
            "max by (namespace, workload) (clamp_min(gracekeeper_workload_error_budget_left_ratio{$chosen}, 0) * gracekeeper_workload_window_seconds{$chosen} / (gracekeeper_workload_burn_rate_6h{$chosen} > 0))",
        )],
    );
}

fn rollouts(board: &mut Dashboard) {
    board.row("Rollouts");
    board.graph(
        "Gates by state",
        "none",
        "Deployments with a rollout gate, by its state. All namespaces.",
        &[("{{state}}", "max by (state) (gracekeeper_gated_workloads)")],
    );
    board.graph(
        "Rollouts that ended",
        "none",
        "By how: Completed, Restored, Reverted, Held, Superseded, Overridden, Ungated. All namespaces.",
        &[("{{outcome}}", "sum by (outcome) (increase(gracekeeper_rollouts_total[$__rate_interval]))")],
    );
    board.graph(
        "Evidence against new versions",
        "none",
        "Once for each rollout and class. All namespaces.",
        &[("{{class}}", "sum by (class) (increase(gracekeeper_rollout_evidence_total[$__rate_interval]))")],
    );
    board.graph(
        "Restarts because of policies",
        "none",
        "Deployments whose pods restart because a policy changed: the slots in use; and those that wait to be looked at.",
        &[
            ("restarting", "max(gracekeeper_rolling_workloads)"),
            ("waiting", "max(gracekeeper_queued_workloads)"),
        ],
    );
    board.table(
        "Held or restored",
        "s",
        "Rollouts that wait for people, and for how long.",
        &[(
            "Held for",
            "time() - max by (namespace, workload, policy) (gracekeeper_workload_hold_timestamp_seconds{$chosen})",
        )],
    );
}

fn operator(board: &mut Dashboard) {
    board.row("Operator");
    board.graph(
        "Looks at Deployments",
        "ops",
        "By what came of them. While nothing happens there are none.",
        &[("{{reason}}", "sum by (reason) (rate(gracekeeper_reconciles_total[$__rate_interval]))")],
    );
    board.graph(
        "Time of a look",
        "s",
        "Calls to the API server included.",
        &[
            (
                "median",
                "histogram_quantile(0.5, sum by (le) (rate(gracekeeper_reconcile_seconds_bucket[$__rate_interval])))",
            ),
            (
                "99 %",
                "histogram_quantile(0.99, sum by (le) (rate(gracekeeper_reconcile_seconds_bucket[$__rate_interval])))",
            ),
        ],
    );
    board.graph(
        "Calls to the API server",
        "ops",
        "By outcome, watches left out.",
        &[("{{call}} {{outcome}}", "sum by (call, outcome) (rate(gracekeeper_api_calls_total[$__rate_interval]))")],
    );
    board.graph(
        "Leader and failures",
        "none",
        "Replicas that lead (1 is right); failed watches and bugs in the last five minutes.",
        &[
            ("leaders", "sum(gracekeeper_leader)"),
            ("failed watches: {{kind}}", "sum by (kind) (increase(gracekeeper_watch_failures_total[5m]))"),
            ("bugs", "sum(increase(gracekeeper_panics_total[5m]))"),
        ],
    );
}

fn variable(name: &str, query: &str) -> Value {
    json!({
        "name": name,
        "label": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "options": [],
    })
}

fn dashboard() -> Value {
    json!({
        "uid": "gracekeeper",
        "title": "Gracekeeper",
        "description": "Availability, error budgets and rollouts of Deployments.",
        "tags": ["gracekeeper", "kubernetes", "slo"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
                "current": {}, "options": [], "multi": false, "includeAll": false,
            },
            // Every governed Deployment has this one, with an objective or without.
            variable("namespace", "label_values(gracekeeper_workload_contended, namespace)"),
            variable("workload", "label_values(gracekeeper_workload_contended{namespace=~\"$namespace\"}, workload)"),
        ]},
        "annotations": {"list": []},
        "links": [],
        "panels": panels(),
    })
}

#[test]
fn the_dashboard_in_the_chart_is_that_of_the_code() {
    let text = serde_json::to_string_pretty(&dashboard()).unwrap();
    check("charts/gracekeeper/files/dashboard.json", &format!("{text}\n"));
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_of_which_source() {
    let (mut titles, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        let title = panel["title"].as_str().unwrap();
        assert!(titles.insert(title.to_owned()), "two panels are called {title}");
        assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title}");
        assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{title}");
        }
    }
}

#[test]
fn every_query_asks_for_what_exists() {
    let known = queryable();
    let board = dashboard();
    let variables = board["templating"]["list"].as_array().unwrap();
    let queries = variables.iter().filter_map(|variable| variable["definition"].as_str().map(str::to_owned));
    let all = panels();
    let targets = all.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    for query in queries.chain(targets.map(|target| target["expr"].as_str().unwrap().to_owned())) {
        let names = names_in(&query);
        assert!(!names.is_empty(), "{query}");
        for name in names {
            assert!(known.contains(&name), "{name} of {query}");
        }
        assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
    }
}

#[test]
fn every_variable_that_is_used_exists_and_every_one_that_exists_is_used() {
    let board = dashboard();
    let defined: BTreeSet<&str> =
        board["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let text = serde_json::to_string(&board).unwrap();
    let used: BTreeSet<&str> = text
        .split('$')
        .skip(1)
        .map(|rest| rest.trim_start_matches('{'))
        .map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap())
        .filter(|name| !name.starts_with("__"))
        .collect();
    assert_eq!(used, defined);
}

#[test]
fn panels_lie_side_by_side_and_not_over_one_another() {
    let mut cells = BTreeSet::new();
    for panel in panels() {
        let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(of("x") + of("w") <= COLUMNS, "{panel}");
        for (x, y) in (of("x")..of("x") + of("w")).flat_map(|x| (of("y")..of("y") + of("h")).map(move |y| (x, y))) {
            assert!(cells.insert((x, y)), "{} lies over another panel", panel["title"]);
        }
    }
}
