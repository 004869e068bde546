//! A plan as it is stored in `WorkloadHealth.status`: bounded, clean, and without secrets.

use super::describe::{clean, describe};
use super::{Finding, Plan};
use crate::api::workload_health::{ChangeStatus, ContainerTimings, FindingStatus, PlanStatus};

const CHANGES_LIMIT: usize = 64;
const FINDINGS_LIMIT: usize = 32;
const TIMINGS_LIMIT: usize = 16;
const NAME_LIMIT: usize = 63;
const SHORT_FORM_LIMIT: usize = 256;
const SENTENCE_LIMIT: usize = 512;

pub(super) fn of(plan: &Plan) -> PlanStatus {
    PlanStatus {
        restarts_pods: plan.restarts_pods(),
        changes: plan
            .changes
            .iter()
            .take(CHANGES_LIMIT)
            .map(|change| ChangeStatus {
                container: clean(&change.container, NAME_LIMIT),
                field: change.field.as_str().into(),
                from: clean(&describe(change.field, change.from.as_ref()), SHORT_FORM_LIMIT),
                to: clean(&describe(change.field, change.to.as_ref()), SHORT_FORM_LIMIT),
            })
            .collect(),
        changes_not_listed: beyond(plan.changes.len(), CHANGES_LIMIT),
        findings: plan.findings.iter().take(FINDINGS_LIMIT).map(finding).collect(),
        findings_not_listed: beyond(plan.findings.len(), FINDINGS_LIMIT),
    }
}

/// One finding as it is stored.
pub(super) fn finding(finding: &Finding) -> FindingStatus {
    FindingStatus {
        reason: finding.reason.as_str().into(),
        severity: finding.severity(),
        container: clean(&finding.container, NAME_LIMIT),
        message: clean(&finding.message, SENTENCE_LIMIT),
        remedy: finding.remedy().into(),
    }
}

/// The timings that are stored: those of the first containers.
pub(super) fn timings(plan: &Plan) -> Vec<ContainerTimings> {
    plan.timings.iter().take(TIMINGS_LIMIT).cloned().collect()
}

fn beyond(len: usize, limit: usize) -> i32 {
    i32::try_from(len.saturating_sub(limit)).unwrap_or(i32::MAX)
}
