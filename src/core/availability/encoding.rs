//! How a ledger is stored: one line of JSON that consists of numbers, with a version in front.

use serde_json::{Value, json};

use self::DecodeError::Damaged;
use super::bucket::{Bucket, Level};
use super::episode::Cause;
use super::ledger::{Allowance, DAY, Ledger, MAX_ALLOWANCES, MAX_DAYS, MAX_SLOTS, SLOT};

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

/// Characters of the longest stored form: what the API takes.
const MAX_TEXT: usize = 16_384;
/// The last moment that the API can tell, in milliseconds since 1970.
const LAST: i64 = 253_402_207_199_999;
/// Numbers and lists in the form.
const PARTS: usize = 15;

impl Ledger {
    /// The stored form, without the episodes: those are stored for people to read. Days and slots are counted back from
    /// the last one.
    pub fn encode(&self) -> String {
        let cause = self.cause.map_or(-1, code);
        let (today, this) = (self.as_of.div_euclid(DAY), self.as_of.div_euclid(SLOT));
        let days = self.days.iter().map(|(day, bucket)| prepended(today.saturating_sub(*day), bucket.numbers()));
        let slots = self.slots.iter().map(|(slot, sums)| vec![this.saturating_sub(*slot), sums.0, sums.1]);
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
            self.wanted.map_or(-1, i64::from),
            self.evicted,
            self.template.unwrap_or(-1),
            self.behind_since.unwrap_or(-1),
        ])
        .to_string()
    }

    /// From the stored form. Nothing in it is trusted: a time after its own last moment, a day that is longer than one,
    /// more missing than wanted are damage, not figures.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        if text.len() > MAX_TEXT {
            return Err(Damaged("too long"));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| Damaged("no JSON"))?;
        let parts = value.as_array().ok_or(Damaged("no list"))?;
        let number = |index: usize| parts.get(index).and_then(Value::as_i64);
        match number(0) {
            Some(VERSION) => {}
            Some(other) => return Err(DecodeError::Version(other)),
            None => return Err(Damaged("no version")),
        }
        if parts.len() != PARTS {
            return Err(Damaged("not all there"));
        }
        let list = |index: usize| parts.get(index).and_then(numbers);
        let lists =
            |index: usize| parts.get(index).and_then(Value::as_array)?.iter().map(numbers).collect::<Option<Vec<_>>>();
        let optional = |index: usize, what| match number(index) {
            Some(-1) => Ok(None),
            Some(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Damaged(what)),
        };
        let as_of = number(1).filter(|at| (0..=LAST).contains(at)).ok_or(Damaged("no time"))?;
        let mut ledger = Self::begin(as_of);
        ledger.is_stored = true;
        ledger.level = list(2).and_then(|of| Level::from_numbers(&of)).ok_or(Damaged("no level"))?;
        ledger.cause = match number(3) {
            Some(-1) => None,
            Some(code) => Some(cause(code).ok_or(Damaged("unknown cause"))?),
            None => return Err(Damaged("no cause")),
        };
        ledger.is_settled = match number(4) {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(Damaged("not settled, nor unsettled")),
        };
        ledger.generation = number(5).ok_or(Damaged("no generation"))?;
        ledger.born = number(6).filter(|born| (0..=as_of).contains(born)).ok_or(Damaged("no first look"))?;
        ledger.life = list(7).and_then(|of| Bucket::from_numbers(&of)).ok_or(Damaged("no sum"))?;
        for day in lists(8).ok_or(Damaged("no days"))? {
            let (ago, sums) = day.split_first().ok_or(Damaged("an empty day"))?;
            let sums = Bucket::from_numbers(sums).filter(|sums| sums.span() <= DAY && sums.missing() <= sums.desired);
            let day = back(as_of.div_euclid(DAY), *ago, MAX_DAYS).ok_or(Damaged("a day out of range"))?;
            if ledger.days.insert(day, sums.ok_or(Damaged("a day"))?).is_some() {
                return Err(Damaged("a day twice"));
            }
        }
        for slot in lists(9).ok_or(Damaged("no slots"))? {
            let [ago, missing, desired] = slot[..] else { return Err(Damaged("a slot")) };
            let slot = back(as_of.div_euclid(SLOT), ago, MAX_SLOTS).ok_or(Damaged("a slot out of range"))?;
            if !(0..=desired).contains(&missing) || ledger.slots.insert(slot, (missing, desired)).is_some() {
                return Err(Damaged("a slot"));
            }
        }
        for one in lists(10).ok_or(Damaged("no allowances"))? {
            let [code, pods, until] = one[..] else { return Err(Damaged("an allowance")) };
            let cause = cause(code).ok_or(Damaged("unknown cause"))?;
            let pods = u32::try_from(pods).map_err(|_| Damaged("an allowance"))?;
            ledger.allowances.push(Allowance { cause, pods, until });
        }
        if ledger.allowances.len() > MAX_ALLOWANCES {
            return Err(Damaged("too many allowances"));
        }
        let small = |number: i64, what| u32::try_from(number).map_err(|_| Damaged(what));
        ledger.wanted = optional(11, "what was wanted")?.map(|number| small(number, "what was wanted")).transpose()?;
        ledger.evicted = small(number(12).unwrap_or(-1), "evicted pods")?;
        ledger.template = optional(13, "the template")?;
        ledger.behind_since = optional(14, "the lag of the status")?;
        Ok(ledger)
    }
}

/// The day or slot so many before the last one.
fn back(last: i64, ago: i64, kept: i64) -> Option<i64> {
    (0..kept).contains(&ago).then(|| last.saturating_sub(ago))
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
