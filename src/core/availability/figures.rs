//! Figures that people read: availability, nines, error budget, burn rates. Rounded so that nothing looks better than
//! it is.

use super::bucket::Bucket;
use super::ledger::{DAY, Ledger};

/// An objective: a share of good time, greater than 0 and less than 1, over a window of days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    share: f64,
    days: i64,
}

impl Objective {
    /// From a policy's per cent, such as "99.9", and the days of its window. `None` when out of range.
    pub fn parse(percent: &str, days: i32) -> Option<Self> {
        let share = percent.parse::<f64>().ok()? / 100.0;
        let objective = Self { share, days: days.into() };
        let is_in_range = share > 0.0 && objective.allowed() > 0.0 && (1..=90).contains(&days);
        is_in_range.then_some(objective)
    }

    /// The share of good time.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The share of time that may be lost.
    pub fn allowed(&self) -> f64 {
        // Objectives have eight decimals at most: what is beyond comes from binary fractions.
        ((1.0 - self.share) * 1e10).round() / 1e10
    }

    /// Days of the window.
    pub fn days(&self) -> i64 {
        self.days
    }
}

/// Figures of one Deployment, or of a fleet. Shares are within [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Available replicas of those wanted; `None` while nothing was counted.
    pub replica_weighted: Option<f64>,
    /// Good time of the counted time.
    pub time_based: Option<f64>,
    /// `-log10` of the lost share; `None` while nothing was lost.
    pub nines: Option<f64>,
    /// Watched time of the time since the first look.
    pub coverage: Option<f64>,
    /// Error budget left, as a share of it; below 0 when more than all is spent.
    pub budget: f64,
    /// Burn rates over 1 h and 6 h; `None` while nothing was counted then.
    pub burn_1h: Option<f64>,
    /// The same over 6 h.
    pub burn_6h: Option<f64>,
    /// When the budget is spent, in milliseconds since 1970, at the rate of the last 6 h.
    pub exhausted_at: Option<i64>,
    /// Planned losses, in milliseconds of all replicas.
    pub planned: i64,
    /// Losses by faults, in milliseconds of all replicas.
    pub fault: i64,
    /// Time that nobody watched, in milliseconds.
    pub unknown: i64,
}

const HOUR: i64 = 3_600_000;

impl Ledger {
    /// Whether the error budget is spent at `now` if nothing changes until then.
    pub fn is_budget_spent(&self, now: i64, objective: &Objective) -> bool {
        Figures::of(&self.window_at(now, objective.days), objective).budget <= 0.0
    }

    /// The figures at `as_of`.
    pub fn figures(&self, objective: &Objective) -> Figures {
        let window = self.window(objective.days);
        let mut figures = Figures::of(&window, objective);
        let burn = |millis| {
            let (missing, desired) = self.recent(millis);
            share(missing, desired).map(|lost| lost / objective.allowed())
        };
        (figures.burn_1h, figures.burn_6h) = (burn(HOUR), burn(6 * HOUR));
        figures.exhausted_at = figures.burn_6h.filter(|rate| *rate > 0.0 && figures.budget > 0.0).and_then(|rate| {
            let millis = figures.budget * as_float(base(&window, objective)) / rate;
            // Years away is never.
            (millis < as_float(366 * DAY)).then(|| self.as_of.saturating_add(as_millis(millis)))
        });
        figures
    }
}

impl Figures {
    /// The figures of these sums. The budget is that of the whole window, time to come included; time in which nothing
    /// was to be available, or nobody watched, has none.
    pub fn of(window: &Bucket, objective: &Objective) -> Self {
        let lost = share(window.missing(), window.desired);
        // Milliseconds in which all replicas would have been missing.
        let full = |missing: i64| share(missing, window.desired).map_or(0.0, |lost| lost * as_float(window.counted()));
        let allowed = objective.allowed() * as_float(base(window, objective));
        let spent = full(window.missing());
        let budget = match (allowed > 0.0, spent > 0.0) {
            (true, _) => 1.0 - spent / allowed,
            (false, false) => 1.0,
            (false, true) => 0.0,
        };
        let watched = window.span().saturating_sub(window.unknown);
        Self {
            replica_weighted: lost.map(|lost| less_than_all(1.0 - lost, window.missing() == 0)),
            time_based: share(window.good, window.counted())
                .map(|good| less_than_all(good, window.good == window.counted())),
            nines: lost.filter(|lost| *lost > 0.0).map(|lost| -lost.log10()),
            coverage: share(watched, window.span()).map(|watched| less_than_all(watched, window.unknown == 0)),
            budget,
            planned: as_millis(full(window.missing_planned)),
            fault: as_millis(full(window.missing_fault)),
            unknown: window.unknown,
            ..Self::default()
        }
    }
}

/// Time of the window that has a budget, in milliseconds.
fn base(window: &Bucket, objective: &Objective) -> i64 {
    (objective.days * DAY).saturating_sub(window.excluded).saturating_sub(window.unknown).max(0)
}

/// A share that is 1 only if nothing is missing, however little it is.
fn less_than_all(share: f64, is_all: bool) -> f64 {
    if is_all { share } else { share.min(1.0 - f64::EPSILON) }
}

/// A share within [0, 1]; `None` of nothing.
fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (as_float(part) / as_float(whole)).clamp(0.0, 1.0))
}

#[allow(clippy::cast_precision_loss)] // exact up to 2^53: a hundred thousand replicas for a thousand days
fn as_float(number: i64) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation)] // a cast of floats saturates
fn as_millis(number: f64) -> i64 {
    number as i64
}

/// A share as per cent, rounded down to three decimals: 0.9999999 is not 100.
pub fn percent(share: f64) -> String {
    let text = rounded_down(share * 100.0, 3);
    if share < 1.0 && text == "100" { "99.999".into() } else { text }
}

/// A number rounded down, without zeros at the end. `1e-9` makes up for what binary fractions lose.
pub fn rounded_down(number: f64, decimals: i32) -> String {
    let scale = 10_f64.powi(decimals);
    let floor = (number * scale + 1e-9).floor() / scale;
    let text = format!("{floor:.*}", usize::try_from(decimals).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    // 16 characters are what the API takes; no figure of a valid objective needs more.
    if text == "-0" { "0".into() } else { text.chars().take(16).collect() }
}
