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
| StartupFailed | exit 137 or 143, never ready, and it ran for at least the budget of its startup probe |
| NotReadyInTime | not ready after `patience.startSeconds`, from the start of the last container |
| ReadyFlapping | lost its readiness twice, or once for 30 s, without a restart |
| RestartedAfterReady | a container restarted after the pod had been ready |
| Unschedulable | no node after `patience.scheduleSeconds` |
| Rejected | the API server refuses the pods (`ReplicaFailure`) |
| ReadinessGatePending | containers are ready, a readiness gate is not, after `patience.startSeconds`; the gates are named |

`patience.startSeconds: 0` is derived from the probes: startup budget (or else that of the liveness probe) + readiness + 10 s,
at least 60 s; 300 s when no probe bounds a start. Pods that are deleted, evicted, preempted, or on a lost node say nothing.
That a node is lost is read from the Deployment's own pods, not from nodes: a pod that had not become ready by then is let off
only where another pod of the Deployment had been ready on that node.
Events are not read, so some kills cannot be told apart: a signal of a probe, of the node, or of somebody in the pod; and a
program that ends with a code of its own on SIGTERM counts as Crash or RestartedAfterReady. Restarts count as evidence only
beyond `tolerate.restarts`, failed pods beyond `tolerate.failedPods`.

## Blame

Pods of the new and of the stable version are compared in the same window. From 5 pods on each side: Fisher's exact test,
one-sided, 5 %. Significant: Release. Not significant: Environment if stable pods show the same failure, else Unknown (a lone
bad pod). Below 5 pods the shares are compared: no stable pod fails: Release; stable pods fail as often or more: Environment;
both fail, the new ones more: Unknown. Waiting for nodes, quota or readiness gates is Unknown as long as no stable pod waits
too. Environment and Unknown hold, and never take capacity back; such a hold ends by itself after 30 s without evidence.

## Limits of handing back

- With one pod of slack (`maxSurge` + `maxUnavailable` = 1) and the new version one pod larger, the Deployment controller
  undoes every single change. The gate then tries to swap both sizes by two quick writes, at most 5 times, and otherwise
  holds (`RestoreBlocked`). Two pods of slack avoid that.
- A version that is whole and all available is saturated: the controller empties the others even while paused (`Regressed`).
- With `revisionHistoryLimit: 0` the stable ReplicaSet is gone after completion (`NoStableRevision`).

## Limits of judging

- The last restart of a container counts for as long as its pod lives, also once the pod is well again: a hold for a shared failure
  (`Environment`) that made containers restart ends when those pods are replaced, or when a person asks for Resume.
- Versions are told apart by the application: a fix of probes, hooks or grace period alone is the same version, and needs Retry.
- A policy that changes the template while a rollout is paused by us leaves the paused version without pods to judge until it goes on.
- Whether a pod was ever ready is known from what this process saw: right after a restart of the operator a pod that has just lost its
  readiness may count as never ready.
- Pods that the API server refuses count at once, also when the refusal is a passing one (a ServiceAccount that is yet to come).
- A write of the stable template (`Revert`) that admission refuses is tried again ever more rarely; the rollout is not paused meanwhile.

## States

";
