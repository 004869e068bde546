//! The gate's sentences.

use super::gate::{GateEvent, off_words};
use super::pod::printable;
use super::situation::{Gating, Off, Situation, pods_of};
use crate::api::gate::{GateState, GateStatus};

/// Reasons of events, with their meaning.
pub const EVENTS: &[(&str, &str)] = &[
    ("RolloutProven", "Normal: the version that runs is the proven one"),
    ("RolloutStarted", "Normal: a new version is being let in, or goes on"),
    ("RolloutBaking", "Normal: the new version is watched, at a step or after completion"),
    ("ApprovalNeeded", "Normal: a step waits for a person"),
    ("RolloutHeld", "Warning: the rollout is paused"),
    ("RolloutRestoring", "Warning: the capacity is being handed back to the stable version"),
    ("RolloutRestored", "Warning: the stable version has the whole capacity"),
    ("RolloutReverted", "Warning: the stable version's template is written back"),
    ("RolloutNotGated", "Normal: rollouts of this Deployment are not gated now"),
];

/// The event of a state.
pub(super) fn event(state: GateState) -> GateEvent {
    let (reason, is_warning) = match state {
        GateState::Stable => ("RolloutProven", false),
        GateState::Rolling => ("RolloutStarted", false),
        GateState::Baking => ("RolloutBaking", false),
        GateState::AwaitingApproval => ("ApprovalNeeded", false),
        GateState::Held => ("RolloutHeld", true),
        GateState::Restoring => ("RolloutRestoring", true),
        GateState::Restored => ("RolloutRestored", true),
        GateState::Reverted => ("RolloutReverted", true),
        GateState::NotGated => ("RolloutNotGated", false),
    };
    GateEvent { is_warning, reason }
}

/// Reason of a gate that is switched off.
pub(super) fn off_reason(off: Off) -> &'static str {
    match off {
        Off::NoPolicy => "NoPolicy",
        Off::NoRolloutSection => "NoRolloutSection",
        Off::Audit => "Audit",
        Off::Suspended => "Suspended",
    }
}

/// Fills in a row's sentence.
pub(super) fn fill(sentence: &str, situation: &Situation<'_>, memory: &GateStatus) -> String {
    let seen = situation.seen;
    let mut text = sentence.to_owned();
    let mut put = |name: &str, value: &dyn Fn() -> String| {
        if text.contains(name) {
            text = text.replace(name, &value());
        }
    };
    let step = || situation.step().map(|(_, step)| step);
    let number = || {
        let passed = memory.rollout.as_ref().map_or(0, |record| record.steps_passed);
        // A step that was just passed is the one that is spoken of.
        let before = situation.memory.rollout.as_ref().map_or(0, |record| record.steps_passed);
        passed.min(before).saturating_add(1)
    };
    put("{off}", &|| match seen.gating {
        Gating::Off(off) => off_words(off).into(),
        Gating::On(_) => String::new(),
    });
    put("{rejected}", &|| situation.rejected().map(|rejected| rejected.reason.clone()).unwrap_or_default());
    put("{evidence}", &|| evidence(memory));
    put("{rule}", &|| memory.blame.as_ref().map(|blame| blame.rule.clone()).unwrap_or_default());
    put("{refused}", &|| seen.refused_revert.map(sentence_of).unwrap_or_default());
    put("{steps}", &|| situation.steps().len().to_string());
    put("{step}", &|| number().to_string());
    put("{pods}", &|| seen.current().map_or(0, |current| current.replicas).to_string());
    put("{asked}", &|| step().map_or(0, |step| pods_of(step, seen.deployment.replicas)).to_string());
    put("{after}", &|| seen.rollout().map_or(0, |rollout| rollout.bake_after_seconds).to_string());
    text.chars().take(1024).collect()
}

/// Words of somebody else, as the end of a sentence.
fn sentence_of(said: &str) -> String {
    let said = printable(said);
    if said.ends_with('.') { said } else { format!("{said}.") }
}

/// The worst evidence, in a few words.
fn evidence(memory: &GateStatus) -> String {
    let Some(worst) = memory.evidence.first() else { return "evidence against the version".into() };
    let more = memory.evidence.len() - 1;
    let more = if more > 0 { format!(" and {more} more kinds of evidence") } else { String::new() };
    let container = if worst.container.is_empty() { String::new() } else { format!(", container {}", worst.container) };
    let pods = if worst.pods == 1 { "1 pod".to_owned() } else { format!("{} pods", worst.pods) };
    let said = if worst.message.is_empty() { String::new() } else { format!(": {}", worst.message) };
    format!("{:?} of {pods} (such as {}{container}){said}{more}", worst.class, worst.pod)
}
