//! Values that the API server does not store as they are asked for: it does not know the field, its feature is switched
//! off, or an admission policy of the cluster changes it. They are left out until the policy asks for another value.

use serde_json::Value;

use super::field::Field;
use super::ledger::{self, Key};
use super::{Change, Finding, Plan, Reason, describe, normal};
use crate::api::workload_health::HeldField;

/// Whether this value of this field was seen not to be stored.
pub(super) fn lists(unsupported: &[HeldField], (container, field): Key<'_>, value: &Value) -> bool {
    let entries = unsupported.iter().filter(|e| e.container == container && e.field == field.as_str());
    entries.into_iter().any(|entry| entry.value == ledger::record(field, value))
}

pub(super) fn finding(container: &str, field: Field, value: &Value) -> Finding {
    let value = describe::describe(field, Some(value));
    let message = format!("The API server does not store {field} as the policy asks for it ({value}).");
    Finding::new(Reason::Unsupported, container, message)
}

impl Plan {
    /// Values of this plan that `stored`, the Deployment as the API server answered, does not have.
    pub fn dropped_in(&self, stored: &Value) -> Vec<HeldField> {
        let dropped = self.changes.iter().filter_map(|change| {
            let wanted = change.to.as_ref()?;
            let there = stored.pointer(&change.path);
            (!normal::equal(change.field, there, Some(wanted))).then(|| HeldField {
                container: change.container.clone(),
                field: change.field.as_str().into(),
                value: ledger::record(change.field, wanted),
                original: None,
            })
        });
        dropped.collect()
    }

    /// The first finding that says that something which was asked for is not written.
    pub fn blocking_finding(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.reason.blocks())
    }
}

impl Change {
    /// Whether the field held our value before, and holds another one or none now.
    pub fn reverses(&self, held: &[HeldField]) -> bool {
        let mut entries =
            held.iter().filter(|e| e.container == self.container && e.field == self.field.as_str()).peekable();
        entries.peek().is_some() && entries.all(|entry| !ledger::records(entry, self.field, self.from.as_ref()))
    }
}

impl Reason {
    /// Whether it means that something which was asked for is not written.
    pub fn blocks(self) -> bool {
        matches!(
            self,
            Self::MissingContainer
                | Self::InitContainer
                | Self::AmbiguousContainer
                | Self::UnknownPort
                | Self::PsaRefuses
                | Self::Denied
                | Self::Unsupported
                | Self::DrainDoesNotFit
                | Self::OriginalTooLong
        )
    }
}
