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
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `spec.selector`.
    pub selector: &'a Selector,
}

/// Who owns a Deployment: positions in the list of contenders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The strongest that selects it.
    pub winner: Option<usize>,
    /// The others that select it, the stronger first.
    pub losers: Vec<usize>,
}

/// The higher priority, then the older, then the name. A suspended policy owns as well: else suspending it would hand
/// its Deployments to another one.
pub fn owner<'a>(contenders: impl Iterator<Item = Contender<'a>>, labels: &BTreeMap<String, String>) -> Ownership {
    let mut selecting: Vec<(usize, Contender<'a>)> =
        contenders.enumerate().filter(|(_, contender)| selector::matches(contender.selector, labels)).collect();
    selecting.sort_by_key(|(_, contender)| (Reverse(contender.priority), contender.created, contender.name));
    let mut positions = selecting.into_iter().map(|(position, _)| position);
    Ownership { winner: positions.next(), losers: positions.collect() }
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
        let at = |second| Timestamp::from_second(second).unwrap();
        let contender = |name, priority, created| Contender { name, priority, created: at(created), selector: &all };
        let order = |contenders: &[Contender<'_>]| {
            let ownership = owner(contenders.iter().copied(), &BTreeMap::new());
            let all = ownership.winner.into_iter().chain(ownership.losers);
            all.map(|position| contenders[position].name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(&[]), Vec::<String>::new());
        assert_eq!(order(&[contender("b", 0, 5), contender("a", 0, 5), contender("c", 0, 1)]), ["c", "a", "b"]);
        assert_eq!(order(&[contender("old", 0, 1), contender("strong", 7, 9)]), ["strong", "old"]);
    }

    #[test]
    fn a_policy_that_does_not_select_takes_no_part() {
        let none: Selector = serde_json::from_str(r#"{"matchLabels": {"tier": "web"}}"#).unwrap();
        let contender = Contender { name: "a", priority: 9, created: Timestamp::UNIX_EPOCH, selector: &none };
        assert_eq!(owner([contender].into_iter(), &BTreeMap::new()), Ownership::default());
    }
}
