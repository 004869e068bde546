//! The report as a table for people.

use std::fmt::Write;

use anstyle::Style;

use super::super::style::{BOLD, Cell, DIM, GREEN, PLAIN, RED, YELLOW, columns, counted, duration, heads};
use super::{Told, words};
use crate::core::availability::Figures;

/// Heads of the columns.
const HEADS: [&str; 15] = [
    "NAMESPACE",
    "NAME",
    "POLICY",
    "OBJECTIVE",
    "AVAILABILITY",
    "TIME-BASED",
    "NINES",
    "BUDGET LEFT",
    "BURN 1H",
    "BURN 6H",
    "LOST PLANNED",
    "LOST FAULT",
    "UNKNOWN",
    "COVERAGE",
    "WINDOW",
];

/// The table with colours; empty when nothing is measured.
pub(super) fn render(told: &Told) -> String {
    let report = &told.report;
    let mut text = String::new();
    if report.rows.is_empty() {
        return text;
    }
    let mut rows = vec![heads(&HEADS)];
    for row in &report.rows {
        let figures = &row.figures;
        let style = budget_style(figures.budget);
        let mut cells = vec![
            (PLAIN, row.namespace.clone()),
            (PLAIN, row.name.clone()),
            (PLAIN, row.policy.clone()),
            (PLAIN, format!("{}%", row.objective_text)),
        ];
        cells.extend(shares(figures, style));
        cells.extend([(style, words::budget(figures.budget)), burn(figures.burn_1h), burn(figures.burn_6h)]);
        cells.extend(losses(figures));
        cells.push((DIM, format!("{}d", row.objective.days())));
        rows.push(cells);
    }
    let fleet = &report.fleet;
    let spent = format!("{} of {} spent", fleet.spent, fleet.workloads);
    let mut last = vec![(BOLD, "fleet".to_owned()), (BOLD, counted(fleet.workloads, "workload", "workloads"))];
    last.extend([(PLAIN, String::new()), (PLAIN, String::new())]);
    last.extend(shares(&fleet.figures, BOLD));
    last.extend([(if fleet.spent > 0 { RED } else { GREEN }, spent), (PLAIN, String::new()), (PLAIN, String::new())]);
    last.extend(losses(&fleet.figures));
    rows.push(last);
    columns(&mut text, &rows);
    if let Some(until) = told.watched_until {
        let _ = writeln!(text, "{DIM}watched until {}{DIM:#}", words::moment(until));
    }
    text
}

fn shares(figures: &Figures, style: Style) -> [Cell; 3] {
    [
        (style, words::share(figures.replica_weighted)),
        (PLAIN, words::share(figures.time_based)),
        (PLAIN, words::nines(figures.nines)),
    ]
}

fn losses(figures: &Figures) -> [Cell; 4] {
    let time = |millis: i64, style: Style| match millis.div_euclid(1000) {
        0 if millis == 0 => (DIM, "-".into()),
        // Less than a second is not nothing.
        0 => (style, "<1s".into()),
        seconds => (style, duration(seconds)),
    };
    [
        time(figures.planned, PLAIN),
        time(figures.fault, RED),
        time(figures.unknown, YELLOW),
        (PLAIN, words::share(figures.coverage)),
    ]
}

fn burn(rate: Option<f64>) -> Cell {
    (if rate.is_some_and(|rate| rate > 1.0) { YELLOW } else { PLAIN }, words::burn(rate))
}

fn budget_style(budget: f64) -> Style {
    match budget {
        spent if spent <= 0.0 => RED,
        little if little < 0.25 => YELLOW,
        _ => GREEN,
    }
}
