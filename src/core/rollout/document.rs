//! `docs/reference/rollout-gate.md`, made from the table.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::table::{Reasons, Row, TABLE};

/// The document.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    text.push_str("```mermaid\nstateDiagram-v2\n    [*] --> NotGated\n");
    let mut arrows: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in TABLE {
        let Some(to) = row.to else { continue };
        for from in row.from.iter().filter(|from| **from != to) {
            let guards = arrows.entry((format!("{from:?}"), format!("{to:?}"))).or_default();
            let guard = format!("{:?}", row.guard);
            if !guards.contains(&guard) {
                guards.push(guard);
            }
        }
    }
    for ((from, to), guards) in &arrows {
        let _ = writeln!(text, "    {from} --> {to}: {}", guards.join(", "));
    }
    text.push_str("```\n\n## Transitions\n\nTried from top to bottom; the first that fits is taken, one per look.\n\n");
    text.push_str("| From | Guard | To | Reason | Memory | Sentence |\n|---|---|---|---|---|---|\n");
    for row in TABLE {
        let _ = writeln!(
            text,
            "| {} | {:?} | {} | {} | {:?} | {} |",
            from(row),
            row.guard,
            row.to.map_or_else(|| "stays".into(), |to| format!("{to:?}")),
            row.reason,
            row.effect,
            row.sentence
        );
    }
    text
}

fn from(row: &Row) -> String {
    let states = row.from.iter().map(|state| format!("{state:?}")).collect::<Vec<_>>().join(", ");
    match row.with {
        Reasons::Any => states,
        Reasons::In(some) => format!("{states} with {}", some.join(", ")),
        Reasons::Except(some) => format!("{states} without {}", some.join(", ")),
    }
}

const HEAD: &str = "# The rollout gate

<!-- Generated from src/core/rollout/table.rs by `make generate`; do not edit. -->

What the gate does with a new version of a Deployment. StatefulSets and DaemonSets are not gated.

One look makes at most one transition and at most one write. What it intends is stored in `status.gate` of the
WorkloadHealth before it writes; each write has preconditions (uid, generation or resource version); so a crash between any
two writes ends in the same place. Nothing is decided on a view that is known to be old: `observedGeneration` behind, a
watch that has not shown our last write, no lease, or a generation older than that of our pause.

## Evidence

| Class | When |
|---|---|
| ImagePull | definite answers of the registry (not found, denied) at once, and an `ImagePullBackOff` that does not say why; a registry that does not answer after `patience.pullSeconds` |
| Config | `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`, failed hooks, at once |
| Crash | a container ended with an error (init containers and sidecars too), or the pod failed |
| OOMKilled | the kernel killed a container for its memory |
| LivenessKilled | exit 137 or 143, a liveness probe exists, and the container had been past its start |
| StartupFailed | exit 137, 143 or 0, never ready, and it ran for at least the budget of its startup probe |
| NotReadyInTime | not ready after `patience.startSeconds`, from the start of the last container |
| ReadyFlapping | lost its readiness twice within 10 minutes each, or once for 30 s, without a restart |
| RestartedAfterReady | a container restarted after the pod had been ready |
| Unschedulable | no node after `patience.scheduleSeconds` |
| Rejected | the API server refuses the pods (`ReplicaFailure`), at once; after `patience.scheduleSeconds` where the cause may pass |
| ReadinessGatePending | containers are ready, a readiness gate is not, after `patience.startSeconds`; the gates are named |

`patience.startSeconds: 0` is derived from the probes: startup budget (or else that of the liveness probe) + readiness + 10 s,
at least 60 s; 300 s when no probe bounds a start. Pods that are deleted, evicted, preempted, or on a lost node say nothing.
That a node is lost is read from the Deployment's own pods, not from nodes: a pod that had not become ready by then is let off
only where another pod of the Deployment had been ready on that node.
Events are not read, so some kills cannot be told apart: a signal of a probe, of the node, or of somebody in the pod; and a
program that ends with a code of its own on SIGTERM counts as Crash or RestartedAfterReady (with 0 after its startup budget: StartupFailed). A restart, or readiness that came and
went, says nothing more once the pod has been ready for 60 s. Restarts count as evidence only beyond `tolerate.restarts`, of
both versions alike, failed pods beyond `tolerate.failedPods`.

## Versions

Another application is another version, and so is another probe, hook or grace period that the workload itself declares: a fix of
either flows by itself. What a policy sets makes no other version: an edit of the policy neither clears a verdict nor
begins a rollout anew, but the last bake begins again with the pods that it made.

## Blame

Pods of the new and of the stable version are compared in the same window. From 5 pods on each side: Fisher's exact test,
one-sided, 5 %. Significant: Release. Not significant: Environment if stable pods show the same failure, else Unknown (a lone
bad pod). Below 5 pods the shares are compared: no stable pod fails: Release; stable pods fail as often or more: Environment;
both fail, the new ones more: Unknown. Waiting for nodes, quota or readiness gates is Unknown as long as no stable pod waits
too, and so is an API server that cannot ask its webhooks. Environment and Unknown hold, and never take capacity back; such a hold
ends by itself after 30 s without evidence. Such a hold turns against the release only for what the new version shows anew
since the stable pods were seen to be well, or for what lasts for `patience.startSeconds` from then.

## Limits of handing back

- With one pod of slack (`maxSurge` + `maxUnavailable` = 1) and another version one pod larger, the Deployment controller
  undoes every single change. The gate then tries to swap both sizes by two quick writes, at most 5 times, and otherwise
  holds (`RestoreBlocked`). Two pods of slack avoid that,
  unless pods of a third version that stands between are not ready.
- A version that is whole and all available is saturated: the controller empties the others even while paused (`Regressed`).
- With `revisionHistoryLimit: 0` the stable ReplicaSet is gone after completion (`NoStableRevision`).

## Limits of judging

- After completion there are no stable pods left to compare with: pods that crash then count against the version, whatever made
  them crash.
- How often a pod lost its readiness is known from what this process saw; right after a restart of the operator counting begins
  anew. That a pod had been ready before is told from its times.
- Which refusals of pods may pass is told from the API server's words: a webhook that cannot be called, a ServiceAccount that
  does not exist. Everything else counts at once.
- While a step, the last bake, a hold that may end by itself, or the way back is under way, a write of the policy's fields that restarts pods waits; not
  where the policy's own probes may be what it is held for. Other holds let it through. What it mends is tried again on Retry: an edit
  of the policy does not clear a verdict on the application.

## States

";
