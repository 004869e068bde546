//! What one scrape sees of one Deployment.

use crate::core::availability::{Bucket, Figures, Ledger, Objective, Watched};

/// A Deployment that a policy governs, at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSample {
    /// Namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub workload: String,
    /// Name of the policy that governs it.
    pub policy: String,
    /// What its ledger says; `None` when the policy has no objective.
    pub availability: Option<AvailabilitySample>,
    /// Since when its rollout is held or restored, in seconds since 1970; `None` when it is not.
    pub held_since: Option<i64>,
    /// Whether another writer contends for its fields.
    pub contended: bool,
}

/// What a ledger says at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct AvailabilitySample {
    /// The policy's objective.
    pub objective: Objective,
    /// Figures of its window.
    pub figures: Figures,
    /// Sums since the first look. They never fall, not even when another replica of the operator takes over: a counter
    /// that falls would be taken for a restart, and all of it for new.
    pub life: Bucket,
}

impl AvailabilitySample {
    /// The sample of a ledger at `now`, in milliseconds since 1970. `stored` is the ledger as it was last stored, and
    /// `renewed` when the lease was last renewed: what came after these, a successor would not know and count as unknown.
    pub fn of(
        ledger: &Ledger,
        stored: &Ledger,
        (watched, renewed): (&Watched, i64),
        objective: Objective,
        now: i64,
    ) -> Self {
        let until = watched.until(ledger.checked(), now).min(renewed);
        let life = if ledger.is_settled() { ledger.life_at(until) } else { stored.life_at(stored.as_of()) };
        Self { objective, figures: ledger.at(until).figures(&objective), life }
    }
}
