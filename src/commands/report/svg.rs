//! The picture as one SVG image.

use maud::{Markup, html};

use super::super::style::duration;
use super::draw::{self, px};
use super::{Told, words};
use crate::core::report::Row;

/// Workloads in one image: the worst ones.
const MAX_PICTURES: usize = 20;
/// Episodes below a picture: the newest ones.
const MAX_EPISODES: usize = 5;
/// Height of a line of text.
const LINE: f64 = 18.0;
/// Room at the sides.
const MARGIN: f64 = 16.0;
/// Longest line of text, in characters, that fits.
const CHARACTERS: usize = 118;

/// The image.
pub(super) fn image(told: &Told) -> String {
    let shown = told.report.rows.get(..MAX_PICTURES).unwrap_or(&told.report.rows);
    let left_out = told.report.rows.len().saturating_sub(shown.len());
    let (head, mut y) = heading(told, left_out);
    let mut panels = Vec::new();
    for (number, row) in (1..).zip(shown) {
        let (panel, height) = panel(row, number, y);
        panels.push(panel);
        y += height;
    }
    let title = title(told);
    let image = html! {
        svg.gk xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {} {}", px(draw::WIDTH), px(y)))
            width=(px(draw::WIDTH)) height=(px(y)) role="group" aria-labelledby="gk-title gk-desc" {
            title id="gk-title" { (title) }
            desc id="gk-desc" { (described(told)) }
            (draw::style())
            (draw::patterns())
            rect.page width="100%" height="100%" {}
            (head)
            @for panel in panels { (panel) }
        }
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", image.into_string())
}

/// What the picture is about.
pub(super) fn title(told: &Told) -> String {
    format!("Availability in {}", told.scope)
}

/// All workloads in one sentence.
pub(super) fn described(told: &Told) -> String {
    let fleet = &told.report.fleet;
    let workloads = if fleet.workloads == 1 { "workload" } else { "workloads" };
    format!(
        "{} {workloads}, availability {}, {} with a spent error budget; made {}",
        fleet.workloads,
        words::share(fleet.figures.replica_weighted),
        fleet.spent,
        words::moment(told.report.now)
    )
}

fn heading(told: &Told, left_out: usize) -> (Markup, f64) {
    let mut lines = vec![described(told)];
    lines.extend(told.notes.iter().map(|note| format!("Note: {note}")));
    if left_out > 0 {
        lines.push(format!("{left_out} more workloads, all with more of their budget left, are not in this image"));
    }
    let lines: Vec<String> = lines.iter().flat_map(|line| folded(line)).collect();
    let mut y = 36.0;
    let markup = html! {
        text.large x=(px(MARGIN)) y=(px(y)) { (cut(&title(told), 70)) }
        @for line in &lines {
            ({ y += LINE; html! { text.soft x=(px(MARGIN)) y=(px(y)) { (line) } } })
        }
        ({ y += 14.0; legend(&mut y) })
    };
    (markup, y + 8.0)
}

/// Four in a row.
fn legend(y: &mut f64) -> Markup {
    let entries = draw::legend();
    html! {
        @for line in entries.chunks(4) {
            @for (index, (shape, words)) in (0_u32..).zip(line) {
                g transform=(format!("translate({} {})", px(MARGIN + 212.0 * f64::from(index)), px(*y))) {
                    (shape)
                    text.soft x="24" y="10" { (words) }
                }
            }
            ({ *y += LINE; html! {} })
        }
    }
}

fn panel(row: &Row, number: u32, top: f64) -> (Markup, f64) {
    let figures = &row.figures;
    let name = cut(&format!("{}/{}", row.namespace, row.name), 78);
    // What room is left beside the name, which is half as large again.
    let room = CHARACTERS.saturating_sub(name.chars().count().saturating_mul(3).div_ceil(2));
    let policy = if row.policy.is_empty() || room < 16 { String::new() } else { format!("  policy {}", row.policy) };
    let policy = cut(&policy, room);
    let facts = format!(
        "{} of {}% · budget left {} · time-based {} · lost planned {}, fault {} · unknown {}",
        words::share(figures.replica_weighted),
        row.objective_text,
        words::budget(figures.budget),
        words::share(figures.time_based),
        duration(figures.planned.div_euclid(1000)),
        duration(figures.fault.div_euclid(1000)),
        duration(figures.unknown.div_euclid(1000)),
    );
    let episodes = row.ledger.episodes();
    let first = episodes.len().saturating_sub(MAX_EPISODES);
    let mut lines: Vec<String> = episodes
        .iter()
        .enumerate()
        .skip(first)
        .map(|(index, episode)| {
            let end = episode.end.map(|end| end.saturating_mul(1000));
            let when = draw::span_words(episode.start.saturating_mul(1000), end);
            let depth = if episode.of == 0 {
                String::new()
            } else {
                format!(", {} of {} missing", episode.missing, episode.of)
            };
            format!("{}  {:?}, {}: {when}{depth}", index + 1, episode.cause.class(), episode.cause.as_str())
        })
        .rev()
        .collect();
    lines.extend(row.rollouts.iter().rev().take(3).map(draw::sentence));
    if first > 0 {
        lines.push(format!("{first} older episodes are not listed here"));
    }
    let ids = (format!("gk-t{number}"), format!("gk-d{number}"));
    let below = 62.0 + draw::HEIGHT;
    let height = below + LINE * f64::from(u32::try_from(lines.len()).unwrap_or(0)) + 8.0;
    let markup = html! {
        g transform=(format!("translate(0 {})", px(top))) role="img" aria-labelledby=(format!("{} {}", ids.0, ids.1)) {
            title id=(ids.0) { (row.namespace) "/" (row.name) }
            desc id=(ids.1) { (draw::description(row)) }
            line.rule x1=(px(MARGIN)) x2=(px(draw::WIDTH - MARGIN)) y1="4" y2="4" {}
            text.strong x=(px(MARGIN)) y="28" { (name) tspan.beside { (policy) } }
            text.soft x=(px(MARGIN)) y="48" { (cut(&facts, CHARACTERS)) }
            g transform="translate(0 56)" { (draw::picture(row)) }
            @for (index, line) in (0_u32..).zip(&lines) {
                text x=(px(MARGIN)) y=(px(below + 8.0 + LINE * f64::from(index))) { (cut(line, CHARACTERS)) }
            }
        }
    };
    (markup, height)
}

/// Lines of at most so many characters, broken at spaces where there are any.
fn folded(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let word = cut(word, CHARACTERS);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= CHARACTERS => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}
