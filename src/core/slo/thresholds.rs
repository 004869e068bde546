//! When to alert, as data: shares of the error budget that may go within a window, and ages.

use std::fmt;
use std::str::FromStr;

use crate::core::availability::Objective;

/// A whole number of minutes, hours or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u32);

impl Span {
    /// So many seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds % 86_400 == 0 => write!(f, "{}d", seconds / 86_400),
            seconds if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            seconds => write!(f, "{}m", seconds / 60),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no time such as 5m, 6h or 3d");
        let unit = [('m', 60), ('h', 3600), ('d', 86_400)].into_iter().find(|(unit, _)| text.ends_with(*unit));
        let (unit, seconds) = unit.ok_or_else(refused)?;
        let number: u32 = text.trim_end_matches(unit).parse().map_err(|_| refused())?;
        let seconds = number.checked_mul(seconds).filter(|seconds| (60..=90 * 86_400).contains(seconds));
        seconds.map(Self).ok_or_else(|| format!("{text:?} is not between 1m and 90d"))
    }
}

/// How much an alert matters; the value of its label `severity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody is to act now.
    Critical,
    /// Somebody is to act in working hours.
    Warning,
}

impl Severity {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// An alert on a share of the budget that went within the long window, while it still goes within the short one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// Share of the window's budget.
    pub share: f64,
    /// Within this time.
    pub long: Span,
    /// And this shorter one, so that the alert ends soon after the loss.
    pub short: Span,
    /// How much it matters.
    pub severity: Severity,
}

/// Whatever the objective, an alert fires at the latest when so much of the long window was lost altogether.
pub(super) const CEILING: f64 = 0.8;

impl Burn {
    /// From `14.4@1h/5m`, with `=critical` or `=warning` after it: a burn rate for a window of so many days.
    pub fn parse(text: &str, days: u32) -> Result<Self, String> {
        let form = "use RATE@LONG/SHORT, such as 14.4@1h/5m, with =critical or =warning after it if you like";
        let (rest, severity) = match text.split_once('=') {
            Some((rest, "critical")) => (rest, Some(Severity::Critical)),
            Some((rest, "warning")) => (rest, Some(Severity::Warning)),
            Some((_, other)) => return Err(format!("{other:?} is no severity: {form}")),
            None => (text, None),
        };
        let (rate, spans) = rest.split_once('@').ok_or_else(|| format!("{text:?} is no burn rate: {form}"))?;
        let (long, short) = spans.split_once('/').ok_or_else(|| format!("{text:?} has no short window: {form}"))?;
        let (long, short): (Span, Span) = (long.parse()?, short.parse()?);
        let rate = rate.parse::<f64>().ok().filter(|rate| rate.is_finite());
        let rate = rate.ok_or_else(|| format!("{text:?} does not begin with a number: {form}"))?;
        if rate < 1.0 {
            return Err(format!("{text:?}: a burn rate below 1 never spends the budget; use at least 1"));
        }
        if short >= long {
            return Err(format!("{text:?}: the short window ({short}) must be shorter than the long one ({long})"));
        }
        let window = f64::from(days) * 86_400.0;
        let by_length = if long.seconds() <= 6 * 3600 { Severity::Critical } else { Severity::Warning };
        let share = rate * f64::from(long.seconds()) / window;
        Ok(Self { share, long, short, severity: severity.unwrap_or(by_length) })
    }

    /// The burn rate above which it fires, for a window of so many days; before the ceiling is applied.
    pub fn rate(&self, days: i64) -> f64 {
        let window = f64::from(u32::try_from(days).unwrap_or(u32::MAX)) * 86_400.0;
        (self.share * window / f64::from(self.long.seconds())).max(1.0)
    }
}

/// All thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Budget that goes too fast; no two with the same long window.
    pub burns: Vec<Burn>,
    /// Share of the budget below which little is left.
    pub budget_low: f64,
    /// Minutes after which a held rollout is too old.
    pub hold_minutes: u32,
    /// Minutes of contention.
    pub contended_minutes: u32,
    /// Minutes without a leader.
    pub not_watching_minutes: u32,
}

impl Default for Thresholds {
    /// Those of the Site Reliability Workbook, chapter 5: for a window of 30 days burn rates of 14.4, 6, 3 and 1.
    fn default() -> Self {
        let burn = |share, long, short, severity| Burn { share, long: Span(long), short: Span(short), severity };
        Self {
            burns: vec![
                burn(0.02, 3600, 300, Severity::Critical),
                burn(0.05, 6 * 3600, 1800, Severity::Critical),
                burn(0.1, 86_400, 2 * 3600, Severity::Warning),
                burn(0.1, 3 * 86_400, 6 * 3600, Severity::Warning),
            ],
            budget_low: 0.1,
            hold_minutes: 60,
            contended_minutes: 15,
            not_watching_minutes: 5,
        }
    }
}

impl Thresholds {
    /// What is wrong with them, in one sentence. With an objective: whether each of them can fire for it.
    pub fn refused(&self, objective: Option<&Objective>, days: i64) -> Option<String> {
        let twice = self
            .burns
            .iter()
            .enumerate()
            .find(|(index, burn)| self.burns.iter().take(*index).any(|earlier| earlier.long == burn.long));
        if let Some((_, burn)) = twice {
            return Some(format!("two burn rates over {}: each long window may be given once", burn.long));
        }
        let objective = objective?;
        let most = 1.0 / objective.allowed();
        let burn = self.burns.iter().find(|burn| burn.rate(days) >= most - 1e-9)?;
        let (rate, most) = (short(burn.rate(days)), short(most));
        let percent = short(objective.share() * 100.0);
        Some(format!(
            "{rate}@{}/{} can never fire for an objective of {percent} %: even a full outage burns only {most} times as fast \
             as allowed; give burn rates below {most}, or leave the objective out (each Deployment's threshold then stays \
             below what it can reach)",
            burn.long, burn.short
        ))
    }

    /// The numbers by name, as the chart has them in its values.
    pub fn named(&self) -> Vec<(String, String)> {
        let shares = self.burns.iter().map(|burn| (share_name(burn), short(burn.share)));
        let minutes = [
            ("holdMinutes", self.hold_minutes),
            ("contendedMinutes", self.contended_minutes),
            ("notWatchingMinutes", self.not_watching_minutes),
        ];
        let minutes = minutes.map(|(name, minutes)| (name.to_owned(), minutes.to_string()));
        shares.chain([("budgetLow".to_owned(), short(self.budget_low))]).chain(minutes).collect()
    }
}

/// How numbers are written into rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As they are.
    Plain,
    /// As `${name}`, for the chart to fill in.
    Named,
}

impl Numbers {
    pub(super) fn write(self, name: &str, value: &str) -> String {
        match self {
            Self::Plain => value.to_owned(),
            Self::Named => format!("${{{name}}}"),
        }
    }
}

pub(super) fn share_name(burn: &Burn) -> String {
    format!("budgetShare{}", burn.long)
}

/// A number with up to six decimals, none of them a zero at the end.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
