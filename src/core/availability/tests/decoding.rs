//! Claims about what is stored, and what is made of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::stage::{MORNING, SECOND, Stage, objective, status};
use crate::api::availability_status::AvailabilityStatus;
use crate::core::availability::{Bucket, Cause, DAY, DecodeError, Episode, Ledger, Level};

/// A ledger in which every part says something.
fn rich() -> Ledger {
    let mut stage = Stage::new(4);
    stage.look();
    stage.wait(100);
    stage.scale(6);
    stage.available(4);
    stage.wait(40);
    stage.pods[0] = super::stage::evicted(&stage.pods[0]);
    stage.available(3);
    stage.wait(40);
    stage.generation();
    stage.deployment.deployed.observed_generation -= 1;
    stage.look();
    stage.wait(2);
    stage.store();
    stage.ledger().clone()
}

fn parts() -> Vec<Value> {
    serde_json::from_str(&rich().encode()).unwrap()
}

fn decode(parts: &[Value]) -> Result<Ledger, DecodeError> {
    Ledger::decode(&Value::from(parts).to_string())
}

#[test]
fn every_part_of_a_ledger_is_stored() {
    let ledger = rich();
    let parts = parts();
    assert_eq!(parts.len(), 15);
    assert!(parts.iter().all(|part| !matches!(part, Value::Array(list) if list.is_empty())));
    assert!(parts[11..].iter().all(|part| part.as_i64().is_some_and(|number| number >= 0)), "{parts:?}");
    let again = Ledger::decode(&ledger.encode()).unwrap();
    assert_eq!(again.encode(), ledger.encode());
    let there_and_back = super::stage::again(&status(&ledger));
    assert_eq!(there_and_back.episodes(), ledger.episodes());
    assert_eq!(there_and_back.allowances(), ledger.allowances());
}

#[test]
fn a_newer_version_and_damage_are_told_apart() {
    let mut newer = parts();
    newer[0] = json!(2);
    assert_eq!(decode(&newer), Err(DecodeError::Version(2)));
    newer.push(json!([]));
    assert_eq!(decode(&newer), Err(DecodeError::Version(2)), "whatever else it holds");
    let error = DecodeError::Version(2).to_string();
    assert_eq!(error, "the availability ledger has version 2; this operator knows version 1");
    for text in ["", "{}", "[]", "[1]", "null", "[\"1\"]", "[1.5]", "[[1]]"] {
        assert!(matches!(Ledger::decode(text), Err(DecodeError::Damaged(_))), "{text}");
    }
    assert_eq!(Ledger::of_status(&AvailabilityStatus::default()), Ok(None));
}

#[test]
fn what_cannot_be_is_damage() {
    let (min, max) = (i64::MIN, i64::MAX);
    let rows: &[(usize, Value)] = &[
        (1, json!(max)),
        (1, json!(-1)),
        (1, json!(min)),
        (1, json!(1e3)),
        (2, json!([])),
        (2, json!([3])),
        (2, json!([2, 3, 2, 2, 1])),
        (2, json!([2, 0, 0, 0, 1])),
        (2, json!([2, max, 0, 0, 0])),
        (2, json!([2, 4_294_967_295_u32, 4_294_967_295_u32, 4_294_967_295_u32, 1])),
        (3, json!(13)),
        (3, json!(min)),
        (4, json!(2)),
        (5, json!("1")),
        (6, json!(max)),
        (6, json!(-1)),
        (6, json!(MORNING * 2)),
        (7, json!([-1])),
        (7, json!([0, 0, 0, 0, 0, 0, 0, 0, 0])),
        (8, json!([[]])),
        (8, json!([[-1, 5]])),
        (8, json!([[90, 5]])),
        (8, json!([[max, 5]])),
        (8, json!([[0, DAY + 1]])),
        (8, json!([[0, max, max]])),
        (8, json!([[0, 5], [0, 5]])),
        (8, json!([[0, 5, 0, 0, 0, 0, 5, 6]])),
        (9, json!([[0, 1]])),
        (9, json!([[-1, 0, 1]])),
        (9, json!([[73, 0, 1]])),
        (9, json!([[0, 2, 1]])),
        (9, json!([[0, -1, 1]])),
        (9, json!([[0, 0, 1], [0, 0, 1]])),
        (10, json!([[0, 1]])),
        (10, json!([[99, 1, 1]])),
        (10, json!([[0, -1, 1]])),
        (10, json!([[0, 1, 1], [0, 1, 1], [0, 1, 1]])),
        (11, json!(max)),
        (11, json!(-2)),
        (12, json!(-1)),
        (12, json!(max)),
        (13, json!(min)),
        (14, json!(min)),
    ];
    for (index, value) in rows {
        let mut parts = parts();
        parts[*index] = value.clone();
        assert!(matches!(decode(&parts), Err(DecodeError::Damaged(_))), "{index} {value}");
    }
}

#[test]
fn lists_without_end_are_refused_unread() {
    let mut parts = parts();
    parts[8] = (0..1_000_000).map(|day| json!([day, 5])).collect();
    assert_eq!(decode(&parts), Err(DecodeError::Damaged("too long")));
    let nested = "[".repeat(16_000);
    assert!(matches!(Ledger::decode(&nested), Err(DecodeError::Damaged(_))));
}

#[test]
fn absurd_numbers_that_may_be_stored_neither_overflow_nor_take_long() {
    let mut parts = parts();
    let max = i64::MAX;
    parts[2] = json!([2, u32::MAX, 0, 0, 1]);
    parts[5] = json!(i64::MIN);
    parts[7] = json!([max, max, max, max, max, max, max, max]);
    parts[8] = json!([[0, DAY, 0, 0, 0, 0, max, max, 0]]);
    parts[9] = json!([[0, max, max], [72, max, max]]);
    parts[10] = json!([[0, u32::MAX, max], [1, u32::MAX, i64::MIN]]);
    let mut ledger = decode(&parts).unwrap();
    for now in [i64::MIN, 0, MORNING, MORNING + 400 * DAY, i64::MAX] {
        let figures = ledger.at(now).figures(&objective());
        assert!(figures.replica_weighted.is_none_or(|share| (0.0..=1.0).contains(&share)));
        let _ = ledger.at(now).to_status(&objective(), "99.9");
        let _ = ledger.at(now).refresh_at(90);
        let _ = ledger.life_at(now).span();
        let merged = ledger.clone().merged(&ledger.at(now));
        let _ = merged.window(90).span();
    }
    ledger.advance(i64::MAX);
    assert!(ledger.encode().len() < 16_384);
    assert!(ledger.window(i64::MAX).span() <= 90 * DAY);
    for days in [i64::MIN, -1, 0] {
        assert_eq!(ledger.window(days), Bucket::default());
    }
    let _ = ledger.recent(i64::MIN);
    let _ = ledger.recent(i64::MAX);
    let mut stage = Stage::new(3);
    stage.ledger = Some(decode(&parts).unwrap());
    stage.look();
    stage.wait(10);
}

#[test]
fn episodes_of_unknown_causes_are_dropped_and_only_the_last_one_can_last() {
    let mut stored = status(&rich());
    let mut odd = stored.episodes[0].clone();
    odd.reason = "Martians".into();
    let mut open = stored.episodes[0].clone();
    open.end = None;
    stored.episodes = vec![odd, open.clone(), open.clone()];
    let ledger = Ledger::of_status(&stored).unwrap().unwrap();
    let ends: Vec<bool> = ledger.episodes().iter().map(|episode: &Episode| episode.end.is_some()).collect();
    assert_eq!(ends, [true, false]);
    stored.episodes = vec![open; 500];
    assert_eq!(Ledger::of_status(&stored).unwrap().unwrap().episodes().len(), 20);
}

#[test]
fn every_cause_survives() {
    for cause in Cause::ALL {
        let mut ledger = Ledger::begin(MORNING);
        ledger.change(Level::of(3, 2, 0, 1), Some(cause), "abc");
        ledger.advance(MORNING + SECOND);
        let again = super::stage::again(&status(&ledger));
        assert_eq!((again.cause(), again.episodes()), (Some(cause), ledger.episodes()));
        assert_eq!(Cause::of_name(cause.as_str()), Some(cause));
    }
    assert_eq!(Cause::of_name("notready"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_much(text in ".{0,300}") {
        let _ = Ledger::decode(&text);
    }

    #[test]
    fn a_changed_letter_is_an_error_or_another_ledger_that_works(at in any::<prop::sample::Index>(), letter in "[-0-9,\\[\\]e. ]", now in any::<i64>()) {
        let text = rich().encode();
        let at = at.index(text.len());
        let changed = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
        if let Ok(ledger) = Ledger::decode(&changed) {
            let later = ledger.at(now);
            let _ = later.to_status(&objective(), "99.9");
            prop_assert!(Ledger::decode(&ledger.encode()).is_ok(), "{}", changed);
            prop_assert!(later.window(90).span() <= 90 * DAY);
        }
    }

    #[test]
    fn a_changed_number_is_an_error_or_another_ledger_that_works(at in any::<prop::sample::Index>(), number in any::<i64>(), now in any::<i64>()) {
        let text = rich().encode();
        let mut pieces: Vec<String> = text.split_inclusive(|c: char| !c.is_ascii_digit()).map(String::from).collect();
        let at = at.index(pieces.len());
        if pieces[at].starts_with(|c: char| c.is_ascii_digit()) {
            let rest = pieces[at].trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
            pieces[at] = format!("{number}{rest}");
        }
        if let Ok(ledger) = Ledger::decode(&pieces.concat()) {
            let mut stage = Stage::at(3, now.clamp(0, 200_000_000_000_000));
            stage.ledger = Some(ledger.clone());
            stage.look();
            let _ = stage.ledger().at(now).to_status(&objective(), "99.9");
        }
    }
}
