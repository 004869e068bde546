//! Whatever pods are taken to prove is true: random lives of pods, with the times that the API tells of them (4,096
//! gaps, looked at every 100 ms).

use proptest::prelude::*;

use super::stage::{MORNING, SECOND, Stage, crashed, ready, starting, told};
use crate::core::availability::Gap;
use crate::core::availability::proof::{Wanted, proven};
use crate::core::rollout::PodView;

/// What becomes of one of the replicas, at so many milliseconds.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Ready,
    Unready,
    /// The pod is deleted, another one is made at once.
    Replaced,
}

/// One pod after another in the place of one replica: created, and when it was ready.
#[derive(Clone, Debug)]
struct Pod {
    created: i64,
    deleted: Option<i64>,
    ready: Vec<(i64, Option<i64>)>,
    changed: i64,
}

fn place() -> impl Strategy<Value = Vec<(i64, Turn)>> {
    let turn = prop_oneof![3 => Just(Turn::Ready), 2 => Just(Turn::Unready), 1 => Just(Turn::Replaced)];
    prop::collection::vec((0..100_000_i64, turn), 0..5).prop_map(|mut turns| {
        turns.sort_by_key(|(at, _)| *at);
        turns
    })
}

/// Pods of one place. The first one is ready from the beginning, a minute ago.
fn lives(turns: &[(i64, Turn)]) -> Vec<Pod> {
    let new = |created: i64| Pod { created, deleted: None, ready: Vec::new(), changed: created };
    let mut pods = vec![Pod { ready: vec![(-30_000, None)], changed: -30_000, ..new(-60_000) }];
    for (at, turn) in turns {
        let pod = pods.last_mut().unwrap();
        let is_ready = pod.ready.last().is_some_and(|(_, end)| end.is_none());
        match turn {
            Turn::Ready if !is_ready => {
                pod.ready.push((*at, None));
                pod.changed = *at;
            }
            Turn::Unready if is_ready => {
                pod.ready.last_mut().unwrap().1 = Some(*at);
                pod.changed = *at;
            }
            Turn::Replaced => {
                pod.deleted = Some(*at);
                pods.push(new(*at));
            }
            _ => {}
        }
    }
    pods
}

impl Pod {
    fn is_available(&self, at: i64, min_ready: i64) -> bool {
        let exists = self.created <= at && self.deleted.is_none_or(|end| at < end);
        exists && self.ready.iter().any(|(from, to)| from + min_ready <= at && to.is_none_or(|to| at < to))
    }

    /// As the API shows it in the end.
    fn view(&self, name: &str) -> PodView {
        let is_ready = self.ready.last().is_some_and(|(_, end)| end.is_none());
        let since = MORNING + self.changed;
        let pod = if is_ready { ready(name, since) } else { crashed(&starting(name, since), since) };
        PodView { created: Some(told(MORNING + self.created)), ..pod }
    }
}

fn available(pods: &[Pod], at: i64, min_ready: i64) -> u32 {
    u32::try_from(pods.iter().filter(|pod| pod.is_available(at, min_ready)).count()).unwrap()
}

fn views(pods: &[Pod]) -> Vec<PodView> {
    let live = pods.iter().enumerate().filter(|(_, pod)| pod.deleted.is_none());
    live.map(|(index, pod)| pod.view(&format!("p{index}"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_proven_is_true(
        places in prop::collection::vec(place(), 1..5),
        surge in prop::collection::vec((0..50_000_i64, 50_000..100_000_i64), 0..3),
        (start, length) in (0..60_000_i64, 1..40_000_i64),
        min_ready in prop_oneof![Just(0_i64), Just(5_000_i64)],
    ) {
        let mut pods: Vec<Pod> = places.iter().flat_map(|turns| lives(turns)).collect();
        // Pods of a rollout come and go without a successor.
        for (from, to) in &surge {
            pods.push(Pod { created: *from, deleted: Some(*to), ready: vec![(*from, None)], changed: *from });
        }
        let replicas = u32::try_from(places.len()).unwrap();
        let wanted = Wanted { replicas, min_ready, is_moving: !surge.is_empty() };
        let gap = Gap { start: MORNING + start, end: MORNING + start + length, is_jump: false };
        let mut from = start;
        let views = views(&pods);
        for (end, claimed) in proven(gap, &views.iter().collect::<Vec<_>>(), wanted) {
            let end = end - MORNING;
            prop_assert!(end > from);
            for at in (from..end).step_by(100).filter(|_| claimed.is_some()) {
                let truth = available(&pods, at, min_ready).min(replicas);
                prop_assert_eq!(claimed, Some(truth), "at {}", at);
            }
            from = end;
        }
        prop_assert_eq!(from, start + length, "all of the gap is dealt with");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A process dies at one moment and another one looks at a later one: no more good time than there was, no more
    /// loss, and the rest is unknown.
    #[test]
    fn a_crash_is_never_taken_for_good_time(
        places in prop::collection::vec(place(), 1..5),
        (before, gap) in (0..40_i64, 0..60_i64),
        is_first_look_late in any::<bool>(),
    ) {
        let pods: Vec<Pod> = places.iter().flat_map(|turns| lives(turns)).collect();
        let replicas = u32::try_from(places.len()).unwrap();
        let mut stage = Stage::new(replicas);
        let see = |stage: &mut Stage| {
            let at = stage.now - MORNING;
            let existing = pods.iter().filter(|pod| pod.created <= at).map(|pod| Pod {
                deleted: pod.deleted.filter(|deleted| *deleted <= at),
                ready: pod.ready.iter().filter(|(from, _)| *from <= at)
                    .map(|(from, to)| (*from, to.filter(|to| *to <= at))).collect(),
                changed: pod.ready.iter().flat_map(|(from, to)| [Some(*from), *to]).flatten().filter(|change| *change <= at)
                    .max().unwrap_or(pod.created),
                ..pod.clone()
            });
            stage.pods = views(&existing.collect::<Vec<_>>());
            stage.available(available(&pods, at, 0));
        };
        see(&mut stage);
        for _ in 0..before {
            stage.wait(1);
            see(&mut stage);
        }
        stage.restart(gap);
        if is_first_look_late {
            stage.wait(3);
        }
        see(&mut stage);
        let end = stage.now - MORNING;
        let truth = |count: &dyn Fn(u32) -> i64| (0..end / 10).map(|tick| count(available(&pods, tick * 10, 0)) * 10).sum::<i64>();
        let good = truth(&|available| i64::from(available >= replicas));
        let missing = truth(&|available| i64::from(replicas.saturating_sub(available)));
        let sums = stage.sums();
        // What happens between two looks of a second is seen at the second one.
        let late = SECOND * i64::try_from(places.concat().len()).unwrap() + 20;
        prop_assert!(sums.good <= good + late, "{} {}", sums.good, good);
        prop_assert!(sums.missing() <= missing + late, "{} {}", sums.missing(), missing);
        prop_assert_eq!(sums.span(), end);
    }
}
