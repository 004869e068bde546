//! When a policy may ride along in the users' own writes.
//!
//! The API server evaluates one policy at a time and cannot compare two (`charts/gracekeeper/templates/ride-along.yaml`),
//! so each is told in its status which policies are stronger, and acts on changes only once the weaker ones know of it.
//! In between nothing rides along, and the operator brings the fields by a rollout of its own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ownership::{Contender, rank};
use super::selector::matches;
use crate::api::policy_status::{RideAlongStatus, StrongerPolicy};
use crate::api::selector::Selector;

/// Stronger policies that the schema lets the status list.
const LIST_LIMIT: usize = 8;
/// Stands for policies that do not fit into the list.
const MORE: &str = "*";

/// Whether this cluster lets policies ride along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RideAlong {
    /// It is not wanted, or nobody knows.
    #[default]
    Off,
    /// The MutatingAdmissionPolicy and its binding are there.
    Installed,
    /// They are there, for other namespaces than this one.
    Exempt,
    /// The server has the kind, and one of the two is not there.
    NotInstalled,
    /// We may not look.
    Unseen,
    /// The server does not have the kind.
    NotServed,
}

impl RideAlong {
    /// Reason and sentence, for the log and the condition alike; `None` when there is nothing to say.
    pub fn told(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Off => None,
            Self::Installed => {
                Some(("Installed", "What users create or change carries the policy's fields when it is stored."))
            }
            Self::Exempt => Some((
                "Exempt",
                "The MutatingAdmissionPolicy or its binding leaves this namespace out (chart values rideAlong.excludedNamespaces, namespaces): \
                 the policy's fields come by one more rollout.",
            )),
            Self::Unseen => Some((
                "Unseen",
                "Whether the policy rides along in users' writes is not known: the right to get its MutatingAdmissionPolicy and \
                 the binding is missing, which the chart's ClusterRole has.",
            )),
            Self::NotServed => Some((
                "NotServed",
                "This API server has no MutatingAdmissionPolicy (Kubernetes 1.36): the policy's fields come by one more rollout \
                 after a Deployment is created, or loses them in a change.",
            )),
            Self::NotInstalled => Some((
                "NotInstalled",
                "This API server could let the policy ride along in users' writes, but the chart's MutatingAdmissionPolicy or \
                 its binding is not there: helm upgrade brings it. Until then its fields come by one more rollout.",
            )),
        }
    }
}

/// What the cluster has for policies to ride along by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The same for all namespaces that are not left out.
    pub state: RideAlong,
    /// What selects the namespaces that are not left out, by their labels; only their names are known to us.
    namespaces: [Selector; 2],
}

impl From<RideAlong> for Admission {
    fn from(state: RideAlong) -> Self {
        Self { state, namespaces: Default::default() }
    }
}

impl Admission {
    /// Of a stored MutatingAdmissionPolicy, and the binding of the same name. A binding of another policy is as good as not there; what
    /// is being deleted acts until it is gone. A selector that cannot be understood leaves nothing out. The chart's binding leaves out
    /// nothing, and may have been changed.
    pub fn of(policy: &Value, binding: &Value) -> Self {
        let name = policy.pointer("/metadata/name");
        if name.is_none() || binding.pointer("/spec/policyName") != name {
            return RideAlong::NotInstalled.into();
        }
        let namespaces = [(policy, "matchConstraints"), (binding, "matchResources")].map(|(object, of)| {
            let selector = object.pointer(&format!("/spec/{of}/namespaceSelector")).cloned();
            selector.and_then(|selector| serde_json::from_value(selector).ok()).unwrap_or_default()
        });
        Self { state: RideAlong::Installed, namespaces }
    }

    /// For the policies of this namespace. A label that exempts the namespace is not seen.
    pub fn in_namespace(&self, namespace: &str) -> RideAlong {
        let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        if self.state == RideAlong::Installed && !self.namespaces.iter().all(|selector| matches(selector, &labels)) {
            return RideAlong::Exempt;
        }
        self.state
    }
}

/// Another policy of the namespace that is not being deleted.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// What decides who is stronger.
    pub contender: Contender<'a>,
    /// What is stored of it.
    pub stored: Option<&'a RideAlongStatus>,
}

/// What to store of `this` policy, given whether the ledgers of its namespace hold originals; and whether to look again,
/// because a weaker one does not know of it yet.
pub fn status<'a>(
    this: &Peer<'a>,
    generation: i64,
    originals: bool,
    others: impl Iterator<Item = Peer<'a>>,
) -> (RideAlongStatus, bool) {
    let overlapping = others.filter(|other| !are_disjoint(this.contender.selector, other.contender.selector));
    let (weaker, mut stronger): (Vec<Peer<'_>>, Vec<Peer<'_>>) =
        overlapping.partition(|other| rank(&this.contender) < rank(&other.contender));
    stronger.sort_by(|one, two| one.contender.name.cmp(two.contender.name));
    let listed = |peer: &Peer<'_>| StrongerPolicy {
        name: peer.contender.name.into(),
        selector: peer.contender.selector.clone(),
    };
    let mut list: Vec<StrongerPolicy> = stronger.iter().take(LIST_LIMIT).map(listed).collect();
    if stronger.len() > LIST_LIMIT {
        list.truncate(LIST_LIMIT - 1);
        list.push(StrongerPolicy { name: MORE.into(), selector: Selector::default() });
    }
    let knows = |peer: &Peer<'_>| {
        peer.stored.is_some_and(|stored| {
            let of_this = |s: &StrongerPolicy| {
                s.name == MORE || s.name == this.contender.name && s.selector == *this.contender.selector
            };
            stored.stronger.iter().any(of_this)
        })
    };
    let is_known = weaker.iter().all(knows);
    let before = this.stored.and_then(|stored| stored.generation);
    let generation = if is_known { Some(generation) } else { before };
    (RideAlongStatus { generation, originals, stronger: list }, !is_known)
}

/// Whether no Deployment can be selected by both: they want different values of one label.
fn are_disjoint(one: &Selector, two: &Selector) -> bool {
    one.match_labels.iter().any(|(key, value)| two.match_labels.get(key).is_some_and(|other| other != value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::core::ownership::owner;

    fn selector(labels: &[(&str, &str)]) -> Selector {
        let labels: serde_json::Map<String, serde_json::Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        serde_json::from_value(json!({"matchLabels": labels})).unwrap()
    }

    fn peer<'a>(name: &'a str, priority: i32, selector: &'a Selector, stored: Option<&'a RideAlongStatus>) -> Peer<'a> {
        Peer { contender: Contender { name, priority, created: None, selector }, stored }
    }

    #[test]
    fn whether_policies_ride_along_is_told_for_each_namespace() {
        let labelled = json!({"key": "gracekeeper.dev/ride-along", "operator": "NotIn", "values": ["disabled"]});
        let name = |operator: &str, name: &str| json!({"key": "kubernetes.io/metadata.name", "operator": operator, "values": [name]});
        let select = |expressions: Value| json!({"namespaceSelector": {"matchExpressions": expressions}});
        let both = |policy: Value, binding: Value| {
            let policy = json!({"metadata": {"name": "x"}, "spec": {"matchConstraints": select(policy)}});
            let binding = json!({"spec": {"policyName": "x", "matchResources": select(binding)}});
            Admission::of(&policy, &binding).in_namespace("shop")
        };
        let of = |expressions: Value| both(expressions, json!([]));
        assert_eq!(of(json!([labelled])), RideAlong::Installed);
        assert_eq!(of(json!([labelled, name("NotIn", "kube-system")])), RideAlong::Installed);
        assert_eq!(of(json!([labelled, name("NotIn", "shop")])), RideAlong::Exempt);
        assert_eq!(of(json!([name("In", "other")])), RideAlong::Exempt);
        assert_eq!(of(json!("no list")), RideAlong::Installed);
        assert_eq!(both(json!([labelled]), json!([name("NotIn", "shop")])), RideAlong::Exempt);
        assert_eq!(both(json!([labelled]), json!([name("In", "shop")])), RideAlong::Installed);
        assert_eq!(Admission::from(RideAlong::NotServed).in_namespace("shop"), RideAlong::NotServed);
    }

    #[test]
    fn a_policy_without_a_binding_of_its_own_acts_on_nothing() {
        let policy = json!({"metadata": {"name": "x"}, "spec": {}});
        let going = json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}});
        let (own, of_another) = (json!({"spec": {"policyName": "x"}}), json!({"spec": {"policyName": "y"}}));
        for (policy, binding, state) in [
            (&policy, &own, RideAlong::Installed),
            (&policy, &of_another, RideAlong::NotInstalled),
            (&going, &own, RideAlong::Installed),
            (&Value::Null, &Value::Null, RideAlong::NotInstalled),
        ] {
            assert_eq!(Admission::of(policy, binding).state, state, "{policy} {binding}");
        }
    }

    #[test]
    fn a_policy_acts_once_the_weaker_ones_know_of_it() {
        let (all, web, db) = (selector(&[]), selector(&[("tier", "web")]), selector(&[("tier", "db")]));
        let alone = status(&peer("web", 0, &web, None), 3, false, [peer("db", 9, &db, None)].into_iter());
        assert_eq!(
            alone,
            (RideAlongStatus { generation: Some(3), ..RideAlongStatus::default() }, false),
            "they share nothing"
        );

        let weak = status(&peer("all", 0, &all, None), 1, false, [peer("web", 9, &web, None)].into_iter()).0;
        assert_eq!((weak.generation, weak.stronger[0].name.as_str()), (Some(1), "web"));
        let strong = peer("web", 9, &web, None);
        assert_eq!(
            status(&strong, 1, false, [peer("all", 0, &all, None)].into_iter()),
            (RideAlongStatus::default(), true)
        );
        assert_eq!(status(&strong, 1, false, [peer("all", 0, &all, Some(&weak))].into_iter()).0.generation, Some(1));
        // Edited: the weaker one knows the old selector only.
        let before = RideAlongStatus { generation: Some(1), ..RideAlongStatus::default() };
        let edited =
            status(&peer("web", 9, &all, Some(&before)), 2, false, [peer("all", 0, &all, Some(&weak))].into_iter());
        assert_eq!(edited, (before.clone(), true));
    }

    #[test]
    fn more_stronger_policies_than_can_be_listed_keep_the_policy_away() {
        let all = selector(&[]);
        let names: Vec<String> = (0..40).map(|n| format!("p{n:02}")).collect();
        let others = names.iter().map(|name| peer(name, 1, &all, None));
        let (of_weakest, again) = status(&peer("z", 0, &all, None), 1, false, others);
        assert!(!again);
        assert_eq!(of_weakest.stronger.len(), LIST_LIMIT);
        assert_eq!(of_weakest.stronger.last().unwrap().name, MORE);
    }

    proptest! {
        /// Once all have looked, the one that acts on a Deployment is the one that owns it by the operator's rule.
        #[test]
        fn exactly_the_owner_acts(
            priorities in proptest::collection::vec((-2..2, 0..3_usize), 1..8),
            label in prop_oneof![Just("web"), Just("db"), Just("none")],
        ) {
            let selectors = [selector(&[]), selector(&[("tier", "web")]), selector(&[("tier", "db")])];
            let names: Vec<String> = (0..priorities.len()).map(|n| format!("p{n}")).collect();
            let mut stored = vec![RideAlongStatus::default(); names.len()];
            for _ in 0..2 {
                for at in 0..names.len() {
                    let peers: Vec<Peer<'_>> = names.iter().zip(&priorities).zip(&stored)
                        .map(|((name, (priority, which)), stored)| peer(name, *priority, &selectors[*which], Some(stored)))
                        .collect();
                    let others = peers.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, peer)| *peer);
                    let next = status(&peers[at], 1, false, others).0;
                    stored[at] = next;
                }
            }
            let labels = std::collections::BTreeMap::from([("tier".to_owned(), label.to_owned())]);
            let selects = |selector: &Selector| crate::core::selector::matches(selector, &labels);
            let acting: Vec<&str> = (0..names.len()).filter(|at| {
                stored[*at].generation == Some(1) && selects(&selectors[priorities[*at].1])
                    && !stored[*at].stronger.iter().any(|s| selects(&s.selector))
            }).map(|at| names[at].as_str()).collect();
            let contenders = names.iter().zip(&priorities).map(|(name, (priority, which))|
                (Contender { name, priority: *priority, created: None, selector: &selectors[*which] }, name.as_str()));
            let winner = owner(contenders, &labels).winner;
            prop_assert_eq!(acting, winner.into_iter().collect::<Vec<_>>());
        }
    }
}
