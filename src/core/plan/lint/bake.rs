//! Whether the gate watches for long enough to see a version that hangs.

use crate::api::HealthPolicySpec;
use crate::api::rollout::{Approval, Rollout};
use crate::core::plan::field::Field;
use crate::core::plan::findings::{Finding, Reason};
use crate::core::plan::timings::of_container;
use crate::core::plan::workload::Workload;

/// A hang is evidence once the container has ended: until then nothing of it shows in the pod's status, unless readiness
/// notices it too. So the bake is held against detection and kill together.
pub(super) fn lint(policy: Option<&HealthPolicySpec>, workload: &Workload<'_>, findings: &mut Vec<Finding>) {
    let Some(rollout) = policy.and_then(|policy| policy.rollout.as_ref()) else { return };
    for container in workload.lasting().filter(|container| container.probe(Field::LivenessProbe).is_some()) {
        let timings = of_container(workload, container);
        let (Some(detection), Some(ended)) = (timings.liveness_detection_seconds, timings.liveness_restart_seconds)
        else {
            continue;
        };
        let Some(what) = too_short(rollout, ended) else { continue };
        let message = format!(
            "Liveness notices a hang after up to {detection} s and has killed the container after up to {ended} s, while {what}."
        );
        findings.push(Finding::new(Reason::BakeBelowLivenessDetection, container.name, message));
    }
}

/// What comes sooner than `needed`: the acceptance, or else more pods. A person who approves a step looks for himself.
fn too_short(rollout: &Rollout, needed: i64) -> Option<String> {
    let after = i64::from(rollout.bake_after_seconds);
    if after < needed {
        return Some(format!("a version is accepted {after} s after it is complete"));
    }
    let steps = rollout.steps.iter().filter(|step| step.approval == Approval::Automatic);
    let shortest = steps.map(|step| i64::from(step.bake_seconds)).min()?;
    (shortest < needed).then(|| format!("a step lets more pods of a version in after {shortest} s"))
}
