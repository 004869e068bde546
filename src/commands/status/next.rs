//! Where the rollout stands among its steps, and what happens next, in one sentence per state.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::style::duration;
use super::screen::Screen;
use crate::api::gate::{GateState, GateStatus};
use crate::api::rollout::{Approval, Step};
use crate::core::rollout::table::{AFTER_COMPLETION, REVERTING, TRANSIENT};

/// The step under way, of all; `None` when there is no rollout with steps.
pub(super) fn step(screen: &Screen) -> Option<String> {
    let steps = &screen.policy.as_ref()?.steps;
    let gate = screen.gate.as_ref()?;
    let passed = usize::try_from(gate.rollout.as_ref()?.steps_passed).ok()?;
    let is_under_way = !matches!(gate.state, GateState::Stable | GateState::NotGated);
    if steps.is_empty() || !is_under_way {
        return None;
    }
    let of = steps.len();
    Some(match steps.get(passed) {
        None => format!("all {of} passed"),
        Some(step) => format!(
            "{} of {of}: {}, {} s{}",
            passed + 1,
            pods(step),
            step.bake_seconds,
            if step.approval == Approval::Manual { ", then approval" } else { "" }
        ),
    })
}

/// What happens next.
pub(super) fn next(screen: &Screen) -> String {
    let Some(gate) = &screen.gate else {
        return "The operator has not looked at this Deployment yet.".into();
    };
    let steps = screen.policy.as_ref().map(|policy| policy.steps.as_slice()).unwrap_or_default();
    let passed = gate.rollout.as_ref().and_then(|record| usize::try_from(record.steps_passed).ok()).unwrap_or(0);
    let ask = |verb: &str| format!("`gracekeeper {verb} deploy/{} -n {}`", screen.name, screen.namespace);
    match gate.state {
        GateState::Stable if steps.is_empty() => "The next change of the template is let in and watched.".into(),
        GateState::Stable => {
            let count = if steps.len() == 1 { "1 step".into() } else { format!("{} steps", steps.len()) };
            format!("The next change of the template is let in over {count}.")
        }
        GateState::Rolling => match steps.get(passed) {
            Some(step) => {
                format!("At {} with the new version, it is paused and watched for {} s.", pods(step), step.bake_seconds)
            }
            None => {
                format!("When every pod runs the new version, it is watched for {} s more.", bake_after(screen))
            }
        },
        GateState::Baking if gate.reason == AFTER_COMPLETION => {
            format!(
                "It becomes the stable version {}, if nothing speaks against it.",
                in_time(screen, bake_after(screen))
            )
        }
        GateState::Baking => {
            let step = steps.get(passed);
            let when = in_time(screen, step.map_or(0, |step| i64::from(step.bake_seconds)));
            let what = match step.map(|step| step.approval) {
                Some(Approval::Manual) => "It waits for approval",
                _ => "The rollout goes on",
            };
            format!("{what} {when}, if nothing speaks against it.")
        }
        GateState::AwaitingApproval => format!("{} lets it go on.", ask("approve")),
        GateState::Held => held(gate, &ask),
        GateState::Restoring => "The new version is taken down to 0 pods, in strides that the strategy allows.".into(),
        GateState::Restored => {
            format!("A corrected template rolls out by itself; {} tries this one again.", ask("retry"))
        }
        GateState::Reverted if gate.reason == REVERTING => "The stable template is written back.".into(),
        GateState::Reverted => "When all pods run the stable application again, the gate is Stable.".into(),
        GateState::NotGated => not_gated(&gate.reason).into(),
    }
}

fn held(gate: &GateStatus, ask: &dyn Fn(&str) -> String) -> String {
    match gate.reason.as_str() {
        "ByRequest" => format!("{} lets it go on.", ask("resume")),
        "BudgetSpent" => format!("It goes on when the error budget allows it; {} does not wait.", ask("retry")),
        "StableFails" => "Handing back goes on when pods of the stable version do not fail any more.".into(),
        reason if TRANSIENT.contains(&reason) => {
            format!("It goes on when nothing has spoken against it for 30 s; {} does not wait.", ask("retry"))
        }
        _ => format!(
            "A corrected template rolls out by itself; {} tries this one again, {} lets it pass.",
            ask("retry"),
            ask("resume")
        ),
    }
}

fn not_gated(reason: &str) -> &'static str {
    match reason {
        "Overridden" | "StableBroken" => "When every pod runs this version, it becomes the stable one.",
        "NothingProven" => "When every pod runs this version and is available, it becomes the stable one.",
        "PausedByUser" => "Gating begins when whoever paused the Deployment resumes it.",
        "NoReplicas" => "Gating begins when replicas are wanted.",
        "AdoptedPods" => "Gating begins when the selector matches only the Deployment's own pods.",
        "Recreate" => "Gating needs the strategy RollingUpdate.",
        _ => "Gating needs a policy in mode Enforce with a rollout section.",
    }
}

/// When the bake ends: it counts from the moment in which all pods of the step are ready.
fn in_time(screen: &Screen, bake: i64) -> String {
    let since = screen.gate.as_ref().and_then(|gate| gate.rollout.as_ref()?.bake_since.as_ref());
    match since {
        None => format!("{bake} s after its pods are ready"),
        Some(since) => {
            let left = bake - screen.now.duration_since(since.0).as_secs();
            if left > 0 { format!("in {}", duration(left)) } else { "in a moment".into() }
        }
    }
}

fn bake_after(screen: &Screen) -> i64 {
    screen.policy.as_ref().map_or(0, |policy| i64::from(policy.bake_after_seconds))
}

fn pods(step: &Step) -> String {
    match &step.pods {
        IntOrString::Int(1) => "1 pod".into(),
        IntOrString::Int(pods) => format!("{pods} pods"),
        IntOrString::String(share) => format!("{share} of the pods"),
    }
}
