//! What the Deployment controller does to the sizes of ReplicaSets while a Deployment is paused (`scale()` in its
//! `sync.go`). Knowing it, the gate moves capacity by changing one size and letting the controller answer.
//!
//! With one active ReplicaSet (or none: the newest, or the one of the template), that one gets `replicas`. When the
//! one of the template is *saturated* (as large as wanted, and all available), all others go to 0. Otherwise the sum is
//! brought to `replicas + maxSurge`, and the difference is given to, or taken from, the largest. At a tie the newer one
//! gets, and the older one gives. (Between a change of `replicas` and the controller's answer to it sizes change in
//! proportion; the gate waits until that is over.)

use jiff::Timestamp;

/// One ReplicaSet, as the controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<'a> {
    /// `spec.replicas`.
    pub replicas: u32,
    /// Available pods.
    pub available: u32,
    /// Age.
    pub created: Option<Timestamp>,
    /// Name: decides when the age is the same.
    pub name: &'a str,
    /// Whether it has the Deployment's template.
    pub is_current: bool,
}

/// What the Deployment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `spec.replicas`.
    pub replicas: u32,
    /// `replicas + maxSurge`; 0 when no replicas are wanted.
    pub ceiling: u32,
}

/// Whether the ReplicaSet of the template is as large as wanted, and all available.
pub fn is_saturated(sizes: &[Size<'_>], wanted: Wanted) -> bool {
    sizes.iter().any(|size| size.is_current && size.replicas == wanted.replicas && size.available == wanted.replicas)
}

/// The sizes after the controller's answer, in the order given.
pub fn while_paused(sizes: &[Size<'_>], wanted: Wanted) -> Vec<u32> {
    let mut after: Vec<u32> = sizes.iter().map(|size| size.replicas).collect();
    let newer = |one: &Size<'_>, other: &Size<'_>| (one.created, one.name).cmp(&(other.created, other.name));
    let active: Vec<(usize, &Size<'_>)> = sizes.iter().enumerate().filter(|(_, size)| size.replicas > 0).collect();
    let mut set = |index: usize, value: u32| {
        if let Some(size) = after.get_mut(index) {
            *size = value;
        }
    };
    match active.as_slice() {
        [] => {
            let all = || sizes.iter().enumerate();
            let newest = all().find(|(_, size)| size.is_current).or_else(|| all().max_by(|a, b| newer(a.1, b.1)));
            if let Some((index, _)) = newest {
                set(index, wanted.replicas);
            }
        }
        [(index, _)] => set(*index, wanted.replicas),
        _ if is_saturated(sizes, wanted) => {
            for (index, size) in &active {
                if !size.is_current {
                    set(*index, 0);
                }
            }
        }
        _ => {
            let sum = active.iter().fold(0_u32, |sum, (_, size)| sum.saturating_add(size.replicas));
            let grows = wanted.ceiling > sum;
            let largest = active.iter().max_by(|(_, one), (_, other)| {
                let age = newer(one, other);
                one.replicas.cmp(&other.replicas).then(if grows { age } else { age.reverse() })
            });
            if wanted.replicas == 0 {
                for (index, _) in &active {
                    set(*index, 0);
                }
            } else if let Some((index, size)) = largest {
                let replicas = if grows {
                    size.replicas.saturating_add(wanted.ceiling - sum)
                } else {
                    size.replicas.saturating_sub(sum - wanted.ceiling)
                };
                set(*index, replicas);
            }
        }
    }
    after
}

/// Whether the controller has nothing to do.
pub fn are_settled(sizes: &[Size<'_>], wanted: Wanted) -> bool {
    while_paused(sizes, wanted).iter().zip(sizes).all(|(after, size)| *after == size.replicas)
}
