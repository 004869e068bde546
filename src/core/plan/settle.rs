//! What becomes of one field, given who set it and what the policy wants of it.

use serde_json::{Value, json};

use super::field::Field;
use super::ledger::Owner;
use super::normal::{equal, is_present};

/// What the policy wants of one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Want {
    /// Nothing: what is ours is given back.
    Nothing,
    /// This value, unless the workload has its own.
    Fill(Value),
    /// This value, whatever the workload has.
    Replace(Value),
}

/// One field as it is.
pub(super) struct Slot<'a> {
    pub(super) field: Field,
    pub(super) current: Option<&'a Value>,
    /// What to remember when the field is absent: None, or how exactly its absence is written.
    pub(super) absence: Option<Value>,
    pub(super) owner: Owner,
}

/// What becomes of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Settled {
    pub(super) write: Write,
    /// Our value and the original, when the field is ours afterwards.
    pub(super) held: Option<(Value, Option<Value>)>,
    /// The workload's own value stays although the policy wants another.
    pub(super) kept: bool,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Write {
    #[default]
    Nothing,
    Value(Value),
    /// Remove the field. `keep_parent`: its (then empty) parent was there before us.
    Removal {
        keep_parent: bool,
    },
}

/// Settles a field that is taken or left whole.
pub(super) fn settle(slot: Slot<'_>, want: Want) -> Settled {
    let Slot { field, current, absence, owner } = slot;
    match (owner, want) {
        (Owner::Nobody | Owner::Foreign, Want::Nothing) => Settled::default(),
        (Owner::Ours { original }, Want::Nothing) => give_back(field, current, original),
        (Owner::Nobody, Want::Fill(value) | Want::Replace(value)) => {
            if equal(field, current, Some(&value)) {
                Settled::default()
            } else {
                hold(field, current, value, absence)
            }
        }
        (Owner::Foreign, Want::Fill(value)) => {
            Settled { kept: !equal(field, current, Some(&value)), ..Settled::default() }
        }
        (Owner::Foreign, Want::Replace(value)) => {
            if equal(field, current, Some(&value)) {
                Settled::default()
            } else {
                hold(field, current, value, current.cloned())
            }
        }
        (Owner::Ours { original }, Want::Fill(value) | Want::Replace(value))
            if is_same(field, original.as_ref(), &value) =>
        {
            give_back(field, current, original)
        }
        (Owner::Ours { original }, Want::Fill(_)) if original.as_ref().is_some_and(|own| is_present(field, own)) => {
            // Taken under Replace, and now the policy says Keep: the workload's own value comes back.
            Settled { kept: true, ..give_back(field, current, original) }
        }
        (Owner::Ours { original }, Want::Fill(value) | Want::Replace(value)) => hold(field, current, value, original),
    }
}

/// Whether the policy now wants what was there before us.
fn is_same(field: Field, original: Option<&Value>, value: &Value) -> bool {
    equal(field, original, Some(value))
}

fn hold(field: Field, current: Option<&Value>, value: Value, original: Option<Value>) -> Settled {
    let write = if equal(field, current, Some(&value)) { Write::Nothing } else { Write::Value(value.clone()) };
    Settled { write, held: Some((value, original)), kept: false }
}

fn give_back(field: Field, current: Option<&Value>, original: Option<Value>) -> Settled {
    let write = match original {
        Some(original) if !original.is_null() => {
            if current == Some(&original) || (current.is_none() && equal(field, None, Some(&original))) {
                Write::Nothing
            } else {
                Write::Value(original)
            }
        }
        _ if current.is_none() => Write::Nothing,
        original => Write::Removal { keep_parent: original.is_some() },
    };
    Settled { write, ..Settled::default() }
}

/// Settles a number that is only ever raised: to `need`, from the workload's own value or else the server's default.
///
/// When the original is known, the base is that original, so that a policy which asks for less later gives back what
/// it no longer needs; the workload's own value is never undercut. `floor` is what the rest of the template demands
/// of the number even when we let it go; an API server would refuse less.
pub(super) fn raise(slot: Slot<'_>, need: Option<i64>, default: i64, floor: i64) -> Settled {
    let Slot { field, current, absence: _, owner } = slot;
    let need = need.map(|need| need.max(floor));
    let now = match current {
        None => default,
        Some(value) => match value.as_i64() {
            Some(now) => now,
            // Not a number: the server would refuse it, and it is not ours to mend.
            None => return Settled::default(),
        },
    };
    let Owner::Ours { original } = owner else {
        return match need {
            Some(need) if need > now => hold(field, current, json!(need), current.cloned()),
            _ => Settled::default(),
        };
    };
    let own = original.as_ref().and_then(Value::as_i64);
    let base = own.unwrap_or(now);
    match need {
        Some(need) if own.is_none() || need > base => hold(field, current, json!(need.max(base)), original),
        // Let go. The floor goes first: a number below it would make the whole write invalid.
        _ if own.unwrap_or(default) < floor => {
            let write = if now == floor { Write::Nothing } else { Write::Value(json!(floor)) };
            Settled { write, ..Settled::default() }
        }
        _ => give_back(field, current, original),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(current: Option<&Value>, owner: Owner) -> Slot<'_> {
        Slot { field: Field::ReadinessProbe, current, absence: None, owner }
    }

    #[test]
    fn keep_and_replace_treat_each_owner_as_promised() {
        let [a, b, c] = ["a", "b", "c"].map(|path| json!({"httpGet": {"path": path, "port": 80}}));
        let mut a_defaulted = a.clone();
        a_defaulted["periodSeconds"] = json!(10);
        let ours = |original: Option<&Value>| Owner::Ours { original: original.cloned() };
        let fill = |value: &Value| Want::Fill(value.clone());
        let replace = |value: &Value| Want::Replace(value.clone());
        let nothing = || Settled::default();
        let set = |value: &Value, original: Option<&Value>| Settled {
            write: Write::Value(value.clone()),
            held: Some((value.clone(), original.cloned())),
            kept: false,
        };
        let stays = |value: &Value, original: Option<&Value>| Settled { write: Write::Nothing, ..set(value, original) };
        let back = |value: &Value, kept| Settled { write: Write::Value(value.clone()), held: None, kept };
        let removed = Settled { write: Write::Removal { keep_parent: false }, ..nothing() };
        for (name, current, owner, want, settled) in [
            ("absent, no wish", None, Owner::Nobody, Want::Nothing, nothing()),
            ("absent, keep", None, Owner::Nobody, fill(&a), set(&a, None)),
            ("absent, replace", None, Owner::Nobody, replace(&a), set(&a, None)),
            ("foreign, no wish", Some(&b), Owner::Foreign, Want::Nothing, nothing()),
            ("foreign, keep", Some(&b), Owner::Foreign, fill(&a), Settled { kept: true, ..nothing() }),
            ("foreign and equal, keep", Some(&a_defaulted), Owner::Foreign, fill(&a), nothing()),
            ("foreign, replace", Some(&b), Owner::Foreign, replace(&a), set(&a, Some(&b))),
            ("foreign and equal, replace", Some(&a_defaulted), Owner::Foreign, replace(&a), nothing()),
            ("ours, no wish", Some(&a), ours(None), Want::Nothing, removed),
            ("ours over another, no wish", Some(&a), ours(Some(&b)), Want::Nothing, back(&b, false)),
            ("ours, same wish", Some(&a_defaulted), ours(None), fill(&a), stays(&a, None)),
            ("ours, new wish", Some(&a), ours(None), fill(&c), set(&c, None)),
            ("ours over another, new wish", Some(&a), ours(Some(&b)), replace(&c), set(&c, Some(&b))),
            ("ours over another, now keep", Some(&a), ours(Some(&b)), fill(&a), back(&b, true)),
            ("the wish meets the original", Some(&a), ours(Some(&b)), replace(&b), back(&b, false)),
        ] {
            assert_eq!(self::settle(slot(current, owner), want), settled, "{name}");
        }
    }

    #[test]
    fn a_raised_number_follows_the_need_and_never_undercuts_the_original() {
        let ours = |original: Option<i64>| Owner::Ours { original: original.map(|own| json!(own)) };
        // name, now, owner, need, floor -> written, held original
        for (name, now, owner, need, floor, written, held) in [
            ("absent and enough", None, Owner::Nobody, Some(30), 0, None, None),
            ("absent and too short", None, Owner::Nobody, Some(31), 0, Some(json!(31)), Some(None)),
            ("own and enough", Some(90), Owner::Foreign, Some(31), 0, None, None),
            ("own and too short", Some(10), Owner::Foreign, Some(31), 0, Some(json!(31)), Some(Some(10))),
            ("zero", Some(0), Owner::Foreign, Some(31), 0, Some(json!(31)), Some(Some(0))),
            ("no wish", Some(10), Owner::Foreign, None, 0, None, None),
            ("ours, same need", Some(31), ours(Some(10)), Some(31), 0, None, Some(Some(10))),
            ("ours, more", Some(31), ours(Some(10)), Some(40), 0, Some(json!(40)), Some(Some(10))),
            ("ours, less", Some(31), ours(Some(10)), Some(20), 0, Some(json!(20)), Some(Some(10))),
            ("ours, no longer needed", Some(31), ours(Some(10)), Some(9), 0, Some(json!(10)), None),
            ("ours, let go", Some(31), ours(Some(10)), None, 0, Some(json!(10)), None),
            ("ours, let go above a sleep", Some(31), ours(Some(10)), None, 25, Some(json!(25)), None),
            ("ours, original unknown, less", Some(31), ours(None), Some(20), 0, None, Some(None)),
            ("ours, original unknown, let go", Some(31), ours(None), None, 0, Some(Value::Null), None),
        ] {
            let current = now.map(|now| json!(now));
            let field = Field::TerminationGracePeriodSeconds;
            let slot = Slot { field, current: current.as_ref(), absence: None, owner };
            let settled = raise(slot, need, 30, floor);
            let got = match settled.write {
                Write::Nothing => None,
                Write::Value(value) => Some(value),
                Write::Removal { .. } => Some(Value::Null),
            };
            assert_eq!(got, written, "{name}");
            assert_eq!(settled.held.map(|(_, original)| original.and_then(|own| own.as_i64())), held, "{name}");
        }
    }
}
