//! How a ledger is stored: one line of JSON that consists of numbers, with a version in front.

use serde_json::{Value, json};

use super::bucket::{Bucket, Level};
use super::episode::Cause;
use super::ledger::{Allowance, Ledger};

/// Version of the form. Another one is refused, not guessed at.
const VERSION: i64 = 1;

/// Why a stored ledger cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer operator wrote it.
    #[error("the availability ledger has version {0}; this operator knows version {VERSION}")]
    Version(i64),
    /// It was damaged.
    #[error("the availability ledger is damaged: {0}")]
    Damaged(&'static str),
}

impl Ledger {
    /// The stored form, without the episodes: those are stored for people to read.
    pub fn encode(&self) -> String {
        let cause = self.cause.map_or(-1, code);
        let days = self.days.iter().map(|(day, bucket)| prepended(*day, bucket.numbers()));
        let slots = self.slots.iter().map(|(slot, sums)| vec![*slot, sums.0, sums.1]);
        let allowances = self.allowances.iter().map(|one| vec![code(one.cause), i64::from(one.pods), one.until]);
        json!([
            VERSION,
            self.as_of,
            self.level.numbers(),
            cause,
            i64::from(self.is_settled),
            self.generation,
            self.born,
            self.life.numbers(),
            days.collect::<Vec<_>>(),
            slots.collect::<Vec<_>>(),
            allowances.collect::<Vec<_>>(),
        ])
        .to_string()
    }

    /// From the stored form.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let damaged = DecodeError::Damaged;
        let value: Value = serde_json::from_str(text).map_err(|_| damaged("no JSON"))?;
        let parts = value.as_array().ok_or(damaged("no list"))?;
        let number = |index: usize| parts.get(index).and_then(Value::as_i64);
        match number(0) {
            Some(VERSION) => {}
            Some(other) => return Err(DecodeError::Version(other)),
            None => return Err(damaged("no version")),
        }
        let list = |index: usize| parts.get(index).and_then(numbers);
        let lists =
            |index: usize| parts.get(index).and_then(Value::as_array)?.iter().map(numbers).collect::<Option<Vec<_>>>();
        let mut ledger = Self::begin(number(1).ok_or(damaged("no time"))?);
        ledger.is_stored = true;
        ledger.level = list(2).and_then(|of| Level::from_numbers(&of)).ok_or(damaged("no level"))?;
        ledger.cause = match number(3) {
            Some(-1) => None,
            Some(code) => Some(cause(code).ok_or(damaged("unknown cause"))?),
            None => return Err(damaged("no cause")),
        };
        ledger.is_settled = number(4).ok_or(damaged("not settled, nor unsettled"))? == 1;
        ledger.generation = number(5).ok_or(damaged("no generation"))?;
        ledger.born = number(6).ok_or(damaged("no first look"))?;
        ledger.life = list(7).and_then(|of| Bucket::from_numbers(&of)).ok_or(damaged("no sum"))?;
        for day in lists(8).ok_or(damaged("no days"))? {
            let (day, sums) = day.split_first().ok_or(damaged("an empty day"))?;
            ledger.days.insert(*day, Bucket::from_numbers(sums).ok_or(damaged("a day"))?);
        }
        for slot in lists(9).ok_or(damaged("no slots"))? {
            let [slot, missing, desired] = slot[..] else { return Err(damaged("a slot")) };
            ledger.slots.insert(slot, (missing.max(0), desired.max(0)));
        }
        for one in lists(10).ok_or(damaged("no allowances"))? {
            let [code, pods, until] = one[..] else { return Err(damaged("an allowance")) };
            let cause = cause(code).ok_or(damaged("unknown cause"))?;
            let pods = u32::try_from(pods).map_err(|_| damaged("an allowance"))?;
            ledger.allowances.push(Allowance { cause, pods, until });
        }
        Ok(ledger)
    }
}

fn numbers(value: &Value) -> Option<Vec<i64>> {
    value.as_array()?.iter().map(Value::as_i64).collect()
}

fn prepended(first: i64, rest: Vec<i64>) -> Vec<i64> {
    std::iter::once(first).chain(rest).collect()
}

/// Causes are only ever added at the end of [`Cause::ALL`].
fn code(cause: Cause) -> i64 {
    let at = Cause::ALL.iter().position(|one| *one == cause);
    at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
}

fn cause(code: i64) -> Option<Cause> {
    Cause::ALL.get(usize::try_from(code).ok()?).copied()
}
