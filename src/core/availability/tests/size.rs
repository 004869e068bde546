//! The stored form is bounded.

use super::stage::{MORNING, objective};
use crate::core::availability::{Cause, DAY, Ledger, Level};

/// What the API takes for the ledger, and what a status may weigh with its episodes.
const MOST: usize = 16_384;

/// Five months in which everything happens every hour, to so many replicas; the largest ledger, and the largest with
/// its episodes.
fn largest(replicas: u32, hash: &str) -> (usize, usize) {
    let bad = |missing: u32, planned: u32| Level::of(replicas, replicas - missing, planned, replicas);
    let levels = [
        (bad(replicas / 2 + 1, 0), Some(Cause::FailedRollout), hash),
        (bad(replicas / 2, replicas), Some(Cause::Rollout), hash),
        (bad(replicas / 3, replicas / 7), Some(Cause::Unschedulable), hash),
        (Level::Unknown, Some(Cause::StatusBehind), hash),
        (bad(replicas / 5, replicas / 7), Some(Cause::PodsMissing), hash),
        (bad(0, 0), None, ""),
        (Level::Excluded, None, ""),
    ];
    let mut ledger = Ledger::begin(MORNING + 1_234);
    ledger.set_generation(1_000_000);
    let mut most = (0, 0);
    let mut now = ledger.as_of();
    for (index, (level, cause, rollout)) in levels.iter().cycle().enumerate() {
        ledger.change(*level, *cause, rollout);
        now += 97_531;
        ledger.advance(now);
        // Often enough to meet every state of days and slots.
        if index % 37 == 0 {
            let status = ledger.to_status(&objective(), "99.9");
            let episodes = serde_json::to_string(&status.episodes).unwrap();
            most.0 = most.0.max(status.ledger.len());
            most.1 = most.1.max(status.ledger.len() + episodes.len());
        }
        if now > MORNING + 150 * DAY {
            return most;
        }
    }
    most
}

#[test]
fn five_months_of_flapping_fit_into_sixteen_kibibytes_with_their_episodes() {
    for (replicas, hash) in
        [(3, "0123456789abcdef"), (100_000, "0123456789abcdef"), (2_147_483_647, "0123456789abcdef")]
    {
        let (ledger, whole) = largest(replicas, hash);
        println!("{replicas} replicas: ledger {ledger} bytes, with episodes {whole} bytes");
        assert!(ledger <= MOST, "{replicas}: {ledger}");
        assert!(whole <= MOST, "{replicas}: {whole}");
    }
}

#[test]
fn a_quiet_deployment_weighs_little() {
    let mut ledger = Ledger::begin(MORNING);
    ledger.change(Level::of(3, 3, 0, 1), None, "");
    ledger.advance(MORNING + 150 * DAY);
    let length = ledger.encode().len();
    println!("quiet: {length} bytes");
    assert!(length < 5_000, "{length}");
}
