//! What came of looking at one Deployment: a reason from a fixed set and one sentence. Log, condition and event share
//! both.

use crate::api::conditions::{ConditionStatus, ConditionType, Verdict};
use crate::core::plan::Finding;

/// What came of looking at one Deployment.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No policy selects it, and nothing of ours is in it.
    NotGoverned,
    /// It is being deleted.
    Deleting,
    /// Our values are being taken out.
    Releasing,
    /// Nothing of ours is left in it.
    Released,
    /// It carries what the policy asks for.
    InSync,
    /// Audit: it would be changed.
    Planned {
        /// Fields that would change.
        changes: usize,
        /// Whether that restarts its pods.
        restarts_pods: bool,
    },
    /// Its changes are being written.
    Enforcing {
        /// Fields that change.
        changes: usize,
        /// Whether that restarts its pods.
        restarts_pods: bool,
    },
    /// Its changes wait.
    Pending {
        /// For what.
        cause: PendingCause,
        /// The policy; empty for a release.
        policy: String,
    },
    /// Another writer keeps setting a field back.
    Contended {
        /// Its field manager.
        manager: String,
        /// The field.
        field: String,
    },
    /// The API server, or an admission policy of the cluster, refuses the changes.
    Refused {
        /// What it said.
        finding: Finding,
    },
    /// Something that the policy asks for cannot be written here.
    Blocked {
        /// Why.
        finding: Finding,
        /// Other fields that would change.
        changes: usize,
    },
    /// The policy is suspended.
    Suspended {
        /// Its name.
        policy: String,
    },
    /// The stored policy cannot be understood.
    PolicyInvalid {
        /// Its name.
        policy: String,
    },
}

/// What changes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingCause {
    /// More edits of the policy may follow.
    Coalescing,
    /// A rollout is under way.
    Rollout,
    /// As many Deployments as allowed are being rolled.
    Slot,
}

impl Outcome {
    /// One CamelCase word from a fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotGoverned => "NotGoverned",
            Self::Deleting => "Deleting",
            Self::Releasing => "Releasing",
            Self::Released => "Released",
            Self::InSync => "InSync",
            Self::Planned { .. } => "Planned",
            Self::Enforcing { .. } => "Enforcing",
            Self::Pending { cause: PendingCause::Coalescing, .. } => "Coalescing",
            Self::Pending { cause: PendingCause::Rollout, .. } => "WaitingForRollout",
            Self::Pending { cause: PendingCause::Slot, .. } => "WaitingForTurn",
            Self::Contended { .. } => "Contended",
            Self::Refused { finding } | Self::Blocked { finding, .. } => finding.reason.as_str(),
            Self::Suspended { .. } => "Suspended",
            Self::PolicyInvalid { .. } => "PolicyInvalid",
        }
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::NotGoverned => "No policy selects this Deployment.".into(),
            Self::Deleting => "The Deployment is being deleted.".into(),
            Self::Releasing => {
                "No policy owns this Deployment any more: filled fields are taken out, originals are given back.".into()
            }
            Self::Released => "Nothing of a policy is left in this Deployment.".into(),
            Self::InSync => "The Deployment carries what its policy asks for.".into(),
            Self::Planned { changes, restarts_pods } => {
                let restart = if *restarts_pods { " and restart the pods" } else { ", no pod restarts" };
                format!("Enforcing would change {}{restart}.", fields(*changes))
            }
            Self::Enforcing { changes: 0, .. } => "The marker of the fields that are ours is put right.".into(),
            Self::Enforcing { changes, restarts_pods } => {
                format!("The policy changes {}{}.", fields(*changes), restart(*restarts_pods))
            }
            Self::Pending { cause: PendingCause::Coalescing, policy } => {
                format!("Policy {policy} was just edited; waiting a moment for further edits.")
            }
            Self::Pending { cause: PendingCause::Rollout, .. } => {
                "A rollout is under way; the policy is written when it has settled.".into()
            }
            Self::Pending { cause: PendingCause::Slot, .. } => {
                "As many Deployments as allowed are being rolled; this one waits for its turn.".into()
            }
            Self::Contended { manager, field } => {
                format!("{manager} keeps setting {field} back; hands off for now, next try within an hour.")
            }
            Self::Refused { finding } => format!("Not written: {}", finding.message),
            Self::Blocked { finding, .. } => finding.message.clone(),
            Self::Suspended { policy } => format!("Policy {policy} is suspended: nothing is touched."),
            Self::PolicyInvalid { policy } => {
                format!("Policy {policy} cannot be understood; nothing is touched until it is corrected.")
            }
        }
    }

    /// What it means for the condition `Compliant`.
    pub fn compliant(&self) -> Verdict {
        let status = match self {
            Self::InSync => ConditionStatus::True,
            Self::Suspended { .. } | Self::PolicyInvalid { .. } | Self::NotGoverned | Self::Deleting => {
                ConditionStatus::Unknown
            }
            Self::Releasing
            | Self::Released
            | Self::Planned { .. }
            | Self::Enforcing { .. }
            | Self::Pending { .. }
            | Self::Contended { .. }
            | Self::Refused { .. }
            | Self::Blocked { .. } => ConditionStatus::False,
        };
        Verdict::new(ConditionType::Compliant, status, self.reason(), self.sentence())
    }
}

fn fields(count: usize) -> String {
    if count == 1 { "1 field".into() } else { format!("{count} fields") }
}

fn restart(restarts: bool) -> &'static str {
    if restarts { " and restarts the pods" } else { ", no pod restarts" }
}
