//! The availability report: figures of the moment, the worst workload first, and what a picture of the window shows.

mod band;
mod days;
mod rollouts;
mod vigil;

pub use self::band::{Band, Class, Segment, band};
pub use self::days::{Day, days};
pub use self::rollouts::{Mark, Rollout};
pub use self::vigil::Vigil;

use crate::api::availability_status::AvailabilityStatus;
use crate::api::gate::GateStatus;
use crate::core::availability::{Bucket, Figures, Ledger, Objective};

/// Characters of a text of the cluster that are shown; names have fewer.
const MAX_TEXT: usize = 253;

/// What was read of one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The policy that owns it; empty when none does.
    pub policy: String,
    /// What is stored of its availability, or why that cannot be understood.
    pub availability: Option<Result<AvailabilityStatus, String>>,
    /// What is stored of its rollouts.
    pub gate: Option<GateStatus>,
}

/// All workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// Measured workloads, the worst first.
    pub rows: Vec<Row>,
    /// Workloads that are not measured.
    pub unmeasured: Vec<Unmeasured>,
    /// All rows as one.
    pub fleet: Fleet,
}

/// One workload that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The policy that owns it.
    pub policy: String,
    /// The objective as the policy says it, in per cent.
    pub objective_text: String,
    /// The objective.
    pub objective: Objective,
    /// The ledger, up to when it may be read.
    pub ledger: Ledger,
    /// The figures at that moment.
    pub figures: Figures,
    /// The last rollouts, the oldest first.
    pub rollouts: Vec<Rollout>,
}

/// One workload that is not measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmeasured {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The policy that owns it.
    pub policy: String,
    /// Why.
    pub reason: String,
}

/// All workloads as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fleet {
    /// Workloads that are measured.
    pub workloads: usize,
    /// Of these, such whose budget is spent.
    pub spent: usize,
    /// Workloads that are not measured.
    pub unmeasured: usize,
    /// Shares over all replicas and all time; losses are the sums of all workloads. Budgets and burn rates belong to an
    /// objective, and are left at their defaults.
    pub figures: Figures,
}

/// The report at `now`.
pub fn report(subjects: Vec<Subject>, vigil: &Vigil, now: i64) -> Report {
    let (mut rows, mut unmeasured) = (Vec::new(), Vec::new());
    for subject in subjects {
        match Row::of(&subject, vigil, now) {
            Ok(row) => rows.push(row),
            Err(reason) => unmeasured.push(Unmeasured {
                namespace: clean(&subject.namespace),
                name: clean(&subject.name),
                policy: clean(&subject.policy),
                reason: clean(&reason),
            }),
        }
    }
    rows.sort_by(|one, other| one.rank().total_cmp(&other.rank()).then_with(|| one.place().cmp(&other.place())));
    unmeasured.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    let fleet = Fleet::of(&rows, unmeasured.len());
    Report { now, rows, unmeasured, fleet }
}

impl Row {
    fn of(subject: &Subject, vigil: &Vigil, now: i64) -> Result<Self, String> {
        let status = match &subject.availability {
            None => return Err("its policy has no spec.availability, or it was not looked at yet".into()),
            Some(Err(reason)) => return Err(reason.clone()),
            Some(Ok(status)) => status,
        };
        let objective = Objective::parse(&status.objective, status.window_days).ok_or_else(|| {
            format!("its objective is not understood: {:?} over {} days", status.objective, status.window_days)
        })?;
        let mut status = status.clone();
        status.episodes.iter_mut().for_each(|episode| episode.rollout = clean(&episode.rollout));
        let stored = Ledger::of_status(&status).map_err(|error| error.to_string())?;
        let stored = stored.ok_or("its status carries no ledger")?;
        let ledger = vigil.current(&stored, now);
        Ok(Self {
            namespace: clean(&subject.namespace),
            name: clean(&subject.name),
            policy: clean(&subject.policy),
            objective_text: clean(&status.objective),
            objective,
            figures: ledger.figures(&objective),
            ledger,
            rollouts: rollouts::of_gate(subject.gate.as_ref()),
        })
    }

    /// The less of the budget is left, the worse.
    fn rank(&self) -> f64 {
        // What nothing was counted of is neither good nor bad, and comes last.
        self.figures.replica_weighted.map_or(f64::INFINITY, |_| self.figures.budget)
    }

    fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Fleet {
    fn of(rows: &[Row], unmeasured: usize) -> Self {
        let sums: Bucket = rows.iter().map(|row| row.ledger.window(row.objective.days())).sum();
        // Any objective will do: what depends on it is not taken over.
        let shares = rows.first().map(|row| Figures::of(&sums, &row.objective)).unwrap_or_default();
        let total = |of: fn(&Figures) -> i64| rows.iter().map(|row| of(&row.figures)).fold(0, i64::saturating_add);
        Self {
            workloads: rows.len(),
            spent: rows.iter().filter(|row| row.figures.budget <= 0.0).count(),
            unmeasured,
            figures: Figures {
                replica_weighted: shares.replica_weighted,
                time_based: shares.time_based,
                nines: shares.nines,
                coverage: shares.coverage,
                planned: total(|figures| figures.planned),
                fault: total(|figures| figures.fault),
                unknown: total(|figures| figures.unknown),
                ..Figures::default()
            },
        }
    }
}

/// A text of the cluster without what could reorder, hide or break what stands around it, and not too long. Markup is
/// the renderers' matter.
fn clean(text: &str) -> String {
    let is_shown = |c: &char| {
        let steers =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        !c.is_control() && !steers && !matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    text.chars().filter(is_shown).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests;
