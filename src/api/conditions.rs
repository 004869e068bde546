//! Condition types and the fixed set of reasons. Reasons are stable: alerts and scripts may depend on them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Condition types of both kinds. Adjectives or past participles, true is good (Kubernetes API conventions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// HealthPolicy: the spec is understood and can be acted on.
    Accepted,
    /// HealthPolicy: every owned Deployment carries what the policy asks for.
    Enforced,
    /// HealthPolicy: the rollout section is acted on.
    RolloutGated,
    /// HealthPolicy: the availability section is acted on.
    AvailabilityMeasured,
    /// HealthPolicy: what users create or change carries the policy's fields when it is stored.
    RidesAlong,
    /// WorkloadHealth: the Deployment carries what its policy asks for.
    Compliant,
    /// WorkloadHealth: nothing speaks against the version that is rolling out.
    RolloutHealthy,
    /// WorkloadHealth: enough replicas are available.
    Available,
    /// WorkloadHealth: the error budget is not spent.
    WithinBudget,
    /// Both: the summary, and what kstatus reads.
    Ready,
}

impl ConditionType {
    /// The name in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Enforced => "Enforced",
            Self::RolloutGated => "RolloutGated",
            Self::AvailabilityMeasured => "AvailabilityMeasured",
            Self::RidesAlong => "RidesAlong",
            Self::Compliant => "Compliant",
            Self::RolloutHealthy => "RolloutHealthy",
            Self::Available => "Available",
            Self::WithinBudget => "WithinBudget",
            Self::Ready => "Ready",
        }
    }
}

/// Value of `status.conditions[].status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known yet, or not knowable now.
    Unknown,
}

impl ConditionStatus {
    /// The name in `status.conditions[].status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a decision says of one condition: the time and the generation are added when it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which condition.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word from a fixed set.
    pub reason: Cow<'static, str>,
    /// One sentence for people; the same one goes to the log and the event.
    pub message: String,
}

impl Verdict {
    /// A verdict; `reason` must be one CamelCase word.
    pub fn new(
        type_: ConditionType,
        status: ConditionStatus,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, status, reason: reason.into(), message: message.into() }
    }
}

/// Longest message that is stored, in characters; the API allows 32768.
const MESSAGE_LIMIT: usize = 1024;

/// Merges verdicts into stored conditions. `lastTransitionTime` moves only when the status changes, and conditions
/// that the verdicts do not name are dropped: they belong to an older version of the operator.
pub fn merge_conditions(stored: &[Condition], verdicts: &[Verdict], generation: i64, now: Timestamp) -> Vec<Condition> {
    verdicts
        .iter()
        .map(|verdict| {
            let before = stored.iter().find(|c| c.type_ == verdict.type_.as_str());
            let since = before.filter(|c| c.status == verdict.status.as_str());
            Condition {
                type_: verdict.type_.as_str().into(),
                status: verdict.status.as_str().into(),
                reason: verdict.reason.clone().into_owned(),
                message: verdict.message.chars().take(MESSAGE_LIMIT).collect(),
                observed_generation: Some(generation),
                last_transition_time: since.map_or(Time(now), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let held = |reason| Verdict::new(ConditionType::Compliant, ConditionStatus::False, reason, "because");
        let first = merge_conditions(&[], &[held("Planned")], 1, at(10));
        let same_status = merge_conditions(&first, &[held("Contended")], 2, at(20));
        assert_eq!(same_status[0].last_transition_time, Time(at(10)));
        assert_eq!(same_status[0].reason, "Contended");
        let fixed = Verdict::new(ConditionType::Compliant, ConditionStatus::True, "InSync", "fine");
        let changed = merge_conditions(&same_status, &[fixed], 2, at(30));
        assert_eq!(changed[0].last_transition_time, Time(at(30)));
    }
}
