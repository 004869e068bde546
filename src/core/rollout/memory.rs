//! What the gate remembers, and how transitions change it. A memory that says the same is equal to the stored one, times
//! included, so that it is not written again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::assess::Assessment;
use super::facts::Paused;
use super::gate::is_step_ready;
use super::reasons::is_transient;
use super::restore;
use super::situation::{Seen, Situation, find_rejected, is_same, stable_revision};
use super::table::{AFTER_COMPLETION, AT_STEP, Effect, Wants, wants};
use crate::api::gate::{
    GateState, GateStatus, MAX_HISTORY, MAX_REJECTED, MAX_REQUESTS, Outcome, PastRollout, PausedByUs, Proven, Rejected,
    RolloutRecord, Version,
};

/// Brings the memory up to what is seen of our own writes, and follows edits of the policy.
pub(super) fn note(memory: &mut GateStatus, seen: &Seen<'_>) {
    let deployment = seen.deployment;
    let wanted = wants(memory.state, &memory.reason);
    let is_ours = seen.is_pause_ours(memory);
    let unseen = seen.unseen_pause(memory);
    match &mut memory.paused_by_us {
        Some(pause) if is_ours => {
            pause.template_hash.clone_from(&deployment.version.template_hash);
            // The first look counts: it tells older views, in which nothing was paused, from a resume by others.
            if !pause.seen {
                pause.seen = true;
                pause.generation = pause.generation.max(deployment.generation);
            }
        }
        // The memory of it was lost.
        None if is_ours && wanted == Wants::Pause => {
            memory.paused_by_us = Some(PausedByUs {
                template_hash: deployment.version.template_hash.clone(),
                reason: memory.reason.clone(),
                generation: deployment.generation,
                seen: true,
            });
        }
        Some(_) if deployment.paused == Paused::No && wanted == Wants::Flow => memory.paused_by_us = None,
        // It was written, and somebody resumed the Deployment before we looked again.
        Some(pause) if let Some(generation) = unseen => {
            pause.seen = true;
            pause.generation = generation;
        }
        _ => {}
    }
    let stable = memory.stable.clone();
    if let Some(record) = &mut memory.rollout
        && is_same(&record.version, &deployment.version, stable.as_ref())
    {
        // What was proven so far was proven of other pods: the last bake begins anew once they are replaced.
        if record.version.template_hash != deployment.version.template_hash && record.complete {
            record.bake_since = None;
        }
        // A policy edit neither clears nor triggers a verdict on the application. What the workload declares is not always
        // looked up.
        let declared_hash = if deployment.version.declared_hash.is_empty() {
            std::mem::take(&mut record.version.declared_hash)
        } else {
            deployment.version.declared_hash.clone()
        };
        record.version = Version { declared_hash, ..deployment.version.clone() };
    }
    if let (Some(stable), Some(current)) = (&mut memory.stable, seen.current())
        && stable.version.template_hash == current.version.template_hash
    {
        // The ReplicaSet was made anew.
        stable.replica_set_uid = current.uid.to_string();
        stable.replica_set = current.name.to_string();
    }
}

/// Takes over what the pods say.
pub(super) fn track(memory: &mut GateStatus, seen: &Seen<'_>, assessment: &Assessment, restore: &restore::Step) {
    let is_judged = memory.rollout.is_some()
        && matches!(
            memory.state,
            GateState::Rolling | GateState::Baking | GateState::AwaitingApproval | GateState::Held
        );
    if is_judged {
        // What a version was rejected for stays to be read, even when its pods are gone.
        let is_closed = find_rejected(memory, &seen.deployment.version).is_some() && assessment.evidence.is_empty();
        if !is_closed {
            memory.evidence.clone_from(&assessment.evidence);
            memory.blame.clone_from(&assessment.blame);
        }
    }
    let is_ready = is_step_ready(seen, memory, assessment.candidate_ready);
    let (state, reason) = (memory.state, memory.reason.clone());
    let stable = stable_revision(seen, memory);
    let is_transient = is_transient(memory);
    let is_stuck = state == GateState::Restoring
        && assessment.stable_failed > 0
        && stable.is_some()
        && *restore == restore::Step::NotYet;
    let Some(record) = &mut memory.rollout else { return };
    if state == GateState::Baking && reason == AT_STEP {
        note_since(&mut record.bake_since, is_ready, seen);
    }
    if state == GateState::Baking && reason == AFTER_COMPLETION && seen.is_complete() {
        note_since(&mut record.bake_since, true, seen);
    }
    note_since(&mut record.clear_since, is_transient && !assessment.is_against, seen);
    note_since(&mut record.stuck_since, is_stuck, seen);
    if let Some(stable) = stable.filter(|stable| stable.replicas > 0) {
        record.stable_broken = is_worse(assessment, stable.replicas);
    }
    let wanted = seen.deployment.replicas;
    let ready = seen.ready().min(wanted);
    let short = i64::from(wanted) - i64::from(ready);
    let known = record.worst_of.zip(record.worst_ready).map_or(-1, |(of, ready)| i64::from(of) - i64::from(ready));
    if short > known {
        record.worst_ready = i32::try_from(ready).ok();
        record.worst_of = i32::try_from(wanted).ok();
    }
}

/// Since when something holds: None while it does not.
fn note_since(since: &mut Option<Time>, holds: bool, seen: &Seen<'_>) {
    match (holds, &since) {
        (true, None) => *since = Some(Time(seen.now)),
        (false, Some(_)) => *since = None,
        _ => {}
    }
}

/// Most pods of the stable version fail, and fewer of the new one: then it is the fix, and is not stopped.
fn is_worse(assessment: &Assessment, stable_size: u32) -> bool {
    let failed = u64::from(assessment.stable_failed);
    let share = failed * u64::from(assessment.candidate_pods.max(1));
    let candidate_share = u64::from(assessment.candidate_failed) * u64::from(stable_size);
    failed * 2 > u64::from(stable_size) && share > candidate_share
}

/// Carries out a transition's effect.
pub(super) fn apply(effect: Effect, reason: &str, situation: &Situation<'_>, memory: &mut GateStatus) {
    let seen = situation.seen;
    let version = &seen.deployment.version;
    let now = Time(seen.now);
    match effect {
        Effect::None => {
            if let Some(record) = &mut memory.rollout {
                record.bake_since = None;
                record.clear_since = None;
            }
        }
        Effect::Ungate => end(memory, Outcome::Ungated, reason, seen),
        Effect::YieldPause => {
            memory.paused_by_us = None;
            end(memory, Outcome::Ungated, reason, seen);
        }
        Effect::Override => {
            memory.overridden = Some(version.clone());
            end(memory, Outcome::Overridden, reason, seen);
            if situation.is_unpaused_by_other() {
                memory.paused_by_us = None;
            }
        }
        Effect::Begin => {
            end(memory, Outcome::Superseded, reason, seen);
            memory.overridden = None;
            memory.rollout = Some(begin(version, &now));
        }
        Effect::EndAtStable => {
            end(memory, Outcome::Superseded, reason, seen);
            memory.overridden = None;
        }
        Effect::Prove => prove(memory, reason, seen),
        Effect::PassStep => {
            if let Some(record) = &mut memory.rollout {
                record.steps_passed = record.steps_passed.saturating_add(1);
                record.bake_since = None;
            }
        }
        Effect::SkipSteps => {
            let steps = i32::try_from(situation.steps().len()).unwrap_or(i32::MAX);
            if let Some(record) = &mut memory.rollout {
                record.steps_passed = steps;
                record.bake_since = None;
            }
        }
        Effect::Retry => {
            memory.evidence.clear();
            memory.blame = None;
            let record = memory.rollout.get_or_insert_with(|| begin(version, &now));
            record.retried = Some(now);
            record.swaps = 0;
            record.complete = false;
        }
        Effect::MarkComplete => {
            if let Some(record) = &mut memory.rollout {
                record.complete = true;
                record.bake_since = Some(now);
            }
        }
        Effect::Reject => reject(memory, version, reason, &now, false),
        Effect::TakeBack => {
            reject(memory, version, reason, &now, true);
            if let Some(record) = &mut memory.rollout {
                record.swaps = 0;
            }
        }
        Effect::KeepNotTaken => {
            if let Some(rejected) = rejection(memory, version) {
                rejected.taken_back = false;
            }
        }
        Effect::EndRestored => log(memory, Outcome::Restored, reason, seen),
        Effect::EndReverted => {
            end(memory, Outcome::Reverted, reason, seen);
        }
    }
}

/// Remembers that a request was taken up.
pub(super) fn remember_request(memory: &mut GateStatus, id: &str) {
    if !memory.applied_requests.iter().any(|known| known == id) {
        memory.applied_requests.push(id.chars().take(64).collect());
        keep_newest(&mut memory.applied_requests, MAX_REQUESTS);
    }
}

fn begin(version: &Version, now: &Time) -> RolloutRecord {
    RolloutRecord {
        version: version.clone(),
        started: now.clone(),
        steps_passed: 0,
        complete: false,
        bake_since: None,
        clear_since: None,
        retried: None,
        stable_broken: false,
        stuck_since: None,
        swaps: 0,
        worst_ready: None,
        worst_of: None,
    }
}

/// The record ends.
fn end(memory: &mut GateStatus, outcome: Outcome, reason: &str, seen: &Seen<'_>) {
    // What ended in a hold or a restore is told as such, whatever comes after it.
    let outcome = match (memory.state, outcome) {
        (GateState::Held, Outcome::Superseded) => Outcome::Held,
        (GateState::Restored, Outcome::Superseded | Outcome::Ungated) => Outcome::Restored,
        (_, outcome) => outcome,
    };
    let reason = match outcome {
        // What was overridden is worth more than that it was.
        Outcome::Held => memory.reason.clone(),
        Outcome::Overridden if reason == "Overridden" => memory.reason.clone(),
        _ => reason.into(),
    };
    log(memory, outcome, &reason, seen);
    memory.rollout = None;
    memory.evidence.clear();
    memory.blame = None;
}

/// Writes the record into the history; one entry per rollout, the last word counts.
fn log(memory: &mut GateStatus, outcome: Outcome, reason: &str, seen: &Seen<'_>) {
    let Some(record) = &memory.rollout else { return };
    let is_same_rollout =
        |past: &PastRollout| past.started == record.started && past.version.app_hash == record.version.app_hash;
    if memory.history.last().is_some_and(|past| is_same_rollout(past) && past.outcome == outcome) {
        return;
    }
    let past = PastRollout {
        version: record.version.clone(),
        outcome,
        reason: reason.into(),
        started: record.started.clone(),
        seconds: seen.now.duration_since(record.started.0).as_secs().max(0),
        worst_ready: record.worst_ready,
        worst_of: record.worst_of,
    };
    if memory.history.last().is_some_and(is_same_rollout) {
        memory.history.pop();
    }
    memory.history.push(past);
    keep_newest(&mut memory.history, MAX_HISTORY);
}

fn prove(memory: &mut GateStatus, reason: &str, seen: &Seen<'_>) {
    end(memory, Outcome::Completed, reason, seen);
    let version = &seen.deployment.version;
    let stable = memory.stable.take();
    memory.rejected.retain(|rejected| !is_same(&rejected.version, version, stable.as_ref()));
    memory.overridden = None;
    memory.stable = seen.current().map(|current| Proven {
        replica_set_uid: current.uid.to_string(),
        replica_set: current.name.to_string(),
        version: version.clone(),
    });
}

/// What is remembered of a version that was rejected, to be changed: as `find_rejected`.
fn rejection<'a>(memory: &'a mut GateStatus, version: &Version) -> Option<&'a mut Rejected> {
    let stable = memory.stable.as_ref();
    memory.rejected.iter_mut().rev().find(|rejected| is_same(&rejected.version, version, stable))
}

fn reject(memory: &mut GateStatus, version: &Version, reason: &str, now: &Time, taken_back: bool) {
    if let Some(rejected) = rejection(memory, version) {
        rejected.taken_back |= taken_back;
        return;
    }
    let evidence = memory.evidence.first().map(|evidence| format!("{:?}", evidence.class));
    let mut version = version.clone();
    if memory.stable.as_ref().is_some_and(|stable| stable.version.app_hash == version.app_hash) {
        // Only policy fields differ: the application itself is not bad.
        version.app_hash = String::new();
    }
    memory.rejected.push(Rejected {
        version,
        reason: evidence.unwrap_or_else(|| reason.into()),
        time: now.clone(),
        taken_back,
    });
    keep_newest(&mut memory.rejected, MAX_REJECTED);
}

fn keep_newest<T>(list: &mut Vec<T>, most: usize) {
    let surplus = list.len().saturating_sub(most);
    list.drain(..surplus);
}
