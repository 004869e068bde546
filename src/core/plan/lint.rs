//! Lint: what is likely to hurt, in the template as it will be after the plan.

mod bake;
mod containers;
mod pod;
mod shutdown;

use super::findings::Finding;
use super::surroundings::Surroundings;
use super::targets::Targets;
use super::workload::Workload;
use crate::api::HealthPolicySpec;

/// Adds the findings of all checks.
pub(super) fn lint(
    policy: Option<&HealthPolicySpec>,
    targets: &Targets<'_>,
    workload: &Workload<'_>,
    surroundings: &Surroundings,
    findings: &mut Vec<Finding>,
) {
    for container in workload.lasting() {
        containers::lint(workload, container, surroundings, findings);
    }
    bake::lint(policy, workload, findings);
    shutdown::lint(targets, workload, surroundings, findings);
    pod::lint(policy, targets, workload, surroundings, findings);
}
