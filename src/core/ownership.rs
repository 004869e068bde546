//! Which policy owns a Deployment, by one rule for the operator and the command line.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::plan::surroundings::labels_of;
use super::selector;
use crate::api::selector::Selector;

/// A policy that may own a Deployment of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Contender<'a> {
    /// Name.
    pub name: &'a str,
    /// `spec.priority`.
    pub priority: i32,
    /// `metadata.creationTimestamp`; `None` (a policy from a file) counts as the newest.
    pub created: Option<Timestamp>,
    /// `spec.selector`.
    pub selector: &'a Selector,
}

/// Who owns a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership<T> {
    /// The strongest that selects it.
    pub winner: Option<T>,
    /// The others that select it, the stronger first.
    pub losers: Vec<T>,
}

/// The higher priority, then the older, then the name. A suspended policy owns as well: else suspending it would hand
/// its Deployments to another one. A policy that is being deleted is no contender.
pub fn owner<'a, T>(
    contenders: impl Iterator<Item = (Contender<'a>, T)>,
    labels: &BTreeMap<String, String>,
) -> Ownership<T> {
    let mut selecting: Vec<(Contender<'a>, T)> =
        contenders.filter(|(contender, _)| selector::matches(contender.selector, labels)).collect();
    selecting.sort_by_key(|(contender, _)| rank(contender));
    let mut policies = selecting.into_iter().map(|(_, policy)| policy);
    Ownership { winner: policies.next(), losers: policies.collect() }
}

/// The smaller is the stronger.
pub fn rank<'a>(contender: &Contender<'a>) -> impl Ord + use<'a> {
    (Reverse(contender.priority), contender.created.is_none(), contender.created, contender.name)
}

/// Labels of a Deployment.
pub fn labels(deployment: &Value) -> BTreeMap<String, String> {
    labels_of(deployment.pointer("/metadata/labels"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_then_age_then_name_decides_and_the_others_are_named() {
        let all = Selector::default();
        let contender = |name, priority, created: Option<i64>| {
            let created = created.map(|second| Timestamp::from_second(second).unwrap());
            (Contender { name, priority, created, selector: &all }, name)
        };
        let order = |contenders: &[(Contender<'_>, &'static str)]| {
            let ownership = owner(contenders.iter().copied(), &BTreeMap::new());
            ownership.winner.into_iter().chain(ownership.losers).collect::<Vec<_>>()
        };
        assert!(order(&[]).is_empty());
        let equals = [contender("b", 0, Some(5)), contender("a", 0, Some(5)), contender("c", 0, Some(1))];
        assert_eq!(order(&equals), ["c", "a", "b"]);
        assert_eq!(order(&[contender("old", 0, Some(1)), contender("strong", 7, Some(9))]), ["strong", "old"]);
        assert_eq!(order(&[contender("a-file", 0, None), contender("live", 0, Some(9))]), ["live", "a-file"]);
    }

    #[test]
    fn a_policy_that_does_not_select_takes_no_part() {
        let web: Selector = serde_json::from_str(r#"{"matchLabels": {"tier": "web"}}"#).unwrap();
        let contender = Contender { name: "a", priority: 9, created: None, selector: &web };
        assert_eq!(owner([(contender, ())].into_iter(), &BTreeMap::new()).winner, None);
    }
}
