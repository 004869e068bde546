//! The picture as one HTML page: nothing is loaded, nothing is run, and it can be printed.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::style::duration;
use super::draw::{self, px};
use super::svg::{described, title};
use super::{Told, words};
use crate::core::availability::Figures;
use crate::core::report::{Row, days};

/// Workloads with a picture: the worst ones.
const MAX_PICTURES: usize = 50;
/// Workloads in the table.
const MAX_ROWS: usize = 500;
/// Even what should get past the escaping could neither run nor load anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const PAGE: &str = include_str!("page.css");

/// The page.
pub(super) fn page(told: &Told) -> String {
    let rows = &told.report.rows;
    let pictured = rows.get(..MAX_PICTURES).unwrap_or(rows);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title(told)) }
                style { (PreEscaped(draw::LOOK)) (PreEscaped(PAGE)) }
            }
            body.gk {
                svg.swatches aria-hidden="true" { (draw::patterns()) }
                header {
                    h1 { (title(told)) }
                    p.quiet { (described(told)) "." }
                    @for note in &told.notes { p.note { "Note: " (note) "." } }
                    (legend())
                }
                main {
                    (overview(told, pictured.len()))
                    @for (number, row) in (1..).zip(pictured) { (workload(row, number)) }
                    @if rows.len() > pictured.len() {
                        section {
                            p { (rows.len() - pictured.len()) " more workloads, all with more of their budget left, have no picture on this page." }
                        }
                    }
                }
            }
        }
    };
    format!("{}\n", page.into_string())
}

fn legend() -> Markup {
    html! {
        ul.legend {
            @for (shape, words) in draw::legend() {
                li { svg width="20" height="14" viewBox="-1 -1 20 14" aria-hidden="true" { (shape) } (words) }
            }
        }
    }
}

fn overview(told: &Told, pictured: usize) -> Markup {
    let report = &told.report;
    let shown = report.rows.get(..MAX_ROWS).unwrap_or(&report.rows);
    let left_out = report.rows.len() - shown.len();
    html! {
        div.wide {
            table {
                caption { "The worst first, by the error budget that is left." }
                thead {
                    tr {
                        @for head in ["Workload", "Policy", "Objective", "Availability", "Time-based", "Nines",
                                      "Budget left", "Burn 1h / 6h", "Planned", "Fault", "Unknown", "Coverage"] {
                            th scope="col" { (head) }
                        }
                    }
                }
                tbody {
                    @for (index, row) in shown.iter().enumerate() {
                        tr {
                            td.name {
                                @if index < pictured {
                                    a href=(format!("#w{}", index + 1)) { (row.namespace) "/" (row.name) }
                                } @else { (row.namespace) "/" (row.name) }
                            }
                            td.name { (row.policy) }
                            td { (row.objective_text) "%" }
                            (shares(&row.figures))
                            (left(row.figures.budget))
                            td { (words::burn(row.figures.burn_1h)) " / " (words::burn(row.figures.burn_6h)) }
                            (losses(&row.figures))
                        }
                    }
                    @let fleet = &report.fleet;
                    tr.fleet {
                        td { "All " (fleet.workloads) }
                        td {} td {}
                        (shares(&fleet.figures))
                        td { (fleet.spent) " of " (fleet.workloads) " spent" }
                        td {}
                        (losses(&fleet.figures))
                    }
                }
            }
        }
        @if left_out > 0 { p { (left_out) " more workloads are not in this table; " code { "-o csv" } " has them all." } }
    }
}

fn shares(figures: &Figures) -> Markup {
    html! {
        td { (words::share(figures.replica_weighted)) }
        td { (words::share(figures.time_based)) }
        td { (words::nines(figures.nines)) }
    }
}

fn losses(figures: &Figures) -> Markup {
    html! {
        @for millis in [figures.planned, figures.fault, figures.unknown] {
            td { (if millis == 0 { "-".into() } else { duration(millis.div_euclid(1000)) }) }
        }
        td { (words::share(figures.coverage)) }
    }
}

/// What is spent is said in words too.
fn left(budget: f64) -> Markup {
    html! {
        td class=[(budget <= 0.0).then_some("spent")] {
            (words::budget(budget)) @if budget <= 0.0 { " (spent)" }
        }
    }
}

fn workload(row: &Row, number: usize) -> Markup {
    let figures = &row.figures;
    let (name, told) = (format!("t{number}"), format!("d{number}"));
    let facts = [
        ("Availability", words::share(figures.replica_weighted)),
        ("Objective", format!("{}% over {} days", row.objective_text, row.objective.days())),
        ("Budget left", words::budget(figures.budget)),
        ("Time-based", words::share(figures.time_based)),
        ("Lost, planned", duration(figures.planned.div_euclid(1000))),
        ("Lost, fault", duration(figures.fault.div_euclid(1000))),
        ("Unknown", duration(figures.unknown.div_euclid(1000))),
        ("As of", words::moment(row.ledger.as_of())),
    ];
    html! {
        section id=(format!("w{number}")) {
            div.picture {
                h2 { (row.namespace) "/" (row.name) }
                @if !row.policy.is_empty() { p.quiet { "Policy " (row.policy) } }
                dl {
                    @for (what, value) in facts { div { dt { (what) } dd { (value) } } }
                    @if let Some(at) = figures.exhausted_at {
                        div { dt { "Spent, at the rate of the last 6 h" } dd { (words::moment(at)) } }
                    }
                }
                div.wide {
                    svg viewBox=(format!("0 0 {} {}", px(draw::WIDTH), px(draw::HEIGHT))) role="img"
                        aria-labelledby=(format!("{name} {told}")) {
                        title id=(name) { (row.namespace) "/" (row.name) }
                        desc id=(told) { (draw::description(row)) }
                        (draw::picture(row))
                    }
                }
            }
            (episodes(row))
            (rollouts(row))
            (bad_days(row))
        }
    }
}

fn episodes(row: &Row) -> Markup {
    let episodes = row.ledger.episodes();
    html! {
        @if episodes.is_empty() {
            p.quiet { "No episode of lost time is known." }
        } @else {
            h3 { "Episodes" }
            div.wide {
                table {
                    thead { tr {
                        @for head in ["No.", "Began", "Lasted", "Class", "Cause", "Missing", "Rollout"] { th scope="col" { (head) } }
                    } }
                    tbody {
                        @for (index, episode) in episodes.iter().enumerate().rev() {
                            tr {
                                td { (index + 1) }
                                td { (words::moment(episode.start.saturating_mul(1000))) }
                                td { (episode.end.map_or_else(|| "goes on".into(), |end| duration(end.saturating_sub(episode.start)))) }
                                td { (format!("{:?}", episode.cause.class())) }
                                td.words { (episode.cause.as_str()) ": " (words::cause(episode.cause)) }
                                td { @if episode.of > 0 { (episode.missing) " of " (episode.of) } @else { "-" } }
                                td.name { (episode.rollout) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rollouts(row: &Row) -> Markup {
    html! {
        @if !row.rollouts.is_empty() {
            h3 { "Rollouts" }
            div.wide {
                table {
                    thead { tr {
                        @for head in ["Template", "Began", "Took", "Outcome", "Reason", "At worst"] { th scope="col" { (head) } }
                    } }
                    tbody {
                        @for rollout in row.rollouts.iter().rev() {
                            tr {
                                td.name { (rollout.hash) }
                                td { (words::moment(rollout.started.saturating_mul(1000))) }
                                td { (rollout.ended.map_or_else(|| "goes on".into(), |end| duration(end.saturating_sub(rollout.started)))) }
                                td { (rollout.outcome) }
                                td.words { (rollout.reason) }
                                td { @if let Some((ready, of)) = rollout.worst { (ready) " of " (of) " ready" } @else { "-" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the picture of the days says, as text, for those days that are not whole.
fn bad_days(row: &Row) -> Markup {
    let days = days(row);
    let bad: Vec<_> = days.iter().filter(|day| day.planned + day.fault + day.bucket.unknown > 0).collect();
    html! {
        @if !bad.is_empty() {
            details {
                summary { "Days with losses or unknown time (" (bad.len()) ")" }
                div.wide {
                    table {
                        thead { tr {
                            @for head in ["Day", "Available", "Planned", "Fault", "Unknown", "Nothing wanted", "Budget left"] { th scope="col" { (head) } }
                        } }
                        tbody {
                            @for day in bad {
                                tr {
                                    td { (words::date(day.day)) }
                                    @for millis in [day.good, day.planned, day.fault, day.bucket.unknown, day.bucket.excluded] {
                                        td { (duration(millis.div_euclid(1000))) }
                                    }
                                    td { (day.budget.map_or_else(|| "-".into(), words::budget)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
