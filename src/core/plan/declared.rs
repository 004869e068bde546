//! What a workload itself declares of the fields that a policy can set. A policy's edit leaves it as it is; a fix of the
//! workload's own probe does not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::field::Field;
use super::ledger::{Ledger, Owner};
use super::normal::normal;
use super::workload::{DEFAULT_GRACE_SECONDS, Workload};
use crate::api::workload_health::HeldField;
use crate::core::{canonical, managers};

/// Hash of the workload's own probes, preStop hooks and grace period; what we set counts as what was there before us.
/// Empty when the Deployment has no template that can be read.
pub fn declared_hash(deployment: &Value, held: &[HeldField]) -> String {
    let Some(workload) = Workload::read(deployment) else { return String::new() };
    let ledger = Ledger::of(held, deployment.pointer("/metadata/annotations"));
    let grace = Field::TerminationGracePeriodSeconds;
    let own = |container: &str, field: Field, current: Option<&Value>| {
        let claimed = container.is_empty() || managers::is_claimed(deployment, container, field.path());
        let value = match ledger.owner((container, field), current, claimed) {
            Owner::Ours { original } => original,
            Owner::Foreign | Owner::Nobody => current.cloned(),
        };
        // What the server fills in is nobody's declaration.
        let is_default = field == grace && value.as_ref().and_then(Value::as_i64) == Some(DEFAULT_GRACE_SECONDS);
        normal(field, value.as_ref()).filter(|_| !is_default)
    };
    let mut declared: BTreeMap<String, Value> = BTreeMap::new();
    let mut put = |container: &str, field: Field, current: Option<&Value>| {
        if let Some(value) = own(container, field, current) {
            declared.insert(format!("{container}/{field}"), value);
        }
    };
    put("", grace, workload.current(grace));
    for container in workload.lasting() {
        for field in Field::OF_CONTAINER {
            put(container.name, field, container.current(field));
        }
    }
    canonical::hash(&json!(declared))
}
