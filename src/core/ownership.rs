//! Which policy owns a Deployment that several select.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::api::HealthPolicy;
use crate::core::selector;

/// Who owns a Deployment.
#[derive(Clone, Debug, Default)]
pub struct Ownership<'a> {
    /// The policy that owns it; None when none selects it.
    pub winner: Option<&'a HealthPolicy>,
    /// The other policies that select it, the strongest first.
    pub losers: Vec<&'a HealthPolicy>,
}

/// Of the policies of the Deployment's namespace that select these labels, the highest priority owns it, then the
/// oldest, then the first by name. A suspended policy owns too; one that is being deleted does not. A policy without
/// a creation timestamp (from a file) counts as the newest.
pub fn owner<'a>(
    policies: impl IntoIterator<Item = &'a HealthPolicy>,
    labels: &BTreeMap<String, String>,
) -> Ownership<'a> {
    let mut candidates: Vec<&HealthPolicy> = policies
        .into_iter()
        .filter(|policy| policy.metadata.deletion_timestamp.is_none())
        .filter(|policy| selector::matches(&policy.spec.selector, labels))
        .collect();
    candidates.sort_by_key(|policy| {
        let created = policy.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(policy.spec.priority), created.is_none(), created, policy.metadata.name.clone())
    });
    let mut candidates = candidates.into_iter();
    Ownership { winner: candidates.next(), losers: candidates.collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str, priority: i32, created: Option<&str>, tier: &str) -> HealthPolicy {
        let metadata = json!({"name": name, "creationTimestamp": created});
        let spec = json!({"selector": {"matchLabels": {"tier": tier}}, "priority": priority});
        serde_json::from_value(json!({
            "apiVersion": "gracekeeper.dev/v1alpha1", "kind": "HealthPolicy", "metadata": metadata, "spec": spec
        }))
        .unwrap()
    }

    #[test]
    fn the_strongest_then_the_oldest_then_the_first_name_owns() {
        let (old, new) = (Some("2026-01-01T00:00:00Z"), Some("2026-02-01T00:00:00Z"));
        let mut leaving = policy("leaving", 99, old, "web");
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        let policies = [
            policy("file", 0, None, "web"),
            policy("b", 0, old, "web"),
            policy("a", 0, old, "web"),
            policy("c", 0, new, "web"),
            policy("strong", 5, new, "web"),
            policy("elsewhere", 9, old, "db"),
            leaving,
        ];
        let ownership = owner(&policies, &BTreeMap::from([("tier".to_owned(), "web".to_owned())]));
        let names: Vec<_> = ownership
            .winner
            .into_iter()
            .chain(ownership.losers)
            .map(|policy| policy.metadata.name.clone().unwrap())
            .collect();
        assert_eq!(names, ["strong", "a", "b", "c", "file"]);
        assert!(owner(&policies, &BTreeMap::new()).winner.is_none());
    }
}
