//! The picture of one workload's window, as SVG elements. Everything that comes from the cluster goes through maud, which
//! escapes it; elements without content are written as pairs, so that the text is XML as well.

use maud::{Markup, PreEscaped, html};

use super::super::style::duration;
use super::words;
use crate::core::availability::{DAY, percent};
use crate::core::report::{Class, Day, Mark, Rollout, Row, Segment, band, days};

/// Width of a picture.
pub(super) const WIDTH: f64 = 880.0;
/// Height of a picture.
pub(super) const HEIGHT: f64 = 312.0;
/// How it looks, in both themes and on paper.
pub(super) const LOOK: &str = include_str!("look.css");

/// Where the plots begin and end, from left to right.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 864.0;
/// The plots from top to bottom: where each begins, and how high it is.
const DAYS: (f64, f64) = (34.0, 48.0);
const BUDGET: (f64, f64) = (132.0, 56.0);
const BAND: (f64, f64) = (248.0, 36.0);
/// Least height or width of what must be seen.
const LEAST: f64 = 3.0;
/// Room that a number or a short date needs.
const LABEL: f64 = 64.0;
const HOUR: i64 = 3_600_000;

/// The patterns: classes differ by more than colour.
pub(super) fn patterns() -> Markup {
    let pattern = |id: &str, turn: &str, content: Markup| {
        html! {
            pattern id=(id) width="6" height="6" patternUnits="userSpaceOnUse" patternTransform=(turn) { (content) }
        }
    };
    html! {
        defs {
            (pattern("gk-planned", "rotate(45)", html! {
                rect.ink-planned width="6" height="6" {} rect.ink-page width="2" height="6" {}
            }))
            (pattern("gk-fault", "rotate(0)", html! {
                rect.ink-fault width="6" height="6" {} rect.ink-page x="2" y="2" width="1" height="1" {}
            }))
            (pattern("gk-unknown", "rotate(0)", html! {
                rect.ink-page width="6" height="6" {} circle.ink-unknown cx="3" cy="3" r="1.6" {}
            }))
            (pattern("gk-excluded", "rotate(0)", html! {
                rect.ink-page width="6" height="6" {} rect.ink-excluded width="6" height="1" {}
            }))
            (pattern("gk-mixed", "rotate(0)", html! {
                rect.good width="6" height="6" {} rect.ink-excluded width="6" height="1" {}
            }))
        }
    }
}

/// What each pattern and mark means: class or path, and words.
pub(super) fn legend() -> Vec<(Markup, &'static str)> {
    let swatch = |class: &str| {
        html! { rect class=(class) width="18" height="12" {} rect.frame width="18" height="12" {} }
    };
    let drawn = |shape: Mark| html! { g transform="translate(9 6)" { (mark_shape(shape)) } };
    vec![
        (swatch("good"), "available"),
        (swatch("planned"), "missing, planned"),
        (swatch("fault"), "missing, fault"),
        (swatch("unknown"), "unknown"),
        (swatch("excluded"), "nothing wanted"),
        (swatch("good-or-excluded"), "available or nothing wanted"),
        (drawn(Mark::Completed), "rollout completed"),
        (drawn(Mark::Stopped), "rollout stopped or taken back"),
        (drawn(Mark::UnderWay), "rollout under way"),
        (drawn(Mark::Other), "rollout without a verdict"),
    ]
}

/// One sentence that says what the picture shows.
pub(super) fn description(row: &Row) -> String {
    let figures = &row.figures;
    format!(
        "Availability {} of the objective {}% over {} days; time-based {}; error budget left {}; lost planned {}, by \
         faults {}; unknown {}; {} episodes and {} rollouts are marked; as of {}.",
        words::share(figures.replica_weighted),
        row.objective_text,
        row.objective.days(),
        words::share(figures.time_based),
        words::budget(figures.budget),
        duration(figures.planned.div_euclid(1000)),
        duration(figures.fault.div_euclid(1000)),
        duration(figures.unknown.div_euclid(1000)),
        row.ledger.episodes().len(),
        row.rollouts.len(),
        words::moment(row.ledger.as_of()),
    )
}

/// The picture: days, budget, and the last hours or days.
pub(super) fn picture(row: &Row) -> Markup {
    let days = days(row);
    html! {
        (strip(row, &days))
        (budget(row, &days))
        (recent(row))
    }
}

fn strip(row: &Row, days: &[Day]) -> Markup {
    let (top, height) = DAYS;
    let column = (RIGHT - LEFT) / float(count(days.len()).max(1));
    let gap = if column > 12.0 { 2.0 } else { 1.0 };
    let every = (LABEL / column).ceil().max(1.0);
    html! {
        text.soft x=(px(LEFT)) y="12" { "Each day (UTC): share of it by class, losses at least a line" }
        @for (index, day) in (0..).zip(days) {
            @let x = LEFT + float(index) * column;
            g {
                title { (told(day)) }
                @for (class, y, part) in parts(day, height) {
                    rect class=(class) x=(px(x)) y=(px(top + y)) width=(px(column - gap)) height=(px(part)) {}
                }
                rect.frame x=(px(x)) y=(px(top)) width=(px(column - gap)) height=(px(height)) {}
            }
            @let begun: Vec<&Rollout> =
                row.rollouts.iter().filter(|rollout| rollout.started.div_euclid(DAY / 1000) == day.day).collect();
            @if let Some(worst) = begun.iter().map(|rollout| rollout.mark).min() {
                @let middle = x + (column - gap) / 2.0;
                g transform=(format!("translate({} 25)", px(middle))) {
                    title { (begun.iter().map(|rollout| sentence(rollout)).collect::<Vec<_>>().join("\n")) }
                    (mark_shape(worst))
                    @if begun.len() > 1 && column > 40.0 {
                        text.soft x="9" y="4" { "x" (begun.len()) }
                    }
                }
            }
            @if is_multiple(index, every) {
                text.soft x=(px(x + (column - gap) / 2.0)) y=(px(top + height + 16.0)) text-anchor="middle" {
                    (words::short_date(day.day.saturating_mul(DAY)))
                }
            }
        }
    }
}

/// Classes of a day with their heights, from the top; what is not over yet, or was not looked at, stays empty.
fn parts(day: &Day, height: f64) -> Vec<(&'static str, f64, f64)> {
    let share = |millis: i64| float(millis) / float(DAY) * height;
    let mut left = height;
    let mut parts = Vec::new();
    let (unknown, excluded) = (day.bucket.unknown, day.bucket.excluded);
    let below = [("fault", day.fault), ("planned", day.planned), ("unknown", unknown), ("excluded", excluded)];
    for (class, millis) in below.into_iter().filter(|(_, millis)| *millis > 0) {
        let part = share(millis).max(LEAST).min(left);
        left -= part;
        parts.push((class, left, part));
    }
    let part = share(day.good).min(left);
    if part > 0.0 {
        parts.push(("good", left - part, part));
    }
    parts
}

fn told(day: &Day) -> String {
    let mut text = words::date(day.day);
    let lost = crate::core::availability::Bucket::missing(&day.bucket);
    if day.bucket.desired > 0 {
        let share = 1.0 - float(lost) / float(day.bucket.desired);
        text = format!("{text}: {}% available", percent(share.clamp(0.0, 1.0)));
    }
    let parts = [
        ("lost planned", day.planned),
        ("lost by faults", day.fault),
        ("unknown", day.bucket.unknown),
        ("nothing wanted", day.bucket.excluded),
    ];
    for (words, millis) in parts.into_iter().filter(|(_, millis)| *millis > 0) {
        text = format!("{text}, {words} {}", duration(millis.div_euclid(1000)));
    }
    match day.budget {
        Some(left) => format!("{text}; budget left {}", words::budget(left)),
        None => format!("{text}: before the first look"),
    }
}

fn budget(row: &Row, days: &[Day]) -> Markup {
    let (top, height) = BUDGET;
    // Far below nothing the line would be all that is left of the scale.
    let lowest = days.iter().filter_map(|day| day.budget).fold(0.0, f64::min).max(-1.0);
    let y = |left: f64| top + (1.0 - left.clamp(lowest, 1.0)) / (1.0 - lowest) * height;
    let column = (RIGHT - LEFT) / float(count(days.len()).max(1));
    let mut points = Vec::new();
    for (index, day) in (0..).zip(days) {
        let Some(left) = day.budget else { continue };
        if points.is_empty() {
            points.push(format!("{},{}", px(LEFT + float(index) * column), px(y(1.0))));
        }
        points.push(format!("{},{}", px(LEFT + float(index + 1) * column), px(y(left))));
    }
    let allowed = float(row.objective.days().saturating_mul(86_400)) * row.objective.allowed();
    let caption = format!(
        "Error budget left: {} of the {} that {}% over {} days allows; dashed: spent evenly",
        words::budget(row.figures.budget),
        duration(whole(allowed)),
        row.objective_text,
        row.objective.days()
    );
    html! {
        text.soft x=(px(LEFT)) y=(px(top - 10.0)) { (caption) }
        line.rule x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(top)) y2=(px(top)) {}
        text.soft x=(px(LEFT - 8.0)) y=(px(top + 4.0)) text-anchor="end" { "100%" }
        text.soft x=(px(LEFT - 8.0)) y=(px(y(0.0) + 4.0)) text-anchor="end" { "0%" }
        @if lowest < -0.3 {
            line.rule x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(top + height)) y2=(px(top + height)) {}
            text.soft x=(px(LEFT - 8.0)) y=(px(top + height + 4.0)) text-anchor="end" { (words::budget(lowest)) }
        }
        line.even x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(top)) y2=(px(y(0.0))) {}
        line.zero x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y(0.0))) y2=(px(y(0.0))) {}
        polyline.left points=(points.join(" ")) {}
    }
}

fn recent(row: &Row) -> Markup {
    let band = band(row);
    let (top, height) = BAND;
    let span = band.to.saturating_sub(band.from).max(1);
    let x =
        |at: i64| LEFT + float(at.clamp(band.from, band.to).saturating_sub(band.from)) / float(span) * (RIGHT - LEFT);
    let (step, words) = match span.div_euclid(HOUR) {
        ..=6 => (HOUR, "6 hours"),
        7..=24 => (3 * HOUR, "24 hours"),
        25..=72 => (12 * HOUR, "3 days"),
        _ => (DAY, "7 days"),
    };
    let first = band.from.div_euclid(step).saturating_add(1);
    let ticks = (first..=band.to.div_euclid(step)).map(|tick| tick.saturating_mul(step));
    // Numbers lead to the list of episodes. Where they would touch, the newer one is shown; the tooltips have them all.
    let mut free = f64::INFINITY;
    let mut numbers: Vec<(f64, usize)> = Vec::new();
    for segment in band.segments.iter().rev() {
        let Some((index, ..)) = segment.episode else { continue };
        let middle = f64::midpoint(x(segment.from), x(segment.to));
        if middle <= free {
            free = middle - 18.0;
            numbers.push((middle, index + 1));
        }
    }
    html! {
        text.soft x=(px(LEFT)) y=(px(top - 34.0)) {
            "The last " (words) " (UTC), to the second; height: share of the replicas missing; numbers: episodes"
        }
        @for segment in &band.segments {
            (stretch(segment, x(segment.from), x(segment.to)))
        }
        rect.frame x=(px(LEFT)) y=(px(top)) width=(px(RIGHT - LEFT)) height=(px(height)) {}
        @for (middle, number) in numbers {
            text x=(px(middle)) y=(px(top - 18.0)) text-anchor="middle" { (number) }
        }
        @for rollout in row.rollouts.iter().filter(|rollout| rollout.started.saturating_mul(1000) >= band.from) {
            @let at = x(rollout.started.saturating_mul(1000));
            line.mark-line x1=(px(at)) x2=(px(at)) y1=(px(top - 4.0)) y2=(px(top + height)) {}
            g transform=(format!("translate({} {})", px(at), px(top - 8.0))) {
                title { (sentence(rollout)) }
                (mark_shape(rollout.mark))
            }
        }
        @for tick in ticks {
            @let at = x(tick);
            line.rule x1=(px(at)) x2=(px(at)) y1=(px(top + height)) y2=(px(top + height + 4.0)) {}
            @if at + LABEL / 2.0 <= WIDTH {
                text.soft x=(px(at)) y=(px(top + height + 18.0)) text-anchor="middle" { (tick_words(tick, step)) }
            }
        }
    }
}

fn stretch(segment: &Segment, from: f64, to: f64) -> Markup {
    let (top, height) = BAND;
    let title = |words: String| format!("{}: {words}", span_words(segment.from, Some(segment.to)));
    let whole = |class: &str, words: &str, width: f64| {
        html! {
            rect class=(class) x=(px(from)) y=(px(top)) width=(px(width)) height=(px(height)) {
                title { (title(words.to_owned())) }
            }
        }
    };
    let wide = (to - from).max(LEAST).min(RIGHT - from.min(RIGHT - LEAST));
    let from_wide = from.min(RIGHT - LEAST);
    let class = match segment.class {
        Class::Good => return whole("good", "all available", to - from),
        Class::Excluded => return whole("excluded", "nothing wanted", to - from),
        Class::GoodOrExcluded => return whole("good-or-excluded", "available, or nothing wanted", to - from),
        Class::NotKept => return whole("page", "not kept", to - from),
        Class::Planned => "planned",
        Class::Fault => "fault",
        Class::Unknown => "unknown",
    };
    let Some((index, cause, missing, of)) = segment.episode else { return html! {} };
    let depth = if of == 0 { 1.0 } else { (f64::from(missing) / f64::from(of)).clamp(0.2, 1.0) };
    let number = index + 1;
    let words = match of {
        0 => format!("episode {number}, {}: {}", cause.as_str(), words::cause(cause)),
        _ => format!("episode {number}, {}: {}; up to {missing} of {of} missing", cause.as_str(), words::cause(cause)),
    };
    html! {
        g {
            title { (title(words)) }
            @if depth < 1.0 {
                rect.good x=(px(from)) y=(px(top)) width=(px(to - from)) height=(px(height)) {}
            }
            rect class=(class) x=(px(from_wide)) y=(px(top + height * (1.0 - depth))) width=(px(wide))
                height=(px(height * depth)) {}
        }
    }
}

fn tick_words(tick: i64, step: i64) -> String {
    match step {
        DAY => words::short_date(tick),
        _ if step > 3 * HOUR => format!("{} {}", words::short_date(tick), words::clock_time(tick)),
        _ => words::clock_time(tick),
    }
}

/// A triangle, a cross, a diamond, a disc: shapes that differ in black and white.
fn mark_shape(mark: Mark) -> Markup {
    let path = match mark {
        Mark::Completed => "M0 -5 L5.5 5 L-5.5 5 Z",
        Mark::Stopped => "M-5 -3 L-3 -5 L0 -2 L3 -5 L5 -3 L2 0 L5 3 L3 5 L0 2 L-3 5 L-5 3 L-2 0 Z",
        Mark::UnderWay => "M0 -6 L6 0 L0 6 L-6 0 Z",
        Mark::Other => "M-4 0 A4 4 0 1 0 4 0 A4 4 0 1 0 -4 0 Z",
    };
    html! { path.mark d=(path) {} }
}

/// One sentence on a rollout.
pub(super) fn sentence(rollout: &Rollout) -> String {
    let when = span_words(rollout.started.saturating_mul(1000), rollout.ended.map(|end| end.saturating_mul(1000)));
    let worst = rollout.worst.map(|(ready, of)| format!(", at worst {ready} of {of} ready")).unwrap_or_default();
    let reason = if rollout.reason.is_empty() { String::new() } else { format!(" ({})", rollout.reason) };
    format!("Rollout {}, {when}: {}{reason}{worst}", rollout.hash, rollout.outcome)
}

/// From when, and for how long.
pub(super) fn span_words(from: i64, to: Option<i64>) -> String {
    match to {
        Some(to) => format!("{}, for {}", words::moment(from), duration(to.saturating_sub(from).div_euclid(1000))),
        None => format!("since {}", words::moment(from)),
    }
}

/// A coordinate with one decimal at most.
pub(super) fn px(number: f64) -> String {
    let text = format!("{:.1}", number.max(0.0));
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// The style sheet: its own text only, so nothing is to be escaped.
pub(super) fn style() -> Markup {
    html! { style { (PreEscaped(LOOK)) } }
}

fn is_multiple(index: i64, every: f64) -> bool {
    index.checked_rem(whole(every)).unwrap_or(0) == 0
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss)] // milliseconds of a window are far below 2^53
fn float(number: i64) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation)] // a cast of floats saturates
fn whole(number: f64) -> i64 {
    number as i64
}
