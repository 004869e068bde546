//! One look at one Deployment: gather, decide, carry out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use super::availability::{Availability, Told};
use super::carry_out::{Carried, CarryOut};
use super::gate;
use super::gather::{Gathered, gather};
use super::memory::{Gates, Memory};
use super::metrics::Metrics;
use super::queue::WorkQueue;
use super::readiness::Readiness;
use super::world::{Key, World};
use super::writes::CallError;
use crate::api::gate::GateStatus;
use crate::core::backoff;
use crate::core::decide::{self, Action, Decision};
use crate::core::deployment::RolloutProgress;
use crate::core::rollout::{self, Verdict};

/// Looks at Deployments.
pub(crate) struct Workloads {
    pub(crate) world: Arc<World>,
    pub(crate) queue: Arc<WorkQueue<Key>>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) carry_out: CarryOut,
    pub(crate) readiness: Readiness,
    pub(crate) availability: Availability,
    pub(crate) decisions: Decisions,
}

/// Names each look: the second in which the process began, and a number.
pub(crate) struct Decisions {
    began: i64,
    count: AtomicU64,
}

impl Decisions {
    pub(crate) fn new() -> Self {
        Self { began: super::clock::now().as_second(), count: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        format!("{:x}-{:x}", self.began, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// Reason of a look at which the gate wrote.
const GATE: &str = "Gate";

/// Shortest time until the next look after one that stored nothing: else an error would keep a core busy.
const NOT_AT_ONCE: Duration = Duration::from_secs(1);

/// Most decisions of one look: name a rival, leave out what the server drops, take in a refusal, then act.
const MOST_DECISIONS: usize = 6;

impl Workloads {
    /// Works off the queue until it is closed. A panic is caught: it concerns one Deployment, not the process.
    pub(crate) async fn work(self: Arc<Self>) {
        while let Some((key, due)) = self.queue.next().await {
            let started = Instant::now();
            // Read by traces only; a log line names what it needs by itself.
            let span = tracing::info_span!("look", workload = %key, revision = Empty, decision = Empty, reason = Empty);
            // All that a look may come to is large: it lives on the heap, not in each worker.
            let look = AssertUnwindSafe(Box::pin(self.look(&key, due))).catch_unwind();
            match look.instrument(span.clone()).await {
                Ok(Ok((reason, again))) => {
                    self.memory.succeeded(&key);
                    span.record("reason", reason);
                    self.metrics.reconciled(reason, started.elapsed());
                    if let Some(again) = again {
                        self.queue.add_after(key.clone(), again);
                    }
                }
                Ok(Err(error)) => self.retry(&key, &error, started.elapsed()),
                Err(_) => {
                    self.metrics.panicked();
                    self.metrics.reconciled("Panic", started.elapsed());
                    let wait = self.memory.failed(&key, backoff::PERMANENT);
                    tracing::error!(workload = %key, ?wait, "a bug: looking at this Deployment panicked");
                    self.queue.add_after(key.clone(), wait);
                }
            }
            self.queue.done(&key);
            self.metrics.set_queued(self.queue.len());
        }
    }

    fn retry(&self, key: &Key, error: &CallError, took: Duration) {
        self.metrics.reconciled("Error", took);
        if let CallError::NotLeader = error {
            // The lease may be ours again in a moment; a process that lost it ends.
            return self.queue.add_after(key.clone(), backoff::TRANSIENT.first * 4);
        }
        let shape = match error {
            CallError::Forbidden(_) | CallError::Invalid(_) => backoff::PERMANENT,
            _ => backoff::TRANSIENT,
        };
        let mut wait = self.memory.failed(key, shape);
        if let CallError::Unavailable { retry_after: Some(at_least), .. } = error {
            wait = wait.max(*at_least);
        }
        // A conflict is the ordinary way to learn that the picture was old.
        if let CallError::Conflict(_) | CallError::Gone = error {
            tracing::debug!(workload = %key, %error, ?wait, "looking again");
        } else {
            tracing::warn!(workload = %key, %error, ?wait, "trying again");
        }
        self.queue.add_after(key.clone(), wait);
    }

    /// One look, due since then. Answers with its reason, and when to look again.
    async fn look(&self, key: &Key, due: Instant) -> Result<(&'static str, Option<Duration>), CallError> {
        let gathered = tracing::info_span!("gather").in_scope(|| self.world.with(|picture| gather(picture, key)));
        let Some(mut gathered) = gathered else {
            self.forget(key);
            return Ok(("Gone", None));
        };
        gathered.decision = self.decisions.next();
        let span = tracing::Span::current();
        span.record("revision", &*gathered.deployment.template_hash).record("decision", &gathered.decision);
        self.mind_rolling(key, &gathered);
        if let Some(error) = &gathered.unreadable {
            tracing::error!(workload = %key, error, "its WorkloadHealth cannot be understood; nothing is touched");
            return Ok(("MemoryInvalid", None));
        }
        gathered.slot_free = self.memory.slot_free(key);
        gathered.refusal = self.memory.refusal(key);
        let Told { status, is_budget_spent, look_again: measured } = self.availability.look(key, &gathered);
        gathered.availability = status;
        let is_fresh = self.is_fresh();
        let refused = self.memory.refused_revert(key, gathered.deployment.generation);
        let paused_at = self.memory.paused_at(key, &gathered.deployment_uid);
        let verdict = tracing::info_span!("decide_gate")
            .in_scope(|| gate::verdict(&gathered, is_fresh, is_budget_spent, refused.as_deref(), paused_at));
        if !is_fresh && verdict.is_some() {
            self.memory.looked_in_vain(key);
        }
        let memory = verdict.as_ref().map_or_else(|| gate::unchanged(&gathered), |verdict| verdict.memory.clone());
        for _ in 0..MOST_DECISIONS {
            let observed = gathered.observed(&memory);
            let decision = tracing::info_span!("decide").in_scope(|| decide::decide(&observed));
            // The gate's write comes first: it stops what goes wrong, the plan's may start a rollout.
            if let Some(verdict) = verdict.as_ref().filter(|verdict| verdict.action != rollout::Action::None) {
                let reaction = verdict.stops_for_evidence().then(|| self.memory.reacts_since(key, due));
                if reaction.is_none() {
                    self.memory.has_reacted(key);
                }
                self.carry_out.remember_gate(key, &gathered, decision.status, verdict).await?;
                self.count(key, &gathered, &memory);
                let span = tracing::info_span!("carry_out", what = "gate");
                let written = self.carry_out.gate(key, &gathered, &verdict.action).instrument(span).await;
                if let (rollout::Action::Pause { generation }, Ok(())) = (&verdict.action, &written) {
                    self.memory.paused(key, &gathered.deployment_uid, generation.saturating_add(1));
                }
                if let (Some(since), Ok(())) = (reaction, &written) {
                    self.metrics.reacted(since.elapsed());
                    self.memory.has_reacted(key);
                }
                // What it did is told once it is done: a failing version does not wait for an event to be written.
                self.carry_out.tell_gate(key, &gathered, verdict).await;
                self.take_refusal(key, &verdict.action, written)?;
                return Ok((GATE, Some(Duration::ZERO)));
            }
            self.memory.has_reacted(key);
            // The gate's news are stored and told before a plan is written: a write that fails, or a crash, must not lose them.
            let news = verdict.as_ref().filter(|verdict| verdict.event.is_some());
            if let (Action::Write(_), Some(verdict)) = (&decision.action, news) {
                self.carry_out.remember_gate(key, &gathered, decision.status, verdict).await?;
                self.gate_is_done(key, &gathered, Some(verdict), true).await;
                return Ok((GATE, Some(Duration::ZERO)));
            }
            match &decision.action {
                Action::None => {
                    let span = tracing::info_span!("carry_out", what = "status");
                    let is_stored = self.carry_out.remember(key, &gathered, &decision).instrument(span).await?;
                    let (reason, again) = self.settle(key, &gathered, &decision);
                    let gate = self.gate_is_done(key, &gathered, verdict.as_ref(), is_stored).await;
                    return Ok((reason, soonest([again, measured, gate])));
                }
                Action::NameRival => {
                    gathered.rival = Some(self.carry_out.name_rival(key, &gathered).await?);
                }
                Action::Forget => {
                    self.carry_out.forget(key, &gathered).await?;
                    self.gate_is_done(key, &gathered, verdict.as_ref(), true).await;
                    self.note_gates(self.memory.released(key));
                    return Ok(self.settle(key, &gathered, &decision));
                }
                Action::Write(plan) => {
                    let plan = plan.clone();
                    if plan.restarts_pods() && !self.memory.take_slot(key) {
                        gathered.slot_free = false;
                        continue;
                    }
                    let span = tracing::info_span!("carry_out", what = "plan");
                    let write = self.carry_out.write(key, &gathered, &decision, &plan, &memory);
                    match write.instrument(span).await {
                        Ok(Carried::Written { after, generation }) => {
                            self.memory.write_landed(key, generation);
                            let is_forgotten = after.action == Action::Forget;
                            let stored = after.status.as_ref().and_then(|status| status.gate.as_ref());
                            let is_stored = stored == Some(&memory) || is_forgotten;
                            let gate = self.gate_is_done(key, &gathered, verdict.as_ref(), is_stored).await;
                            let (reason, again) = self.settle(key, &gathered, &after);
                            if is_forgotten {
                                self.note_gates(self.memory.released(key));
                                return Ok((reason, again));
                            }
                            return Ok((reason, soonest([again, measured, gate])));
                        }
                        Ok(Carried::Refused(finding)) => {
                            self.memory.release_slot(key);
                            gathered.refusal = Some(self.memory.refused(key, plan.hash(), finding));
                        }
                        Ok(Carried::Dropped(health)) => {
                            self.memory.release_slot(key);
                            gathered.health = Some(*health);
                        }
                        Err(error) => {
                            match error {
                                // It may have landed without an answer: the slot is held until it is seen to rest.
                                CallError::Timeout(_) | CallError::Transport(_) => {
                                    self.memory.write_landed(key, gathered.deployment.generation);
                                }
                                _ => self.memory.release_slot(key),
                            }
                            return Err(error);
                        }
                    }
                }
            }
        }
        tracing::error!(workload = %key, "a bug: no decision was reached");
        Ok(("Undecided", Some(backoff::PERMANENT.first)))
    }

    /// A stable template that is refused is not tried again: the next look says so.
    fn take_refusal(
        &self,
        key: &Key,
        action: &rollout::Action,
        written: Result<(), CallError>,
    ) -> Result<(), CallError> {
        match (action, written) {
            (
                rollout::Action::RevertTemplate { generation, .. },
                Err(CallError::Invalid(said) | CallError::Forbidden(said)),
            ) => {
                tracing::warn!(workload = %key, said, "the stable template was refused");
                self.memory.refuse_revert(key, *generation, said);
                Ok(())
            }
            (_, written) => written,
        }
    }

    /// The gate's news, once what it remembers is stored, or goes with what is forgotten; answers with when it wants to
    /// look again. What was not stored did not happen: it is neither told nor counted, and looking again at once would
    /// only find the same.
    async fn gate_is_done(
        &self,
        key: &Key,
        gathered: &Gathered,
        verdict: Option<&Verdict>,
        is_stored: bool,
    ) -> Option<Duration> {
        let Some(verdict) = verdict.filter(|_| is_stored) else {
            if gathered.health.is_some() {
                self.count(key, gathered, &gate::unchanged(gathered));
            }
            let wait = verdict?.look_again.and_then(|wait| Duration::try_from(wait).ok());
            return wait.map(|wait| wait.max(NOT_AT_ONCE));
        };
        self.count(key, gathered, &verdict.memory);
        self.carry_out.tell_gate(key, gathered, verdict).await;
        verdict.look_again.and_then(|wait| Duration::try_from(wait).ok())
    }

    /// What metrics say of the gate, by what is stored: a write that fails is tried again, and counts once. A crash after
    /// it loses the count, as it does all others.
    fn count(&self, key: &Key, gathered: &Gathered, memory: &GateStatus) {
        let before = gathered.health.as_ref().and_then(|health| health.gate.as_ref());
        let ended = memory.history.last().filter(|last| before.and_then(|gate| gate.history.last()) != Some(last));
        if let Some(ended) = ended {
            self.metrics.rollout_ended(ended.outcome);
        }
        let known = |class| before.is_some_and(|gate| gate.evidence.iter().any(|one| one.class == class));
        for found in memory.evidence.iter().filter(|found| !known(found.class)) {
            self.metrics.evidence_found(found.class);
        }
        self.note_gates(self.memory.set_gate(key, memory));
    }

    fn note_gates(&self, gates: Option<Gates>) {
        if let Some(gates) = gates {
            self.metrics.set_gates(&gates.by_state, gates.oldest_hold);
        }
    }

    /// Looks again at what was looked at in vain, once there is something to go by: the gate sets no timers while the
    /// picture may be old, and a watch that fails for a moment need not bring an event. Called every few seconds.
    pub(crate) fn catch_up(&self) {
        if self.is_fresh() {
            self.wake(self.memory.take_in_vain());
        }
    }

    /// Whether the picture is complete and up to date and the lease is held: the gate acts on nothing less.
    fn is_fresh(&self) -> bool {
        self.readiness.check().is_ok() && self.carry_out.caller.may_write()
    }

    /// Ends a look: its reason, and when the next one is due.
    fn settle(&self, key: &Key, gathered: &Gathered, decision: &Decision) -> (&'static str, Option<Duration>) {
        let reason = decision.outcome.reason();
        let waits_for_turn =
            matches!(decision.outcome, decide::Outcome::Pending { cause: decide::PendingCause::Slot, .. });
        self.memory.set_waiting(key, waits_for_turn);
        if !waits_for_turn && gathered.deployment.rollout != RolloutProgress::Moving {
            self.wake(self.memory.next_waiting());
        }
        let again = decision.look_again.and_then(|wait| Duration::try_from(wait).ok());
        let retry = matches!(decision.outcome, decide::Outcome::Refused { .. })
            .then(|| self.memory.refusal_retry(key))
            .flatten();
        (reason, again.or(retry))
    }

    /// Keeps count of the Deployments that roll because of us.
    fn mind_rolling(&self, key: &Key, gathered: &Gathered) {
        let written = gathered.health.as_ref().and_then(|h| h.last_write.as_ref()).map(|w| w.generation);
        let ours = written == Some(gathered.deployment.generation) && !gathered.deployment.deleting;
        let moving = gathered.deployment.rollout == RolloutProgress::Moving && !gathered.deployment.deleting;
        if ours && moving {
            self.memory.adopt_slot(key, gathered.deployment.generation);
        } else if !moving && self.memory.settled(key, gathered.deployment.generation) {
            self.wake(self.memory.next_waiting());
        }
        self.metrics.set_rolling(self.memory.rolling());
    }

    fn forget(&self, key: &Key) {
        self.note_gates(self.memory.forget(key));
        self.availability.forget(key);
        self.wake(self.memory.next_waiting());
    }

    fn wake(&self, keys: Vec<Key>) {
        for key in keys {
            self.queue.add(key);
        }
    }
}

/// The first of these times.
fn soonest(times: [Option<Duration>; 3]) -> Option<Duration> {
    times.into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
