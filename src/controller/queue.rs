//! A keyed work queue: each key waits at most once, runs at most once at a time, and never starves.
//!
//! kube-runtime's `Controller` would give this too, but it shares one back-off over all its watches, lets a panic end
//! the whole stream, and has no per-object back-off (`style` section 3, decision 0002).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

/// Keys that are due at some time. Adding a key that already waits keeps the earlier time; adding a key that is being
/// worked on makes it wait for its next turn.
pub(crate) struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    due: HashMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    running: HashSet<K>,
    /// Keys that were added while they ran.
    again: HashMap<K, Instant>,
    closed: bool,
}

impl<K: Clone + Eq + Hash + Ord> WorkQueue<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            due: HashMap::new(),
            order: BTreeSet::new(),
            running: HashSet::new(),
            again: HashMap::new(),
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Makes the key due now.
    pub(crate) fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Makes the key due after a delay, unless it is due earlier already.
    pub(crate) fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        self.with(|state| {
            if state.running.contains(&key) {
                let earliest = state.again.entry(key).or_insert(at);
                *earliest = at.min(*earliest);
            } else {
                state.schedule(key, at);
            }
        });
        self.changed.notify_one();
    }

    /// Waits for the next key that is due, and marks it as being worked on; answers with since when it is due, too. `None`
    /// once the queue is closed.
    pub(crate) async fn next(&self) -> Option<(K, Instant)> {
        loop {
            let changed = self.changed.notified();
            let wait = self.with(|state| {
                if state.closed {
                    return Some(Err(()));
                }
                let (at, key) = state.order.first()?.clone();
                if at > Instant::now() {
                    return Some(Ok((None, at)));
                }
                state.order.remove(&(at, key.clone()));
                state.due.remove(&key);
                state.running.insert(key.clone());
                Some(Ok((Some(key), at)))
            });
            match wait {
                Some(Err(())) => {
                    self.changed.notify_one(); // pass the news on to the next waiter
                    return None;
                }
                Some(Ok((Some(key), at))) => {
                    self.changed.notify_one(); // another key may be due as well
                    return Some((key, at));
                }
                Some(Ok((None, at))) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Ends the work on a key; it may be due again at once.
    pub(crate) fn done(&self, key: &K) {
        self.with(|state| {
            state.running.remove(key);
            if let Some(at) = state.again.remove(key) {
                state.schedule(key.clone(), at);
            }
        });
        self.changed.notify_one();
    }

    /// Lets every waiter go; keys that still wait are dropped.
    pub(crate) fn close(&self) {
        self.with(|state| state.closed = true);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.with(|state| state.closed)
    }

    /// Keys that wait or run.
    pub(crate) fn len(&self) -> usize {
        self.with(|state| state.due.len() + state.running.len())
    }

    fn with<R>(&self, work: impl FnOnce(&mut State<K>) -> R) -> R {
        // A poisoned lock only means that another thread panicked between two consistent states.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut state)
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    fn schedule(&mut self, key: K, at: Instant) {
        match self.due.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.order.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_keeps_the_earlier_time() {
        let queue = WorkQueue::new();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        let start = Instant::now();
        assert_eq!(next(&queue).await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&"a");
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_runs_is_not_handed_out_twice_but_comes_again() {
        let queue = WorkQueue::new();
        queue.add("a");
        assert_eq!(next(&queue).await, Some("a"));
        queue.add("a");
        queue.add("b");
        assert_eq!(next(&queue).await, Some("b"), "a is being worked on");
        queue.done(&"a");
        assert_eq!(next(&queue).await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_tells_since_when_it_is_due_however_late_it_is_taken() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add("a");
        tokio::time::advance(Duration::from_secs(3)).await;
        queue.add("a");
        assert_eq!(queue.next().await, Some(("a", start)));
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.add("a");
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.done(&"a");
        assert_eq!(
            queue.next().await,
            Some(("a", start + Duration::from_secs(4))),
            "when it came, not when it was done"
        );
    }

    async fn next<K: Clone + Eq + Hash + Ord>(queue: &WorkQueue<K>) -> Option<K> {
        queue.next().await.map(|(key, _)| key)
    }

    #[tokio::test(start_paused = true)]
    async fn several_waiters_all_get_work_and_all_leave_when_it_closes() {
        let queue = std::sync::Arc::new(WorkQueue::new());
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut seen = 0;
                    while let Some(key) = next(&queue).await {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        queue.done(&key);
                        seen += 1;
                    }
                    seen
                })
            })
            .collect();
        (0..100).for_each(|key| queue.add(key));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(queue.len(), 0);
        queue.close();
        let mut total = 0;
        for worker in workers {
            total += worker.await.unwrap();
        }
        assert_eq!(total, 100);
    }
}
