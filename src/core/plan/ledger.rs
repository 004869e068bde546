//! Which values are ours. Two sources: the ledger (`status.heldFields`, with values and originals), and the marker on
//! the Deployment, a hint that also survives the loss of the ledger.
//!
//! The ledger may hold several entries for one field: while a write is on its way, the value before and the value
//! after are both ours, whichever the write leaves there (see [`super::Plan::held_while_writing`]).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::field::Field;
use super::normal;
use crate::api::workload_health::HeldField;
use crate::api::{FILLED_BY_ANNOTATION, MARKER_ANNOTATION, ORIGINAL_PREFIX};
use crate::core::canonical;

/// Longest value or original that the ledger stores, in bytes (the schema counts characters, which are no more).
const VALUE_LIMIT: usize = 65_536;
/// Begins a ledger value that is only a hash, because the value is too long to store, or may hold a secret.
const HASH_PREFIX: &str = "#";

/// A container's name (empty for fields of the pod or the Deployment) and a field of it.
pub(super) type Key<'a> = (&'a str, Field);

/// Who set the value that is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owner {
    /// Nothing is there.
    Nobody,
    /// The workload itself, or another writer.
    Foreign,
    /// We. The original is what was there before: None when nothing was, or when nobody knows.
    Ours { original: Option<Value> },
}

pub(super) struct Ledger<'a> {
    entries: BTreeMap<Key<'a>, Vec<&'a HeldField>>,
    marked: BTreeSet<Key<'a>>,
    /// What was there before, by the annotations of a policy that rode along; it is newer than what the entries say.
    noted: BTreeMap<Key<'a>, Value>,
}

impl<'a> Ledger<'a> {
    fn read(held: &'a [HeldField], marker: &'a str) -> Self {
        let mut entries: BTreeMap<Key<'a>, Vec<&'a HeldField>> = BTreeMap::new();
        for entry in held {
            if let Some(field) = Field::parse(&entry.field) {
                entries.entry((&entry.container, field)).or_default().push(entry);
            }
        }
        Self { entries, marked: marker.split(',').filter_map(marker_key).collect(), noted: BTreeMap::new() }
    }

    /// The ledger of a Deployment with these annotations: with the marker, and with the originals that they tell of fields
    /// that it lists.
    pub(super) fn of(held: &'a [HeldField], annotations: Option<&'a Value>) -> Self {
        let marker = annotations.and_then(|annotations| annotations.get(MARKER_ANNOTATION)).and_then(Value::as_str);
        let mut ledger = Self::read(held, marker.unwrap_or_default());
        for (.., key, original) in originals(annotations) {
            if let Some(original) = original.filter(|_| ledger.marked.contains(&key)) {
                ledger.noted.insert(key, original);
            }
        }
        ledger
    }

    fn original(&self, key: Key<'_>, entry: Option<&HeldField>) -> Option<Value> {
        let noted = self.noted.get(&key).cloned();
        noted.or_else(|| entry?.original.as_deref().and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Who set the value that is there. `claimed` tells whether somebody else owns a part of it: what is left of a
    /// value of ours after others took parts of it away is ours still, and not theirs.
    pub(super) fn owner(&self, key: Key<'_>, current: Option<&Value>, claimed: bool) -> Owner {
        let entries = self.entries.get(&key).map(Vec::as_slice).unwrap_or_default();
        if let Some(entry) = entries.iter().find(|entry| records(entry, key.1, current)) {
            return Owner::Ours { original: self.original(key, Some(entry)) };
        }
        if !current.is_some_and(|value| normal::is_present(key.1, value)) {
            // Our 0 that rode along over another number.
            let is_zero = key.1 == Field::MinReadySeconds && entries.is_empty() && self.noted.contains_key(&key);
            return if is_zero { Owner::Ours { original: self.original(key, None) } } else { Owner::Nobody };
        }
        if let Some(entry) = entries.first().filter(|_| !claimed) {
            return Owner::Ours { original: self.original(key, Some(entry)) };
        }
        if entries.is_empty() && self.marked.contains(&key) {
            return Owner::Ours { original: self.original(key, None) };
        }
        Owner::Foreign
    }

    /// The owner of a number that is just what the policy needs: ours where the marker lists it, though the entry says another
    /// one. Then it was raised as the policy rode along in somebody's write (docs/ride-along.md).
    pub(super) fn owner_of_needed(&self, key: Key<'_>, owner: Owner) -> Owner {
        if owner == Owner::Foreign && self.is_marked(key) {
            return Owner::Ours { original: self.original(key, self.first(key)) };
        }
        owner
    }

    /// The first entry of a field, whatever is there.
    pub(super) fn first(&self, key: Key<'_>) -> Option<&'a HeldField> {
        self.entries.get(&key)?.first().copied()
    }

    /// The entry that speaks of the value that is there.
    pub(super) fn entry(&self, key: Key<'_>, current: Option<&Value>) -> Option<&'a HeldField> {
        self.entries.get(&key)?.iter().copied().find(|entry| records(entry, key.1, current))
    }

    pub(super) fn is_marked(&self, key: Key<'_>) -> bool {
        self.marked.contains(&key)
    }
}

/// Whether the entry speaks of the value that is there.
pub(super) fn records(entry: &HeldField, field: Field, current: Option<&Value>) -> bool {
    // An absent field is nobody's, save for minReadySeconds: the server stores our 0 as absent.
    if current.is_none() && field != Field::MinReadySeconds {
        return false;
    }
    if let Some(hash) = entry.value.strip_prefix(HASH_PREFIX) {
        return normal::normal(field, current).is_some_and(|value| canonical::hash(&value) == hash);
    }
    serde_json::from_str::<Value>(&entry.value).is_ok_and(|value| normal::equal(field, Some(&value), current))
}

/// Our value as the ledger stores it.
pub(super) fn record(field: Field, value: &Value) -> String {
    let text = canonical::to_string(value);
    if text.len() <= VALUE_LIMIT && !may_hold_secret(value) {
        return text;
    }
    let value = normal::normal(field, Some(value)).unwrap_or_default();
    format!("{HASH_PREFIX}{}", canonical::hash(&value))
}

/// Commands, header values and query strings are not repeated where others can read them; a hash tells as well whether
/// the value is still ours.
fn may_hold_secret(value: &Value) -> bool {
    let query = value.pointer("/httpGet/path").and_then(Value::as_str).is_some_and(|path| path.contains('?'));
    query || ["/exec", "/httpGet/httpHeaders"].iter().any(|path| value.pointer(path).is_some())
}

/// An original as the ledger stores it; None when it is too long to be remembered, so that it must not be replaced.
pub(super) fn remember(original: &Value) -> Option<String> {
    Some(canonical::to_string(original)).filter(|text| text.len() <= VALUE_LIMIT)
}

/// The marker that lists these fields.
pub(super) fn marker(held: &[HeldField]) -> String {
    let names: BTreeSet<String> = held.iter().map(|entry| format!("{}/{}", entry.container, entry.field)).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

fn marker_key(item: &str) -> Option<Key<'_>> {
    let (container, field) = item.trim().split_once('/')?;
    let field = Field::parse(field)?;
    (container.is_empty() != field.is_of_container()).then_some((container, field))
}

/// The field that an annotation tells the original of.
fn original_key(annotation: &str) -> Option<Key<'_>> {
    let (prefix, field) = annotation.split_once('/')?;
    let field = Field::parse(field)?;
    let container = prefix.strip_suffix(ORIGINAL_PREFIX)?;
    let container = container.strip_suffix('.').unwrap_or(container);
    (container.is_empty() != field.is_of_container()).then_some((container, field))
}

/// Annotations that tell originals: as they are, of which field, and the original; `None` when it is no JSON.
fn originals(annotations: Option<&Value>) -> impl Iterator<Item = (&String, &Value, Key<'_>, Option<Value>)> {
    let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
    annotations.filter_map(|(annotation, text)| {
        let original = text.as_str().and_then(|text| serde_json::from_str(text).ok());
        Some((annotation, text, original_key(annotation)?, original))
    })
}

/// Annotations that go once the ledger tells it: with originals that are not (or no longer) those of the fields that we hold, and
/// who rode along.
pub(super) fn stale_annotations(annotations: Option<&Value>, held: &[HeldField]) -> Vec<(String, Value)> {
    let stale = originals(annotations).filter(|(_, _, (container, field), original)| {
        let original = original.as_ref().and_then(remember);
        !held
            .iter()
            .any(|entry| entry.container == *container && entry.field == field.as_str() && entry.original == original)
    });
    let filled_by =
        annotations.and_then(Value::as_object).and_then(|annotations| annotations.get_key_value(FILLED_BY_ANNOTATION));
    stale
        .map(|(annotation, text, ..)| (annotation, text))
        .chain(filled_by)
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect()
}

/// Whether the annotation tells an original.
pub(crate) fn is_original(annotation: &str) -> bool {
    original_key(annotation).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(value: &str, original: Option<&str>) -> HeldField {
        HeldField {
            container: "app".into(),
            field: "preStop".into(),
            value: value.into(),
            original: original.map(Into::into),
        }
    }

    #[test]
    fn a_value_is_ours_while_it_is_unchanged() {
        let sleep = |seconds: i64| json!({"sleep": {"seconds": seconds}});
        let entry = held(r#"{"sleep":{"seconds":5}}"#, Some(r#"{"exec":{"command":["x"]}}"#));
        let original = Some(json!({"exec": {"command": ["x"]}}));
        for (name, entries, marker, current, want) in [
            ("listed, equal", vec![entry.clone()], "", Some(sleep(5)), Owner::Ours { original: original.clone() }),
            ("listed, changed", vec![entry.clone()], "app/preStop", Some(sleep(6)), Owner::Foreign),
            ("listed, gone", vec![entry.clone()], "app/preStop", None, Owner::Nobody),
            ("marked only", vec![], "a/preStop,app/preStop", Some(sleep(6)), Owner::Ours { original: None }),
            ("marked, absent", vec![], "app/preStop", None, Owner::Nobody),
            ("neither", vec![], "app/livenessProbe", Some(sleep(6)), Owner::Foreign),
            (
                "a write on its way",
                vec![held(r#"{"sleep":{"seconds":4}}"#, None), entry],
                "",
                Some(sleep(5)),
                Owner::Ours { original: original.clone() },
            ),
        ] {
            let ledger = Ledger::read(&entries, marker);
            assert_eq!(ledger.owner(("app", Field::PreStop), current.as_ref(), true), want, "{name}");
            if want == Owner::Foreign && !entries.is_empty() {
                let unclaimed = ledger.owner(("app", Field::PreStop), current.as_ref(), false);
                assert_eq!(unclaimed, Owner::Ours { original: original.clone() }, "{name}, and nobody else owns it");
            }
        }
    }

    #[test]
    fn a_value_too_long_to_store_is_known_by_its_hash() {
        let long = json!({"exec": {"command": ["x".repeat(VALUE_LIMIT)]}});
        let text = record(Field::PreStop, &long);
        assert_eq!(text.len(), 17);
        let entries = [held(&text, None)];
        let ledger = Ledger::read(&entries, "");
        assert_eq!(ledger.owner(("app", Field::PreStop), Some(&long), true), Owner::Ours { original: None });
        assert_eq!(remember(&long), None);
    }

    #[test]
    fn a_value_that_may_hold_a_secret_is_known_by_its_hash() {
        for secret in [
            json!({"exec": {"command": ["hush"]}}),
            json!({"httpGet": {"port": 80, "path": "/?token=hush"}, "periodSeconds": 10}),
            json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "X", "value": "hush"}]}}),
        ] {
            let text = record(Field::LivenessProbe, &secret);
            assert!(text.starts_with(HASH_PREFIX) && !text.contains("hush"), "{text}");
            let entry = HeldField { field: "livenessProbe".into(), ..held(&text, None) };
            let mut stored = secret.clone();
            stored["failureThreshold"] = json!(3);
            assert!(records(&entry, Field::LivenessProbe, Some(&stored)), "with the server's defaults as well");
            stored["failureThreshold"] = json!(4);
            assert!(!records(&entry, Field::LivenessProbe, Some(&stored)));
        }
        let open = json!({"httpGet": {"port": 80, "path": "/livez"}});
        assert_eq!(record(Field::LivenessProbe, &open), open.to_string());
    }

    #[test]
    fn an_original_that_the_deployment_tells_is_newer_than_the_ledger() {
        let entry = held(r#"{"sleep":{"seconds":5}}"#, Some(r#"{"sleep":{"seconds":1}}"#));
        let annotations = json!({
            MARKER_ANNOTATION: "app/livenessProbe,app/preStop,/terminationGracePeriodSeconds",
            "app.original.gracekeeper.dev/preStop": r#"{"sleep": {"seconds": 2}}"#,
            "original.gracekeeper.dev/terminationGracePeriodSeconds": "45",
            "original.gracekeeper.dev/preStop": "{}", "app.original.gracekeeper.dev/minReadySeconds": "1",
            "other.original.gracekeeper.dev/preStop": "{}", "app.original.gracekeeper.dev/livenessProbe": "not JSON",
        });
        let (key, ours) = (("app", Field::PreStop), json!({"sleep": {"seconds": 5}}));
        for entries in [vec![], vec![entry]] {
            let ledger = Ledger::of(&entries, Some(&annotations));
            let original = Some(json!({"sleep": {"seconds": 2}}));
            assert_eq!(ledger.owner(key, Some(&ours), false), Owner::Ours { original: original.clone() });
            let grace = ("", Field::TerminationGracePeriodSeconds);
            assert_eq!(ledger.owner(grace, Some(&json!(62)), true), Owner::Ours { original: Some(json!(45)) });
            assert_eq!(ledger.noted.len(), 2, "what the marker does not list, or is no JSON, tells nothing");
        }
    }

    #[test]
    fn odd_markers_are_read_as_far_as_they_make_sense() {
        for marker in ["", ",", "/", "app", "app/", "/livenessProbe", "app/minReadySeconds", "app/nothing", "a/b/c"] {
            assert!(Ledger::read(&[], marker).marked.is_empty(), "{marker}");
        }
        assert!(Ledger::read(&[], " /minReadySeconds , app/preStop").is_marked(("app", Field::PreStop)));
    }
}
