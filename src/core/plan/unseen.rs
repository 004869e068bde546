//! What rode along in somebody's write, where nothing is remembered of it yet.

use serde_json::{Value, json};

use super::field::Field;
use super::ledger::{self, Ledger, Owner};
use super::workload::Workload;
use crate::api::workload_health::HeldField;

/// The ledger of a Deployment that nobody has looked at, by its marker and the originals beside it: a plan with it comes to what a
/// plan without any comes to. A marker that lists nothing of what is there, whoever wrote it, tells of nothing.
pub fn rode_along(deployment: &Value) -> Vec<HeldField> {
    let Some(workload) = Workload::read(deployment) else { return Vec::new() };
    let annotations = deployment.pointer("/metadata/annotations").filter(|value| value.is_object());
    let ledger = Ledger::of(&[], annotations);
    let zero = json!(0); // an absent one that is ours is a minReadySeconds of 0
    let entry = |container: &str, field: Field, current: Option<&Value>| {
        let Owner::Ours { original } = ledger.owner((container, field), current, true) else { return None };
        Some(HeldField {
            container: container.into(),
            field: field.as_str().into(),
            value: ledger::record(field, current.unwrap_or(&zero)),
            // Who is not allowed to give back an exec handler must be able to take it out: it stays with the annotation alone.
            original: original.as_ref().filter(|own| own.get("exec").is_none()).and_then(ledger::remember),
        })
    };
    let numbers = Field::OF_WORKLOAD.into_iter().map(|field| entry("", field, workload.current(field)));
    let of_containers = workload
        .lasting()
        .flat_map(|container| Field::OF_CONTAINER.map(|field| entry(container.name, field, container.current(field))));
    numbers.chain(of_containers).flatten().collect()
}
