//! What one process remembers between two looks: failures, refusals, and whose pods are restarting because of us.
//! Losing it costs a try or two, never correctness; what must survive is in the WorkloadHealth.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::world::Key;
use crate::api::gate::{GateState, GateStatus};
use crate::core::backoff::{self, Backoff};
use crate::core::plan::Finding;
use crate::core::rollout::table::is_held;

/// A plan that the API server refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// Hash of the plan.
    pub(crate) plan: String,
    /// What it said.
    pub(crate) finding: Finding,
}

struct Refused {
    refusal: Refusal,
    tries: u32,
    retry_at: Instant,
}

#[derive(Default)]
struct Remembered {
    failures: HashMap<Key, u32>,
    refusals: HashMap<Key, Refused>,
    /// Deployments that roll because of us, with the generation of our write; `None` while it is under way.
    rolling: HashMap<Key, Option<i64>>,
    waiting: BTreeSet<Key>,
    /// Generations that were once adopted.
    adopted: HashMap<Key, i64>,
    /// State of each rollout gate, and since when.
    gates: HashMap<Key, (GateState, Option<i64>)>,
    /// Stable templates that the API server refused: for which generation of the Deployment, and its words.
    refused_reverts: HashMap<Key, (i64, String)>,
    /// Our last pauses that the API server answered: uid of the Deployment, and the generation that it got.
    pauses: HashMap<Key, (Box<str>, i64)>,
    /// Since when a pause for evidence is tried.
    reacting: HashMap<Key, Instant>,
    /// Deployments that were looked at while the picture was not up to date.
    in_vain: BTreeSet<Key>,
}

/// All rollout gates, for metrics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gates {
    pub(crate) by_state: BTreeMap<GateState, i64>,
    pub(crate) oldest_hold: Option<i64>,
}

impl Remembered {
    fn gates(&self) -> Gates {
        let mut gates = Gates::default();
        for (state, since) in self.gates.values() {
            *gates.by_state.entry(*state).or_default() += 1;
            if is_held(*state) {
                gates.oldest_hold = gates.oldest_hold.into_iter().chain(*since).min();
            }
        }
        gates
    }
}

/// What one process remembers.
pub(crate) struct Memory {
    remembered: Mutex<Remembered>,
    slots: usize,
    spread: RandomState,
}

impl Memory {
    pub(crate) fn new(slots: usize) -> Self {
        Self { remembered: Mutex::default(), slots, spread: RandomState::new() }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Remembered) -> R) -> R {
        work(&mut self.remembered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a failure; answers with how long to wait.
    pub(crate) fn failed(&self, key: &Key, shape: Backoff) -> Duration {
        let seed = self.spread.hash_one(key);
        self.with(|r| {
            let count = r.failures.entry(key.clone()).or_default();
            let wait = shape.after(*count, seed);
            *count = count.saturating_add(1);
            wait
        })
    }

    pub(crate) fn succeeded(&self, key: &Key) {
        self.with(|r| r.failures.remove(key));
    }

    /// Remembers a refusal, and when to try that plan again.
    pub(crate) fn refused(&self, key: &Key, plan: String, finding: Finding) -> Refusal {
        let seed = self.spread.hash_one(key);
        self.with(|r| {
            let tries = r.refusals.get(key).filter(|old| old.refusal.plan == plan).map_or(0, |old| old.tries + 1);
            let refusal = Refusal { plan, finding };
            let retry_at = Instant::now() + backoff::PERMANENT.after(tries, seed);
            r.refusals.insert(key.clone(), Refused { refusal: refusal.clone(), tries, retry_at });
            refusal
        })
    }

    /// The refusal that still counts: its time for another try has not come.
    pub(crate) fn refusal(&self, key: &Key) -> Option<Refusal> {
        self.with(|r| r.refusals.get(key).filter(|old| Instant::now() < old.retry_at).map(|old| old.refusal.clone()))
    }

    pub(crate) fn refusal_retry(&self, key: &Key) -> Option<Duration> {
        self.with(|r| r.refusals.get(key).map(|old| old.retry_at.saturating_duration_since(Instant::now())))
    }

    pub(crate) fn slot_free(&self, key: &Key) -> bool {
        self.with(|r| r.rolling.contains_key(key) || r.rolling.len() < self.slots)
    }

    /// Takes a slot for a write; false when none is free.
    pub(crate) fn take_slot(&self, key: &Key) -> bool {
        self.with(|r| {
            let free = r.rolling.contains_key(key) || r.rolling.len() < self.slots;
            if free {
                r.rolling.insert(key.clone(), None);
            }
            free
        })
    }

    /// The write did not happen.
    pub(crate) fn release_slot(&self, key: &Key) {
        self.with(|r| r.rolling.remove(key));
    }

    /// The write happened, and the picture shows it.
    pub(crate) fn write_landed(&self, key: &Key, generation: i64) {
        self.with(|r| {
            r.refusals.remove(key);
            if let Some(written) = r.rolling.get_mut(key) {
                *written = Some(generation);
            }
        });
    }

    /// A Deployment that is seen to roll because of us, perhaps since before this process began.
    /// Only the first look adopts: one that had come to rest and loses pods later is no rollout of ours.
    pub(crate) fn adopt_slot(&self, key: &Key, generation: i64) {
        self.with(|r| {
            if r.adopted.insert(key.clone(), generation).is_none_or(|seen| seen < generation) {
                r.rolling.insert(key.clone(), Some(generation));
            }
        });
    }

    /// A Deployment that is seen not to roll; true when that frees a slot.
    pub(crate) fn settled(&self, key: &Key, generation: i64) -> bool {
        self.with(|r| match r.rolling.get(key) {
            Some(Some(written)) if *written <= generation => r.rolling.remove(key).is_some(),
            _ => false,
        })
    }

    /// Whether anything is remembered of a Deployment.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.with(|r| {
            r.rolling.contains_key(key)
                || r.waiting.contains(key)
                || r.refusals.contains_key(key)
                || r.failures.contains_key(key)
                || r.gates.contains_key(key)
                || r.refused_reverts.contains_key(key)
                || r.pauses.contains_key(key)
        })
    }

    pub(crate) fn rolling(&self) -> usize {
        self.with(|r| r.rolling.len())
    }

    pub(crate) fn set_waiting(&self, key: &Key, waits: bool) {
        self.with(|r| if waits { r.waiting.insert(key.clone()) } else { r.waiting.remove(key) });
    }

    /// As many that wait for their turn as there are free slots.
    pub(crate) fn next_waiting(&self) -> Vec<Key> {
        self.with(|r| {
            let free = self.slots.saturating_sub(r.rolling.len());
            let next: Vec<Key> = r.waiting.iter().take(free).cloned().collect();
            for key in &next {
                r.waiting.remove(key);
            }
            next
        })
    }

    /// Takes note of a gate; answers with all of them when they may have changed.
    pub(crate) fn set_gate(&self, key: &Key, gate: &GateStatus) -> Option<Gates> {
        let now = (gate.state, gate.since.as_ref().map(|since| since.0.as_second()));
        self.with(|r| (r.gates.insert(key.clone(), now) != Some(now)).then(|| r.gates()))
    }

    /// The gate decided nothing, for the picture was not up to date.
    pub(crate) fn looked_in_vain(&self, key: &Key) {
        self.with(|r| r.in_vain.insert(key.clone()));
    }

    /// All that were looked at in vain since the last call.
    pub(crate) fn take_in_vain(&self) -> Vec<Key> {
        self.with(|r| std::mem::take(&mut r.in_vain)).into_iter().collect()
    }

    /// The API server refused the stable template for a Deployment of this generation.
    pub(crate) fn refuse_revert(&self, key: &Key, generation: i64, said: String) {
        self.with(|r| r.refused_reverts.insert(key.clone(), (generation, said)));
    }

    /// Its words, if it did.
    pub(crate) fn refused_revert(&self, key: &Key, generation: i64) -> Option<String> {
        self.with(|r| r.refused_reverts.get(key).filter(|(of, _)| *of == generation).map(|(_, said)| said.clone()))
    }

    /// The API server has paused the Deployment for us, which brought this generation.
    pub(crate) fn paused(&self, key: &Key, uid: &str, generation: i64) {
        self.with(|r| r.pauses.insert(key.clone(), (uid.into(), generation)));
    }

    /// The generation that our last pause of this Deployment brought.
    pub(crate) fn paused_at(&self, key: &Key, uid: &str) -> Option<i64> {
        self.with(|r| r.pauses.get(key).filter(|(of, _)| **of == *uid).map(|(_, generation)| *generation))
    }

    /// A pause for evidence is about to be written; answers with since when it is tried, failures included.
    pub(crate) fn reacts_since(&self, key: &Key, due: Instant) -> Instant {
        self.with(|r| *r.reacting.entry(key.clone()).or_insert(due))
    }

    /// The pause stands, or is not wanted any more.
    pub(crate) fn has_reacted(&self, key: &Key) {
        self.with(|r| r.reacting.remove(key));
    }

    /// Nothing of ours is left in it: what is remembered for a policy goes, a slot is held until its rollout ends. Answers
    /// with all gates that are left, when it had one.
    pub(crate) fn released(&self, key: &Key) -> Option<Gates> {
        self.with(|r| {
            r.refused_reverts.remove(key);
            r.pauses.remove(key);
            r.refusals.remove(key);
            r.failures.remove(key);
            r.gates.remove(key).map(|_| r.gates())
        })
    }

    /// It is gone; answers as above.
    pub(crate) fn forget(&self, key: &Key) -> Option<Gates> {
        self.with(|r| {
            r.refused_reverts.remove(key);
            r.pauses.remove(key);
            r.in_vain.remove(key);
            r.reacting.remove(key);
            r.adopted.remove(key);
            r.failures.remove(key);
            r.refusals.remove(key);
            r.rolling.remove(key);
            r.waiting.remove(key);
            r.gates.remove(key).map(|_| r.gates())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_deployments_roll_than_there_are_slots() {
        let memory = Memory::new(2);
        assert!(memory.take_slot(&key("a")) && memory.take_slot(&key("b")));
        assert!(!memory.take_slot(&key("c")));
        memory.set_waiting(&key("c"), true);
        memory.set_waiting(&key("d"), true);
        assert_eq!(memory.next_waiting(), []);
        assert!(!memory.settled(&key("a"), 7), "the write is under way");
        memory.write_landed(&key("a"), 8);
        assert!(!memory.settled(&key("a"), 7), "the picture is older than the write");
        assert!(memory.settled(&key("a"), 8));
        assert_eq!(memory.next_waiting(), [key("c")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reaction_that_fails_and_is_tried_again_counts_from_its_first_try() {
        let memory = Memory::new(1);
        let first = Instant::now();
        assert_eq!(memory.reacts_since(&key("a"), first), first);
        let later = first + Duration::from_secs(2);
        assert_eq!(memory.reacts_since(&key("a"), later), first);
        memory.has_reacted(&key("a"));
        assert_eq!(memory.reacts_since(&key("a"), later), later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_plan_is_tried_again_later_and_another_plan_at_once() {
        let finding = Finding::new(crate::core::plan::Reason::Denied, "", "no");
        let memory = Memory::new(1);
        memory.refused(&key("a"), "plan-1".into(), finding.clone());
        assert_eq!(memory.refusal(&key("a")).map(|r| r.plan), Some("plan-1".into()));
        tokio::time::advance(Duration::from_secs(13)).await;
        assert_eq!(memory.refusal(&key("a")), None);
        memory.refused(&key("a"), "plan-1".into(), finding);
        tokio::time::advance(Duration::from_secs(13)).await;
        assert!(memory.refusal(&key("a")).is_some(), "the second wait is longer");
    }
}
