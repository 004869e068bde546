//! Claims about fenceposts, the controller's answers, and strides.

use jiff::Timestamp;
use serde_json::json;

use crate::api::gate::Version;
use crate::core::rollout::restore::{Step, Stride, before_resume, next};
use crate::core::rollout::sizes::{Size, Wanted, are_settled, while_paused};
use crate::core::rollout::{Deployed, Paused, Revision};

fn deployed(replicas: u32, max_surge: u32, max_unavailable: u32) -> Deployed {
    let version = Version { template_hash: "new".into(), app_hash: "new".into(), ..Version::default() };
    Deployed { replicas, max_surge, max_unavailable, paused: Paused::ByUs, version, ..Deployed::default() }
}

/// Stable first (older), then the candidate: size and ready pods.
fn revisions(replicas: u32, surge: u32, stable: (u32, u32), candidate: (u32, u32)) -> Vec<Revision> {
    let one = |name: &str, age: i64, (size, ready): (u32, u32)| Revision {
        uid: name.into(),
        name: name.into(),
        created: Some(Timestamp::from_second(age).unwrap()),
        version: Version { template_hash: name.into(), app_hash: name.into(), ..Version::default() },
        replicas: size,
        pods: size,
        ready,
        available: ready,
        desired: Some(replicas),
        most: Some(replicas + surge),
        ..Revision::default()
    };
    vec![one("old", 1, stable), one("new", 2, candidate)]
}

fn write(index: usize, to: u32) -> Step {
    Step::Write(Stride { index, to })
}

#[test]
fn fenceposts_are_those_of_the_controller() {
    for (replicas, surge, unavailable, want) in [
        (1, json!(null), json!(null), (1, 0)),
        (3, json!(null), json!(null), (1, 0)),
        (4, json!(null), json!(null), (1, 1)),
        (10, json!(null), json!(null), (3, 2)),
        (10, json!(0), json!(0), (0, 1)),
        (10, json!("0%"), json!("5%"), (0, 1)),
        (3, json!(1), json!(0), (1, 0)),
        (2, json!(0), json!("200%"), (0, 2)),
    ] {
        let mut rolling = serde_json::Map::new();
        for (name, value) in [("maxSurge", &surge), ("maxUnavailable", &unavailable)] {
            if !value.is_null() {
                rolling.insert(name.into(), value.clone());
            }
        }
        let raw =
            json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}});
        let have = Deployed::read(&raw);
        assert_eq!((have.max_surge, have.max_unavailable), want, "{replicas} {surge} {unavailable}");
        assert_eq!(have.floor(), u32::try_from(replicas).unwrap() - want.1);
    }
}

#[test]
fn whose_a_pause_is_stands_in_managed_fields() {
    let with = |paused: bool, manager: Option<&str>| {
        let fields = manager.map(|manager| json!([{"manager": manager, "fieldsV1": {"f:spec": {"f:paused": {}}}}]));
        Deployed::read(&json!({"metadata": {"managedFields": fields}, "spec": {"paused": paused}})).paused
    };
    assert_eq!(with(false, Some("gracekeeper")), Paused::No);
    assert_eq!(with(true, Some("gracekeeper")), Paused::ByUs);
    assert_eq!(with(true, Some("kubectl-rollout")), Paused::ByOther);
    assert_eq!(with(true, None), Paused::BySomebody);
}

#[test]
fn the_measured_example_is_predicted() {
    // 9 new and 3 stable pods, replicas 10, surge 2: run on a real controller.
    let deployment = deployed(10, 2, 1);
    let wanted = Wanted { replicas: 10, ceiling: deployment.ceiling(), pods: 12 };
    let answer = |stable: u32, candidate: u32| {
        let size = |name: &'static str, age: i64, replicas: u32| Size {
            replicas,
            available: 0,
            desired: Some(10),
            most: Some(12),
            created: Some(Timestamp::from_second(age).unwrap()),
            name,
            is_current: name == "new",
        };
        let sizes = [size("old", 1, stable), size("new", 2, candidate)];
        (while_paused(&sizes, wanted), are_settled(&sizes, wanted))
    };
    assert_eq!(answer(3, 9), (vec![3, 9], true));
    assert_eq!(answer(5, 9), (vec![5, 7], false), "the largest gives");
    assert_eq!(answer(6, 6), (vec![6, 6], true));
    assert_eq!(answer(7, 7).0, vec![5, 7], "at a tie the older one gives");
    assert_eq!(answer(5, 5).0, vec![5, 7], "at a tie the newer one gets");
    assert_eq!(answer(7, 4).0, vec![8, 4], "the largest gets");
    assert_eq!(answer(8, 0).0, vec![10, 0], "a single one gets what is wanted");
    assert_eq!(answer(0, 0).0, vec![0, 10], "with none it is the new one");
}

#[test]
fn the_measured_example_is_handed_back_in_strides() {
    let deployment = deployed(10, 2, 1);
    let (mut stable, mut candidate) = (3, 9);
    let mut strides = Vec::new();
    for _ in 0..20 {
        // All pods are ready but one of the new ones, which is why it is taken back.
        let ready = candidate.min(8);
        let revisions = revisions(10, 2, (stable, stable), (candidate, ready));
        match next(&deployment, &revisions, "old") {
            Step::Write(Stride { index, to }) => {
                let (was_stable, was_candidate) = (stable, candidate);
                *(if index == 0 { &mut stable } else { &mut candidate }) = to;
                let lost = was_candidate - candidate;
                assert!(lost <= 3 + 1 && stable - was_stable <= 3, "a stride is at most surge + unavailable");
                assert!(was_stable + ready - lost.saturating_sub(was_candidate - ready) >= 9, "ready pods stay");
                let sizes = revisions.iter().zip([stable, candidate]);
                let sizes: Vec<Size<'_>> = sizes
                    .map(|(revision, replicas)| Size {
                        replicas,
                        available: 0,
                        desired: revision.desired,
                        most: revision.most,
                        created: revision.created,
                        name: &revision.name,
                        is_current: &*revision.name == "new",
                    })
                    .collect();
                let after = while_paused(&sizes, Wanted { replicas: 10, ceiling: 12, pods: 12 });
                (stable, candidate) = (after[0], after[1]);
                strides.push((stable, candidate));
            }
            Step::Done => break,
            other => panic!("{other:?} at {stable} and {candidate}"),
        }
    }
    assert_eq!((stable, candidate), (10, 0), "{strides:?}");
    assert!(strides.len() <= 5, "{strides:?}");
}

#[test]
fn pods_that_are_not_ready_go_at_once() {
    let step = next(&deployed(10, 3, 2), &revisions(10, 3, (8, 8), (5, 0)), "old");
    assert_eq!(step, write(1, 0), "nothing is lost by it");
}

#[test]
fn one_replica_goes_back_in_one_stride() {
    assert_eq!(next(&deployed(1, 1, 0), &revisions(1, 1, (1, 1), (1, 0)), "old"), write(1, 0));
    assert_eq!(next(&deployed(1, 1, 0), &revisions(1, 1, (0, 0), (1, 1)), "old"), Step::Saturated);
}

#[test]
fn after_a_scale_from_zero_the_stable_side_is_raised_first() {
    // The controller gave all to the newest; no pod is ready yet.
    let step = next(&deployed(4, 1, 1), &revisions(4, 1, (0, 0), (4, 0)), "old");
    assert!(matches!(step, Step::Write(Stride { index: 0, .. })), "{step:?}");
}

#[test]
fn at_the_tie_with_one_pod_of_slack_the_sizes_are_swapped() {
    let deployment = deployed(2, 1, 0);
    let begin = next(&deployment, &revisions(2, 1, (1, 1), (2, 1)), "old");
    assert_eq!(begin, Step::BeginSwap(Stride { index: 1, to: 1 }));
    let finish = next(&deployment, &revisions(2, 1, (1, 1), (1, 1)), "old");
    assert_eq!(finish, Step::FinishSwap(Stride { index: 0, to: 2 }));
}

#[test]
fn nothing_is_written_before_the_controller_has_answered() {
    assert_eq!(next(&deployed(10, 2, 1), &revisions(10, 2, (5, 3), (9, 8)), "old"), Step::Wait);
    let mut scaled = revisions(10, 2, (3, 3), (9, 8));
    scaled[0].desired = Some(8);
    assert_eq!(next(&deployed(10, 2, 1), &scaled, "old"), Step::Wait, "it has not seen the new number of replicas");
}

#[test]
fn an_annotation_that_would_stop_later_rollouts_is_refreshed_before_a_pause_ends() {
    let mut sizes = revisions(3, 1, (3, 3), (0, 0));
    assert_eq!(before_resume(&deployed(3, 1, 0), &sizes), Step::Done);
    assert_eq!(before_resume(&deployed(4, 1, 0), &sizes), Step::Wait, "the controller is about to scale it");
    sizes[0].desired = Some(4);
    assert_eq!(before_resume(&deployed(3, 1, 0), &sizes), write(0, 4));
}

/// Three revisions: the stable one, one that was let in and replaced before it was proven, and the rejected one.
fn three(replicas: u32, surge: u32, pods: [(u32, u32); 3]) -> Vec<Revision> {
    let mut all = revisions(replicas, surge, pods[0], pods[2]);
    let [(_, _), (size, ready), _] = pods;
    let between = Revision {
        uid: "between".into(),
        name: "between".into(),
        created: Some(Timestamp::from_second(1).unwrap() + jiff::SignedDuration::from_millis(500)),
        version: Version { template_hash: "between".into(), app_hash: "between".into(), ..Version::default() },
        replicas: size,
        pods: size,
        ready,
        available: ready,
        ..all[0].clone()
    };
    all.insert(1, between);
    all
}

/// Writes until nothing is left to do, the controller answering each; all pods of the first two are ready, of the rejected
/// version so many. Every size on the way.
fn way_back(deployment: &Deployed, mut sizes: [u32; 3], bad_ready: u32) -> (Step, Vec<[u32; 3]>) {
    let (replicas, surge) = (deployment.replicas, deployment.max_surge);
    let mut path = vec![sizes];
    loop {
        let ready = [sizes[0], sizes[1], bad_ready.min(sizes[2])];
        let all = three(replicas, surge, [0, 1, 2].map(|index| (sizes[index], ready[index])));
        let step = next(deployment, &all, "old");
        let (Step::Write(write) | Step::FinishSwap(write) | Step::BeginSwap(write)) = &step else {
            return (step, path);
        };
        assert!(path.len() < 60, "it ends: {path:?}");
        sizes[write.index] = write.to;
        // The second half of a swap comes before the controller's answer.
        if !matches!(step, Step::BeginSwap(_)) {
            let current = |revision: &Revision| &*revision.name == "new";
            let written: Vec<Size<'_>> = all
                .iter()
                .zip(sizes)
                .map(|(revision, replicas)| Size {
                    replicas,
                    available: revision.available,
                    desired: revision.desired,
                    most: revision.most,
                    created: revision.created,
                    name: &revision.name,
                    is_current: current(revision),
                })
                .collect();
            let ceiling = deployment.ceiling();
            let answer = while_paused(&written, Wanted { replicas, ceiling, pods: ceiling });
            sizes = [answer[0], answer[1], answer[2]];
        }
        let left: u32 = sizes.iter().zip(ready).map(|(size, ready)| ready.min(*size)).sum();
        let least = deployment.floor().min(ready.iter().sum());
        assert!(left >= least, "ready pods stay: {path:?}, then {sizes:?}");
        path.push(sizes);
    }
}

#[test]
fn a_third_version_between_does_not_block_the_way_back() {
    let strategies = [
        (1, 1, 0),
        (2, 1, 0),
        (3, 1, 0),
        (4, 1, 1),
        (5, 2, 1),
        (6, 2, 1),
        (6, 1, 1),
        (6, 2, 0),
        (10, 3, 2),
        (10, 1, 0),
    ];
    for (replicas, surge, unavailable) in strategies {
        let deployment = deployed(replicas, surge, unavailable);
        let ceiling = deployment.ceiling();
        for stable in 0..=ceiling {
            for between in u32::from(stable == 0)..ceiling.saturating_sub(stable) {
                let bad = ceiling - stable - between;
                for ready in 0..=bad {
                    let (end, path) = way_back(&deployment, [stable, between, bad], ready);
                    let is_whole = bad == replicas && ready == replicas;
                    let want = if is_whole { Step::Saturated } else { Step::Done };
                    assert_eq!(end, want, "{replicas}+{surge}-{unavailable}, {ready} ready: {path:?}");
                }
            }
        }
    }
    // As it was found: 6 replicas with the strategy that Kubernetes gives.
    let (_, path) = way_back(&deployed(6, 2, 1), [2, 3, 3], 1);
    assert_eq!(path[1][2], 2, "the rejected version makes way for the one between: {path:?}");
}
