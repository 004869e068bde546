//! Claims about figures, with numbers worked out by hand.

use super::stage::{MORNING, SECOND};
use crate::core::availability::{Bucket, DAY, Figures, Ledger, Level, Objective, percent, rounded_down};

fn objective(percent: &str, days: i32) -> Objective {
    Objective::parse(percent, days).unwrap()
}

/// All of four replicas for so long, then none of them for so many milliseconds.
fn outage(good: i64, lost: i64) -> Bucket {
    Bucket { good, fault: lost, desired: 4 * (good + lost), missing_fault: 4 * lost, ..Bucket::default() }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9 * one.abs().max(1.0)
}

#[test]
fn budgets_of_thirty_days() {
    for (objective_text, seconds) in
        [("99", 25_920), ("99.5", 12_960), ("99.9", 2_592), ("99.95", 1_296), ("99.99", 259), ("90", 259_200)]
    {
        let objective = objective(objective_text, 30);
        let left = |lost: i64| Figures::of(&outage(10 * DAY, lost), &objective).budget;
        assert!(close(left(0), 1.0), "{objective_text}");
        let exact = 30.0 * 86_400_000.0 * objective.allowed();
        #[allow(clippy::cast_possible_truncation)] // a few hours
        let all = exact.round() as i64;
        assert_eq!(all / SECOND, seconds, "{objective_text}");
        assert!(left(all).abs() < 1e-6, "{objective_text}");
        assert!((left(all / 2) - 0.5).abs() < 1e-6);
        assert!((left(all * 3) + 2.0).abs() < 1e-5, "more than all of it");
    }
}

#[test]
fn the_budget_is_that_of_the_time_in_which_something_was_promised() {
    let objective = objective("99.9", 30);
    // Half of the window nobody wanted anything, or nobody watched: half the budget, 21.6 min.
    for window in
        [Bucket { excluded: 15 * DAY, ..outage(DAY, 648_000) }, Bucket { unknown: 15 * DAY, ..outage(DAY, 648_000) }]
    {
        assert!(close(Figures::of(&window, &objective).budget, 0.5));
    }
    let nothing = Bucket { unknown: 30 * DAY, ..Bucket::default() };
    let figures = Figures::of(&nothing, &objective);
    assert!(close(figures.budget, 1.0));
    assert_eq!((figures.replica_weighted, figures.time_based, figures.coverage), (None, None, Some(0.0)));
    // The time before the first look has a budget, and nothing was lost in it.
    assert!(close(Figures::of(&outage(0, 2_592_000), &objective).budget, 0.0));
    assert_eq!(Figures::of(&Bucket::default(), &objective).coverage, None);
}

#[test]
fn both_figures_and_the_nines() {
    // 4 replicas, 2 enough, 1,000 s: 100 s with 3 (planned), 50 s with 1 (fault).
    let window = Bucket {
        good: 950_000,
        fault: 50_000,
        desired: 4_000_000,
        missing_planned: 100_000,
        missing_fault: 150_000,
        unknown: 250_000,
        ..Bucket::default()
    };
    let figures = Figures::of(&window, &objective("99", 30));
    assert!(close(figures.replica_weighted.unwrap(), 0.9375));
    assert!(close(figures.time_based.unwrap(), 0.95));
    assert!(close(figures.nines.unwrap(), 1.204_119_982_655_924_8));
    assert!(close(figures.coverage.unwrap(), 0.8));
    assert_eq!((figures.planned, figures.fault, figures.unknown), (25_000, 37_500, 250_000));
    // 62.5 s of 25,920 s less the budget of the 250 s.
    assert!(close(figures.budget, 1.0 - 62.5 / (25_920.0 - 2.5)));
    assert_eq!(Figures::of(&outage(1000, 0), &objective("99", 30)).nines, None);
}

/// A ledger that was whole for so long, and then lacked so many of 4 replicas until now.
fn ledger(whole: i64, missing: u32, lasting: i64) -> Ledger {
    let mut ledger = Ledger::begin(MORNING);
    ledger.change(Level::of(4, 4, 0, 4), None, "");
    ledger.advance(MORNING + whole);
    ledger.change(Level::of(4, 4 - missing, 0, 4), None, "");
    ledger.advance(MORNING + whole + lasting);
    ledger
}

#[test]
fn burn_rates_and_when_the_budget_is_spent() {
    let hour = 3_600 * SECOND;
    // All of it is down: the budget burns 1 / (1 - objective) times as fast as allowed, whatever the objective.
    for (text, most) in [("90", 10.0), ("99", 100.0), ("99.9", 1_000.0), ("99.999", 100_000.0)] {
        let figures = ledger(0, 4, 7 * hour).figures(&objective(text, 30));
        assert!(close(figures.burn_1h.unwrap(), most), "{text}");
        assert!(close(figures.burn_6h.unwrap(), most), "{text}");
    }
    // One of four for the last hour of ten: 0.25 lost in 1 h, 0.25 / 6 in 6 h. MORNING is a multiple of a slot.
    let figures = ledger(9 * hour, 1, hour).figures(&objective("99", 30));
    assert!(close(figures.burn_1h.unwrap(), 25.0));
    assert!(close(figures.burn_6h.unwrap(), 25.0 / 6.0));
    // 900 s of 25,920 s are spent; the rest lasts for (1 - 900 / 25,920) * 30 d / (25 / 6).
    assert!(close(figures.budget, 1.0 - 900.0 / 25_920.0));
    let left = figures.exhausted_at.unwrap() - (MORNING + 10 * hour);
    assert!((left - 600_480_000).abs() <= 1, "{left}");
    assert_eq!(ledger(9 * hour, 0, hour).figures(&objective("99", 30)).exhausted_at, None, "nothing burns");
    assert_eq!(ledger(0, 4, 8 * hour).figures(&objective("99", 30)).exhausted_at, None, "it is spent");
    assert_eq!(Ledger::begin(MORNING).figures(&objective("99", 30)).burn_1h, None, "nothing was counted");
}

#[test]
fn exhaustion_is_reckoned_with_the_budget_of_the_counted_time() {
    let hour = 3_600 * SECOND;
    let mut ledger = Ledger::begin(MORNING);
    ledger.change(Level::Excluded, None, "");
    ledger.advance(MORNING + 15 * DAY);
    ledger.change(Level::of(4, 4, 0, 4), None, "");
    ledger.advance(ledger.as_of() + 5 * hour);
    ledger.change(Level::of(4, 0, 0, 4), None, "");
    ledger.advance(ledger.as_of() + hour);
    let figures = ledger.figures(&objective("99", 30));
    // 3.6 h of budget, 1 h of it spent; all down in 1 of 6 h burns 1 h of it in 6 h.
    assert!(close(figures.budget, 1.0 - 1.0 / 3.6));
    let left = figures.exhausted_at.unwrap() - ledger.as_of();
    assert!((left - 56_160_000).abs() <= 1, "2.6 h at a sixth: 15.6 h, not {left}");
}

#[test]
fn recent_time_is_at_most_one_slot_longer_than_asked_for() {
    for offset in [0, 1, 150_000, 299_999] {
        let now = MORNING + 8 * 3_600 * SECOND + offset;
        for (window, ago) in
            [(3_600_000, 3_000_000), (3_600_000, 3_700_000), (3_600_000, 3_900_001), (21_600_000, 21_700_000)]
        {
            // A loss of one second, so long ago.
            let mut ledger = Ledger::begin(MORNING);
            ledger.change(Level::of(1, 1, 0, 1), None, "");
            ledger.advance(now - ago);
            ledger.change(Level::of(1, 0, 0, 1), None, "");
            ledger.advance(now - ago + SECOND);
            ledger.change(Level::of(1, 1, 0, 1), None, "");
            ledger.advance(now);
            let (missing, desired) = ledger.recent(window);
            assert!((window..window + 300_000).contains(&desired), "{desired}");
            assert_eq!(desired - window, now.rem_euclid(300_000), "it begins where a slot begins");
            assert_eq!(missing, (SECOND - (ago - desired).max(0)).clamp(0, SECOND));
        }
    }
}

#[test]
fn a_burn_rate_of_slots_is_between_those_of_the_exact_windows() {
    // One of one for 10 s at an odd moment; the exact hour has 10 s, the slots have 10 s of up to 65 min.
    let mut ledger = ledger(2 * 3_600 * SECOND + 137 * SECOND, 4, 10 * SECOND);
    ledger.change(Level::of(4, 4, 0, 4), None, "");
    ledger.advance(ledger.as_of() + 100 * SECOND);
    let burn = ledger.figures(&objective("99", 30)).burn_1h.unwrap();
    let (exact, longest) = (10.0 / 3_600.0 * 100.0, 10.0 / 3_900.0 * 100.0);
    assert!(longest <= burn && burn <= exact, "{burn}");
}

#[test]
fn rounding_never_makes_a_figure_look_better() {
    let rows = [
        (1.0, "100"),
        (0.999, "99.9"),
        (0.9999, "99.99"),
        (0.999_999_9, "99.999"),
        (1.0 - 1e-12, "99.999"),
        (1.0 - f64::EPSILON, "99.999"),
        (0.29, "29"),
        (0.0, "0"),
        (0.000_004, "0"),
        (-0.5, "-50"),
        (-0.000_004, "-0.001"),
        (-1e8, "-10000000000"),
    ];
    for (share, expected) in rows {
        assert_eq!(percent(share), expected, "{share}");
    }
    assert_eq!(rounded_down(3.699, 1), "3.6");
    assert_eq!(rounded_down(3.0, 1), "3");
    assert_eq!(rounded_down(-0.0, 1), "0");
}

#[test]
fn one_lost_millisecond_of_a_hundred_thousand_replicas_is_not_a_hundred_per_cent() {
    let desired = 100_000 * 90 * DAY;
    let window = Bucket { good: 90 * DAY, desired, missing_fault: 1, ..Bucket::default() };
    let figures = Figures::of(&window, &objective("99.999999", 90));
    assert_eq!(percent(figures.replica_weighted.unwrap()), "99.999");
    assert_eq!(percent(figures.time_based.unwrap()), "100", "of the time, nothing was lost");
    assert!(figures.budget < 1.0);
    let all = Bucket { fault: 1, desired: 4, missing_fault: 4, ..Bucket::default() };
    let figures = Figures::of(&all, &objective("50", 1));
    assert_eq!((figures.replica_weighted, figures.nines), (Some(0.0), Some(-0.0)));
    assert_eq!(rounded_down(figures.nines.unwrap(), 1), "0");
}

#[test]
fn burn_rates_are_rounded_up() {
    let status = |ledger: &Ledger| ledger.to_status(&objective("99.9", 30), "99.9");
    let lost = status(&ledger(3 * 3_600 * SECOND, 1, 1));
    assert_eq!(lost.burn_rate_1h.as_deref(), Some("0.01"), "never 0 while something burns");
    assert_eq!(status(&ledger(3_600 * SECOND, 0, 1)).burn_rate_1h.as_deref(), Some("0"));
    assert_eq!(status(&ledger(0, 4, 3_600 * SECOND)).burn_rate_1h.as_deref(), Some("1000"));
    assert_eq!(lost.replica_weighted.as_deref(), Some("99.999"));
    assert_eq!(lost.lost.unwrap().fault_seconds, 0);
}

#[test]
fn objectives_out_of_range_are_none() {
    for (text, days) in
        [("0", 30), ("100", 30), ("-1", 30), ("NaN", 30), ("inf", 30), ("", 30), ("x", 30), ("99", 0), ("99", 91)]
    {
        assert!(Objective::parse(text, days).is_none(), "{text} {days}");
    }
    assert!(Objective::parse("99.999999", 90).is_some());
}

#[test]
fn fleets_are_weighted_by_replicas() {
    let small = outage(1_000, 1_000);
    let large = Bucket { good: 2_000, desired: 40 * 2_000, ..Bucket::default() };
    let fleet: Bucket = [small, large].into_iter().sum();
    let figures = Figures::of(&fleet, &objective("99", 30));
    assert!(close(figures.replica_weighted.unwrap(), 1.0 - 4_000.0 / 88_000.0));
}

#[test]
fn a_window_that_is_looked_ahead_at_is_that_of_a_ledger_that_went_on() {
    let objective = objective("99.9", 2);
    for level in [Level::of(4, 4, 0, 2), Level::of(4, 1, 0, 2), Level::Unknown, Level::Excluded] {
        let mut ledger = Ledger::begin(MORNING - 3 * DAY);
        for (at, level) in [(MORNING - 2 * DAY, Level::of(4, 3, 1, 2)), (MORNING - DAY / 2, level)] {
            ledger.advance(at);
            ledger.change(level, None, "");
        }
        ledger.advance(MORNING);
        let mut behind = ledger.clone();
        behind.behind_since = Some(MORNING + SECOND);
        for ledger in [ledger, behind] {
            for later in [-DAY, 0, 1, 5 * SECOND, DAY, 3 * DAY, 120 * DAY] {
                let now = MORNING + later;
                let gone_on = ledger.at(now);
                for days in [1, 2, 30, 90] {
                    assert_eq!(ledger.window_at(now, days), gone_on.window(days), "{level:?} {later} {days}");
                }
                assert_eq!(ledger.is_budget_spent(now, &objective), gone_on.figures(&objective).budget <= 0.0);
            }
        }
    }
}
