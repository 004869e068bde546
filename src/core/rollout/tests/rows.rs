//! Claims about the table itself.

use std::collections::BTreeSet;

use crate::api::gate::GateState::{self, *};
use crate::core::rollout::table::{AFTER_COMPLETION, Effect, Guard, REVERTING, Reasons, TABLE, Wants, wants};

const ALL: [GateState; 9] = [Stable, Rolling, Baking, AwaitingApproval, Held, Restoring, Restored, Reverted, NotGated];

#[test]
fn every_state_can_be_reached_and_left() {
    let mut reached = BTreeSet::from([NotGated]);
    for _ in 0..ALL.len() {
        let more = TABLE.iter().filter(|row| row.from.iter().any(|from| reached.contains(from)));
        reached.extend(more.filter_map(|row| row.to).collect::<Vec<_>>());
    }
    assert_eq!(reached.len(), ALL.len(), "{reached:?}");
    for state in ALL {
        let mut rows = TABLE.iter().filter(|row| row.from.contains(&state));
        assert!(rows.any(|row| row.to.is_some_and(|to| to != state)), "{state:?} can be left");
    }
}

#[test]
fn every_row_can_be_taken_by_some_state_and_reason() {
    let known: BTreeSet<&str> = TABLE.iter().map(|row| row.reason).collect();
    for row in TABLE {
        if let Reasons::In(some) | Reasons::Except(some) = row.with {
            for reason in some {
                assert!(known.contains(reason), "{reason} of {row:?} is given by no row");
            }
        }
    }
}

#[test]
fn no_guard_stands_behind_itself() {
    for (index, row) in TABLE.iter().enumerate() {
        for earlier in &TABLE[..index] {
            let is_hidden = earlier.guard == row.guard
                && earlier.with == Reasons::Any
                && row.from.iter().all(|from| earlier.from.contains(from));
            assert!(!is_hidden, "{row:?} is never taken");
        }
    }
}

#[test]
fn sentences_end_and_fill_in_only_what_is_known() {
    let known = ["off", "rejected", "evidence", "rule", "steps", "step", "pods", "asked", "after", "refused"];
    for row in TABLE {
        assert!(row.sentence.ends_with(['.', '}']), "{}", row.sentence);
        for part in row.sentence.split('{').skip(1) {
            let name = part.split('}').next().unwrap();
            assert!(known.contains(&name), "{name} in {}", row.sentence);
        }
    }
}

#[test]
fn switching_off_comes_before_everything_but_what_was_begun() {
    let at = |guard: Guard| TABLE.iter().position(|row| row.guard == guard).unwrap();
    assert!(at(Guard::PausePending) < at(Guard::GatingOff));
    assert!(at(Guard::ResumePending) < at(Guard::GatingOff));
    let rest = TABLE.iter().skip(at(Guard::GatingOff));
    assert!(rest.clone().all(|row| row.guard != Guard::PausePending));
    assert!(at(Guard::UnpausedByOther) < at(Guard::NewVersion));
    assert!(at(Guard::NewAndRejected) < at(Guard::NewVersion), "a rejected version is held at once");
}

#[test]
fn the_environment_never_restores() {
    for row in TABLE.iter().filter(|row| matches!(row.guard, Guard::AgainstEnvironment | Guard::AgainstUnknown)) {
        assert_eq!((row.to, row.effect), (Some(Held), Effect::None));
    }
    let taking = TABLE.iter().filter(|row| row.effect == Effect::TakeBack).map(|row| row.guard);
    assert_eq!(taking.collect::<Vec<_>>(), [Guard::AgainstRevert, Guard::AgainstRestore]);
}

#[test]
fn a_stop_wants_a_pause_and_nothing_else_does() {
    for row in TABLE {
        let Some(to) = row.to else { continue };
        let want = match to {
            Baking if row.reason == AFTER_COMPLETION => Wants::Flow,
            Held | Restoring | Restored | AwaitingApproval | Baking => Wants::Pause,
            Reverted if row.reason == REVERTING => Wants::Revert,
            Stable | Rolling | NotGated | Reverted => Wants::Flow,
        };
        assert_eq!(wants(to, row.reason), want, "{row:?}");
    }
}
