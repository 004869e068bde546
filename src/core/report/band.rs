//! The last hours or days, to the second: the episodes that are kept, and what lies between them.

use super::Row;
use crate::api::availability_status::LossClass;
use crate::core::availability::{Cause, DAY, MAX_DAYS, MAX_EPISODES};

/// Spans that a band can have, in milliseconds: 6 h, 1 d, 3 d, 7 d.
const SPANS: [i64; 4] = [21_600_000, DAY, 3 * DAY, 7 * DAY];

/// What is known of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All wanted replicas were there.
    Good,
    /// Replicas were missing, as planned.
    Planned,
    /// Replicas were missing by a fault.
    Fault,
    /// Nobody can tell.
    Unknown,
    /// Nothing was to be available.
    Excluded,
    /// Good, or nothing was to be available: the day's sums say how much of each, not when.
    GoodOrExcluded,
    /// Before the first look, or before the oldest episode that is kept.
    NotKept,
}

/// A stretch of time, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// When it begins.
    pub from: i64,
    /// When it ends.
    pub to: i64,
    /// What is known of it.
    pub class: Class,
    /// Of an episode: its place in the ledger's list, its cause, most replicas that were missing, of so many.
    pub episode: Option<(usize, Cause, u32, u32)>,
}

/// The last hours or days.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// When it begins, in milliseconds since 1970.
    pub from: i64,
    /// When it ends.
    pub to: i64,
    /// Its parts, without gaps.
    pub segments: Vec<Segment>,
}

/// The shortest band that shows the newest episode whole, seven days at most; a day without any.
pub fn band(row: &Row) -> Band {
    let ledger = &row.ledger;
    let to = ledger.as_of();
    let [shortest, day, .., longest] = SPANS;
    let newest = ledger.episodes().last().map(|episode| episode.start.saturating_mul(1000));
    let span = match newest.filter(|start| *start >= to.saturating_sub(longest)) {
        None => day,
        // A margin, so that it does not stick to the edge.
        Some(start) => {
            let needed = to.saturating_sub(start).saturating_add(shortest / 24);
            SPANS.into_iter().find(|span| *span >= needed).unwrap_or(longest)
        }
    };
    let from = to.saturating_sub(span);
    let mut segments = Vec::new();
    let mut at = from;
    for (index, episode) in ledger.episodes().iter().enumerate() {
        let start = episode.start.saturating_mul(1000).clamp(at, to);
        let end = episode.end.map_or(to, |end| end.saturating_mul(1000)).clamp(start, to);
        if end <= at && end <= from {
            continue;
        }
        between(row, at, start, &mut segments);
        let class = match episode.cause.class() {
            LossClass::Planned => Class::Planned,
            LossClass::Fault => Class::Fault,
            LossClass::Unknown => Class::Unknown,
        };
        let episode = Some((index, episode.cause, episode.missing, episode.of));
        segments.push(Segment { from: start, to: end, class, episode });
        at = end;
    }
    between(row, at, to, &mut segments);
    Band { from, to, segments }
}

/// Time without an episode, day by day.
fn between(row: &Row, from: i64, to: i64, segments: &mut Vec<Segment>) {
    let mut at = from;
    let begin = kept_since(row);
    while at < to {
        let day = at.div_euclid(DAY);
        let mut end = day.saturating_add(1).saturating_mul(DAY).min(to);
        if at < begin && begin < end {
            end = begin;
        }
        let class = if at < begin { Class::NotKept } else { quiet(row, day) };
        match segments.last_mut() {
            Some(last) if last.class == class && last.episode.is_none() && last.to == at => last.to = end,
            _ => segments.push(Segment { from: at, to: end, class, episode: None }),
        }
        at = end;
    }
}

/// Since when every episode is in the list.
fn kept_since(row: &Row) -> i64 {
    let episodes = row.ledger.episodes();
    match episodes.first() {
        Some(first) if episodes.len() >= MAX_EPISODES => first.start.saturating_mul(1000),
        _ => row.ledger.born(),
    }
}

/// What time without an episode was on this day: the sums of a day do not say when.
fn quiet(row: &Row, day: i64) -> Class {
    let sums = row.ledger.days(MAX_DAYS).find(|(of, _)| *of == day).map(|(_, sums)| sums).unwrap_or_default();
    match (sums.excluded, sums.counted()) {
        (0, _) => Class::Good,
        (_, 0) => Class::Excluded,
        _ => Class::GoodOrExcluded,
    }
}
