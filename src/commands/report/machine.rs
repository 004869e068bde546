//! Output for programs. `docs/reference/report.md` documents the shape; fields may be added, never changed.

use csv::{Terminator, WriterBuilder};
use serde::Serialize;

use super::{Told, words};
use crate::core::availability::{Bucket, Figures, percent, rounded_down};
use crate::core::report::{Day, Fleet, Rollout, Row, days};

/// Version of the JSON.
const VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    version: u32,
    generated_at: String,
    watched_until: Option<String>,
    notes: &'a [String],
    workloads: Vec<Workload<'a>>,
    not_measured: Vec<NotMeasured<'a>>,
    fleet: Total,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Workload<'a> {
    namespace: &'a str,
    name: &'a str,
    policy: &'a str,
    objective: f64,
    window_days: i64,
    as_of: String,
    #[serde(flatten)]
    shares: Shares,
    budget: Option<f64>,
    burn_rate_1h: Option<f64>,
    burn_rate_6h: Option<f64>,
    exhausted_at: Option<String>,
    lost: Lost,
    days: Vec<OneDay>,
    episodes: Vec<OneEpisode<'a>>,
    rollouts: Vec<OneRollout<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shares {
    replica_weighted: Option<f64>,
    time_based: Option<f64>,
    nines: Option<f64>,
    coverage: Option<f64>,
}

/// In whole seconds.
#[derive(Serialize)]
struct Lost {
    #[serde(rename = "plannedSeconds")]
    planned: i64,
    #[serde(rename = "faultSeconds")]
    fault: i64,
    #[serde(rename = "unknownSeconds")]
    unknown: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneDay {
    date: String,
    good_seconds: i64,
    planned_seconds: i64,
    fault_seconds: i64,
    unknown_seconds: i64,
    excluded_seconds: i64,
    wanted_replica_seconds: i64,
    missing_planned_replica_seconds: i64,
    missing_fault_replica_seconds: i64,
    budget: Option<f64>,
}

#[derive(Serialize)]
struct OneEpisode<'a> {
    start: String,
    end: Option<String>,
    class: crate::api::availability_status::LossClass,
    reason: &'static str,
    missing: u32,
    of: u32,
    rollout: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneRollout<'a> {
    hash: &'a str,
    started: String,
    ended: Option<String>,
    outcome: &'a str,
    reason: &'a str,
    worst_ready: Option<i32>,
    worst_of: Option<i32>,
}

#[derive(Serialize)]
struct NotMeasured<'a> {
    namespace: &'a str,
    name: &'a str,
    policy: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    workloads: usize,
    not_measured: usize,
    budgets_spent: usize,
    #[serde(flatten)]
    shares: Shares,
    lost: Lost,
}

/// Everything.
pub(super) fn json(told: &Told) -> anyhow::Result<String> {
    let report = &told.report;
    let document = Document {
        version: VERSION,
        generated_at: words::rfc3339(report.now),
        watched_until: told.watched_until.map(words::rfc3339),
        notes: &told.notes,
        workloads: report.rows.iter().map(workload).collect(),
        not_measured: report
            .unmeasured
            .iter()
            .map(|one| NotMeasured {
                namespace: &one.namespace,
                name: &one.name,
                policy: &one.policy,
                reason: &one.reason,
            })
            .collect(),
        fleet: total(&report.fleet),
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

fn workload(row: &Row) -> Workload<'_> {
    let figures = &row.figures;
    Workload {
        namespace: &row.namespace,
        name: &row.name,
        policy: &row.policy,
        objective: number(&row.objective_text).unwrap_or_default(),
        window_days: row.objective.days(),
        as_of: words::rfc3339(row.ledger.as_of()),
        shares: shares(figures),
        budget: per_cent(Some(figures.budget)),
        burn_rate_1h: figures.burn_1h.and_then(|rate| number(&words::burn(Some(rate)))),
        burn_rate_6h: figures.burn_6h.and_then(|rate| number(&words::burn(Some(rate)))),
        exhausted_at: figures.exhausted_at.map(words::rfc3339),
        lost: lost(figures),
        days: days(row).iter().map(one_day).collect(),
        episodes: row
            .ledger
            .episodes()
            .iter()
            .map(|episode| OneEpisode {
                start: second(episode.start),
                end: episode.end.map(second),
                class: episode.cause.class(),
                reason: episode.cause.as_str(),
                missing: episode.missing,
                of: episode.of,
                rollout: &episode.rollout,
            })
            .collect(),
        rollouts: row.rollouts.iter().map(one_rollout).collect(),
    }
}

fn one_day(day: &Day) -> OneDay {
    let Bucket { good, planned, fault, unknown, excluded, desired, missing_planned, missing_fault } = day.bucket;
    OneDay {
        date: words::date(day.day),
        good_seconds: seconds(good),
        planned_seconds: seconds(planned),
        fault_seconds: seconds(fault),
        unknown_seconds: seconds(unknown),
        excluded_seconds: seconds(excluded),
        wanted_replica_seconds: seconds(desired),
        missing_planned_replica_seconds: seconds(missing_planned),
        missing_fault_replica_seconds: seconds(missing_fault),
        budget: per_cent(day.budget),
    }
}

fn one_rollout(rollout: &Rollout) -> OneRollout<'_> {
    OneRollout {
        hash: &rollout.hash,
        started: second(rollout.started),
        ended: rollout.ended.map(second),
        outcome: &rollout.outcome,
        reason: &rollout.reason,
        worst_ready: rollout.worst.map(|(ready, _)| ready),
        worst_of: rollout.worst.map(|(_, of)| of),
    }
}

fn total(fleet: &Fleet) -> Total {
    Total {
        workloads: fleet.workloads,
        not_measured: fleet.unmeasured,
        budgets_spent: fleet.spent,
        shares: shares(&fleet.figures),
        lost: lost(&fleet.figures),
    }
}

fn shares(figures: &Figures) -> Shares {
    Shares {
        replica_weighted: per_cent(figures.replica_weighted),
        time_based: per_cent(figures.time_based),
        nines: figures.nines.and_then(|nines| number(&rounded_down(nines, 1))),
        coverage: per_cent(figures.coverage),
    }
}

fn lost(figures: &Figures) -> Lost {
    Lost { planned: seconds(figures.planned), fault: seconds(figures.fault), unknown: seconds(figures.unknown) }
}

/// The number that is shown: programs and people read the same.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn per_cent(share: Option<f64>) -> Option<f64> {
    share.and_then(|share| number(&percent(share)))
}

fn seconds(millis: i64) -> i64 {
    millis.div_euclid(1000)
}

fn second(second: i64) -> String {
    words::rfc3339(second.saturating_mul(1000))
}

/// One line for each workload; those that are not measured come last, without figures.
pub(super) fn csv(told: &Told) -> anyhow::Result<String> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(CSV)?;
    let shown = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    for row in &told.report.rows {
        let one = workload(row);
        writer.write_record([
            inert(one.namespace),
            inert(one.name),
            inert(one.policy),
            one.objective.to_string(),
            one.window_days.to_string(),
            one.as_of,
            shown(one.shares.replica_weighted),
            shown(one.shares.time_based),
            shown(one.shares.nines),
            shown(one.shares.coverage),
            shown(one.budget),
            shown(one.burn_rate_1h),
            shown(one.burn_rate_6h),
            one.exhausted_at.unwrap_or_default(),
            one.lost.planned.to_string(),
            one.lost.fault.to_string(),
            one.lost.unknown.to_string(),
            String::new(),
        ])?;
    }
    for one in &told.report.unmeasured {
        let mut record: Vec<String> = [&one.namespace, &one.name, &one.policy].map(|text| inert(text)).into();
        record.resize(CSV.len() - 1, String::new());
        record.push(inert(&one.reason));
        writer.write_record(record)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Columns of the CSV.
const CSV: [&str; 18] = [
    "namespace",
    "name",
    "policy",
    "objective",
    "window_days",
    "as_of",
    "replica_weighted",
    "time_based",
    "nines",
    "coverage",
    "budget",
    "burn_rate_1h",
    "burn_rate_6h",
    "exhausted_at",
    "lost_planned_seconds",
    "lost_fault_seconds",
    "unknown_seconds",
    "not_measured",
];

/// A spreadsheet takes what begins so for a formula. No name in Kubernetes does.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() }
}
