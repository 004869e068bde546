//! The ledgers of all Deployments whose availability is measured. A watch event is taken in when it arrives, not when
//! a worker comes to it; what is to be stored is decided at the look that follows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::gather::Gathered;
use super::watching::{Watching, now};
use super::world::{HealthEntry, Key, Picture, World, parse_uid};
use crate::api::availability::Availability as Promised;
use crate::api::availability_status::AvailabilityStatus;
use crate::api::gate::GateStatus;
use crate::api::rollout::{Rollout, WhenBudgetSpent};
use crate::core::availability::{Ledger, Objective, Sight, Spender, enough, measure};
use crate::core::rollout::PodView;
use crate::core::rollout::table::is_held;
use crate::core::slo::{AvailabilitySample, WorkloadSample};

/// All ledgers.
pub(crate) struct Availability {
    world: Arc<World>,
    watching: Watching,
    entries: Mutex<HashMap<Key, Entry>>,
}

/// One Deployment.
struct Entry {
    /// Uid of the Deployment.
    uid: Box<str>,
    promised: Promised,
    objective: Objective,
    gate: GateStatus,
    ledger: Option<Ledger>,
    spender: Spender,
    /// Whether the ledger says something that was not yet given out to be stored.
    is_new: bool,
    /// What was last given out to be stored.
    told: Option<AvailabilityStatus>,
    /// The ledger of that: what a successor knows.
    given: Option<Ledger>,
    /// When to look again for want of an event.
    look_again: Option<i64>,
}

/// What a look has to know.
#[derive(Default)]
pub(crate) struct Told {
    /// What is to be stored, or what is.
    pub(crate) status: Option<AvailabilityStatus>,
    /// Whether the error budget is spent; false where the policy does not ask.
    pub(crate) is_budget_spent: bool,
    /// When to look again even if nothing happens.
    pub(crate) look_again: Option<Duration>,
}

impl Availability {
    pub(crate) fn new(world: Arc<World>, watching: Watching) -> Self {
        Self { world, watching, entries: Mutex::default() }
    }

    /// The picture's lock is taken inside of this one, never the other way round.
    fn with<R>(&self, work: impl FnOnce(&mut HashMap<Key, Entry>) -> R) -> R {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something about this Deployment has just changed.
    pub(crate) fn see(&self, key: &Key) {
        let Some(watched) = self.watching.current() else { return };
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(key) {
                let gone = !self.world.with(|picture| entry.see(picture, key, &watched));
                if gone {
                    entries.remove(key);
                }
            }
        });
    }

    /// What is to be stored of this Deployment, as its policy wants it measured.
    pub(crate) fn look(&self, key: &Key, gathered: &Gathered) -> Told {
        let stored = gathered.health.as_ref().and_then(|health| health.availability.as_ref());
        let unchanged = || Told { status: stored.cloned(), ..Told::default() };
        let Some((_, policy)) = &gathered.owner else {
            // Nobody measures it any more: what is stored would pass for what lasts.
            self.forget(key);
            return Told::default();
        };
        let Ok(spec) = policy.object.spec.as_deref() else { return unchanged() };
        let parsed = spec
            .availability
            .as_ref()
            .and_then(|promised| Some((promised, Objective::parse(&promised.objective, promised.window_days)?)));
        let Some((promised, objective)) = parsed else {
            self.forget(key);
            return Told::default();
        };
        let Some(watched) = self.watching.current() else { return unchanged() };
        self.with(|entries| {
            let uid = &gathered.deployment_uid;
            let known = entries.remove(key).filter(|entry| entry.uid == *uid);
            let mut entry = match known {
                Some(entry) => entry,
                None => match begin(uid, promised, objective, stored) {
                    Ok(entry) => entry,
                    Err(error) => {
                        tracing::error!(workload = %key, %error, "its availability is not measured");
                        return unchanged();
                    }
                },
            };
            entry.is_new |= entry.promised != *promised;
            (entry.promised, entry.objective) = (promised.clone(), objective);
            entry.gate = gathered.health.as_ref().and_then(|health| health.gate.clone()).unwrap_or_default();
            self.world.with(|picture| entry.see(picture, key, &watched));
            let reads_budget = |rollout: &Rollout| rollout.when_budget_spent != WhenBudgetSpent::Proceed;
            let told = entry.tell(now(), stored, spec.rollout.as_ref().is_some_and(reads_budget));
            entries.insert(key.clone(), entry);
            told
        })
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.with(|entries| entries.remove(key));
    }

    /// What a scrape sees of all governed Deployments; nothing on a replica that never led.
    pub(crate) fn samples(&self) -> Vec<WorkloadSample> {
        let Some((watched, renewed)) = self.watching.known() else { return Vec::new() };
        let now = now();
        let measured: HashMap<Key, AvailabilitySample> = self.with(|entries| {
            let sample = |(key, entry): (&Key, &Entry)| {
                let ledger = entry.ledger.as_ref()?;
                let stored = entry.given.as_ref().unwrap_or(ledger);
                let lease = (&watched, renewed);
                Some((key.clone(), AvailabilitySample::of(ledger, stored, lease, entry.objective, now)))
            };
            entries.iter().filter_map(sample).collect()
        });
        self.world.with(|picture| {
            let sample = |(key, health): (&Key, &HealthEntry)| {
                let status = health.status.as_deref().ok()?;
                let policy = status.policy.as_ref()?;
                Some(WorkloadSample {
                    namespace: key.namespace.to_string(),
                    workload: key.name.to_string(),
                    policy: policy.name.clone(),
                    availability: measured.get(key).cloned(),
                    held_since: status.gate.as_ref().filter(|gate| is_held(gate.state)).and_then(since),
                    contended: status.contention.as_ref().is_some_and(|one| one.retry_after.is_some()),
                })
            };
            picture.healths.iter().filter_map(sample).collect()
        })
    }
}

fn since(gate: &GateStatus) -> Option<i64> {
    gate.since.as_ref().map(|since| since.0.as_second())
}

/// Goes on with the stored ledger, if there is one.
fn begin(
    uid: &str,
    promised: &Promised,
    objective: Objective,
    stored: Option<&AvailabilityStatus>,
) -> Result<Entry, crate::core::availability::DecodeError> {
    let ledger = stored.map(Ledger::of_status).transpose()?.flatten();
    Ok(Entry {
        uid: uid.into(),
        promised: promised.clone(),
        objective,
        gate: GateStatus::default(),
        given: ledger.clone(),
        ledger,
        spender: Spender::new(now()),
        is_new: false,
        told: stored.cloned(),
        look_again: None,
    })
}

impl Entry {
    /// Takes in what the picture shows; false when it shows no such Deployment.
    fn see(&mut self, picture: &Picture, key: &Key, watched: &crate::core::availability::Watched) -> bool {
        let Some(deployment) = picture.deployments.get(key).filter(|entry| entry.uid == self.uid) else { return false };
        let pods: Vec<&PodView> = picture.all_pods_of(parse_uid(&self.uid)).collect();
        let projection = &deployment.projection;
        let sight = Sight {
            now: now(),
            deployment: projection,
            gate: &self.gate,
            pods: &pods,
            enough: enough(&self.promised.min_available, projection.deployed.replicas),
        };
        let measured = measure(self.ledger.take(), &sight, watched);
        self.ledger = Some(measured.ledger);
        self.is_new |= measured.is_new;
        self.look_again = measured.look_again;
        true
    }

    /// What is to be stored now. A workload that flaps is stored at its first changes, then more rarely; meanwhile what
    /// is stored says that it does not last.
    fn tell(&mut self, now: i64, stored: Option<&AvailabilityStatus>, reads_budget: bool) -> Told {
        let Some(ledger) = &mut self.ledger else { return Told::default() };
        let days = self.objective.days();
        let settles_at = (!ledger.is_settled()).then(|| self.spender.next());
        let refresh_at = ledger.refresh_at(days);
        let is_due = |at: Option<i64>| at.is_some_and(|at| at <= now);
        let mut look_again = self.look_again;
        if self.is_new || is_due(settles_at) || is_due(refresh_at) {
            match self.spender.spend(now) {
                Ok(more) => {
                    ledger.advance(now);
                    ledger.settle(more);
                    self.told = Some(ledger.to_status(&self.objective, &self.promised.objective));
                    self.given = Some(ledger.clone());
                    self.is_new = false;
                }
                Err(at) => look_again = look_again.into_iter().chain([at]).min(),
            }
        }
        let settles_at = (!ledger.is_settled()).then(|| self.spender.next());
        let next = look_again.into_iter().chain(settles_at).chain(ledger.refresh_at(days)).min();
        Told {
            status: self.told.clone().or_else(|| stored.cloned()),
            is_budget_spent: reads_budget && ledger.is_budget_spent(now, &self.objective),
            look_again: next
                .map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0).max(10))),
        }
    }
}
