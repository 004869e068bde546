//! Pods that are on their way out, and what was seen of those that are gone: part of the picture. Costs nothing while no
//! pod goes, and a few hundred bytes for one that does.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::world::Key;
use crate::api::shutdown_status::ShutdownStatus;
use crate::core::rollout::PodView;
use crate::core::shutdown::{Departure, Evidence, ended};

/// Pods that are followed at the same time, at most: those of a fleet that goes all at once tell no more than some.
const MOST_GOING: usize = 4_096;
/// EndpointSlices of one pod that are told apart; a pod of more Services is measured by these.
const MOST_SLICES: usize = 16;

/// Pods on their way out, and what is known of those that went.
#[derive(Default)]
pub(crate) struct Departures {
    /// Whether this process leads. A standby notes nothing: the leader stores the same pods.
    is_on: bool,
    going: HashMap<u128, Going>,
    seen: HashMap<Key, Evidence>,
    /// Namespaces whose EndpointSlices are followed; the empty one stands for all.
    followed: HashSet<Box<str>>,
}

/// One pod on its way out.
#[derive(Default)]
struct Going {
    /// Its Deployment and the hash of its application; `None` until its deletion was seen.
    of: Option<(Key, Box<str>)>,
    /// When its deletion was seen; `None` as well when it is not measured.
    since: Option<Instant>,
    /// Slices that have shown it.
    shown_by: Vec<u128>,
    /// When the last of these did, for the first time.
    slowest: Option<Duration>,
}

impl Departures {
    /// This process leads from now on.
    pub(crate) fn switch_on(&mut self) {
        self.is_on = true;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The deletion of a pod was seen just now, or was found in a list: then nobody knows since when it goes.
    pub(crate) fn begins(&mut self, uid: u128, of: (Key, Box<str>), was_ready: bool, is_news: bool) {
        if !self.is_on || self.going.len() >= MOST_GOING && !self.going.contains_key(&uid) {
            return;
        }
        let is_followed = self.followed.contains("") || self.followed.contains(&*of.0.namespace);
        let going = self.going.entry(uid).or_default();
        if going.of.is_some() {
            return;
        }
        going.of = Some(of);
        // One that was not ready stood in no slice as such.
        going.since = (was_ready && is_news && is_followed).then(Instant::now);
        // What slices showed before the pod's own watch did came at once.
        going.slowest = (!going.shown_by.is_empty()).then_some(Duration::ZERO);
    }

    /// A slice shows a pod on its way out. `is_here` tells whether the picture has that pod, not yet on its way.
    pub(crate) fn shown(&mut self, slice: u128, pod: u128, is_here: impl FnOnce() -> bool) {
        let known = self.going.contains_key(&pod);
        if !self.is_on || !known && (self.going.len() >= MOST_GOING || !is_here()) {
            return;
        }
        let going = self.going.entry(pod).or_default();
        if going.shown_by.contains(&slice) || going.shown_by.len() >= MOST_SLICES {
            return;
        }
        going.shown_by.push(slice);
        going.slowest = going.since.map(|since| since.elapsed()).or(going.slowest);
    }

    /// A pod is gone. `stored` is what is stored of its Deployment, if it is governed.
    pub(crate) fn ends(
        &mut self,
        uid: u128,
        pod: &PodView,
        now: Timestamp,
        stored: impl FnOnce(&Key) -> Option<Option<ShutdownStatus>>,
    ) {
        let Some(going) = self.going.remove(&uid) else { return };
        let Some((key, app)) = going.of else { return };
        let removal = going.slowest.filter(|_| going.since.is_some());
        let departure = Departure { app: &app, removal, end: ended(pod) };
        if departure.removal.is_none() && departure.end.is_none() {
            return;
        }
        if !self.seen.contains_key(&key) {
            let Some(stored) = stored(&key) else { return };
            let evidence = stored.as_ref().map(Evidence::of_status).unwrap_or_default();
            self.seen.insert(key.clone(), evidence);
        }
        if let Some(evidence) = self.seen.get_mut(&key) {
            evidence.take_in(&departure, now);
        }
    }

    /// The Deployment, or what is remembered of it, is gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }

    /// What is to be stored of a Deployment, if pods of it went since this process leads.
    pub(crate) fn told(&self, key: &Key) -> Option<ShutdownStatus> {
        self.seen.get(key)?.to_status()
    }

    /// The slices of a namespace, or of all when it is empty, are followed from now on without a gap.
    pub(crate) fn follow(&mut self, namespace: &str) {
        self.followed.insert(namespace.into());
    }

    /// What slices show comes late from now on, or not at all: pods on their way are not measured any more.
    pub(crate) fn lose(&mut self, namespace: &str) {
        self.followed.remove(namespace);
        for going in self.going.values_mut() {
            if going.of.as_ref().is_none_or(|(key, _)| namespace.is_empty() || *key.namespace == *namespace) {
                going.since = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::rollout::PodView;

    fn departures() -> Departures {
        let mut departures = Departures::default();
        departures.switch_on();
        departures.follow("");
        departures
    }

    fn of() -> (Key, Box<str>) {
        (Key::new("shop", "web"), "app".into())
    }

    /// The pod is gone; answers with how many were timed, and the slowest.
    fn removals(departures: &mut Departures) -> Option<(i32, Option<i64>)> {
        departures.ends(1, &PodView::default(), Timestamp::UNIX_EPOCH, |_| Some(None));
        departures.told(&of().0).map(|status| (status.observed_removals, status.removal_millis))
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_measured_until_the_last_of_its_slices_has_shown_it() {
        let mut departures = departures();
        departures.begins(1, of(), true, true);
        tokio::time::advance(Duration::from_millis(300)).await;
        departures.shown(10, 1, || true);
        tokio::time::advance(Duration::from_millis(300)).await;
        departures.shown(11, 1, || true);
        tokio::time::advance(Duration::from_secs(60)).await;
        departures.shown(10, 1, || true); // for another pod's sake
        departures.begins(1, of(), true, true); // another event of the same pod
        assert_eq!(removals(&mut departures), Some((1, Some(600))));
        assert!(departures.going.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slice_that_is_seen_before_the_pod_came_at_once() {
        let mut departures = departures();
        departures.shown(10, 1, || true);
        tokio::time::advance(Duration::from_secs(1)).await;
        departures.begins(1, of(), true, true);
        tokio::time::advance(Duration::from_secs(1)).await;
        departures.shown(10, 1, || true);
        assert_eq!(removals(&mut departures), Some((1, Some(0))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_can_have_timed_is_not_evidence() {
        type Story = fn(&mut Departures);
        let stories: [(&str, Story); 7] = [
            ("in no Service", |d| d.begins(1, of(), true, true)),
            ("not ready before", |d| {
                d.begins(1, of(), false, true);
                d.shown(10, 1, || true);
            }),
            ("found in a list", |d| {
                d.begins(1, of(), true, false);
                d.shown(10, 1, || true);
            }),
            ("slices are not followed", |d| {
                d.lose("");
                d.begins(1, of(), true, true);
                d.shown(10, 1, || true);
            }),
            ("the watch broke in between", |d| {
                d.begins(1, of(), true, true);
                d.lose("");
                d.follow("");
                d.shown(10, 1, || true);
            }),
            ("a pod that the picture does not have", |d| d.shown(10, 1, || false)),
            ("a standby", |d| {
                d.is_on = false;
                d.begins(1, of(), true, true);
                d.shown(10, 1, || true);
            }),
        ];
        for (name, story) in stories {
            let mut departures = departures();
            story(&mut departures);
            assert_eq!(removals(&mut departures), None, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn evidence_goes_on_from_what_is_stored_and_only_for_what_is_governed() {
        let mut departures = departures();
        let gone = |departures: &mut Departures, stored: Option<Option<ShutdownStatus>>| {
            departures.begins(1, of(), true, true);
            departures.shown(10, 1, || true);
            departures.ends(1, &PodView::default(), Timestamp::UNIX_EPOCH, |_| stored);
        };
        gone(&mut departures, None);
        assert_eq!(departures.told(&of().0), None, "nobody governs it");
        let mut before = Evidence::default();
        let slow = Departure { app: "app", removal: Some(Duration::from_secs(4)), end: None };
        (0..3).for_each(|_| before.take_in(&slow, Timestamp::UNIX_EPOCH));
        gone(&mut departures, Some(before.to_status()));
        let told = departures.told(&of().0).unwrap();
        assert_eq!((told.observed_removals, told.removal_millis), (3, Some(4000)));
        departures.forget(&of().0);
        assert_eq!(departures.told(&of().0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fleet_that_goes_at_once_is_followed_in_part() {
        let mut departures = departures();
        for uid in 0..2 * MOST_GOING as u128 {
            departures.begins(uid, of(), true, true);
            departures.shown(10, uid + 1, || true);
        }
        assert_eq!(departures.going.len(), MOST_GOING);
    }
}
