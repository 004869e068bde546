//! What the Deployment controller does to the sizes of ReplicaSets while a Deployment is paused (`scale()` in its
//! `sync.go`). Knowing it, the gate moves capacity by changing one size and letting the controller answer.
//!
//! With one active ReplicaSet (or none: the newest, or the one of the template), that one gets `replicas`. When the
//! one of the template is *saturated* (as large as wanted, and all available), all others go to 0. Otherwise the sum is
//! brought to `replicas + maxSurge`: each one's share of the difference follows from the ceiling that it was last scaled
//! under (0 as long as that has not changed), and what is left over is given to, or taken from, the largest. At a tie
//! the newer one gets, and the older one gives.

use jiff::Timestamp;

/// One ReplicaSet, as the controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<'a> {
    /// `spec.replicas`.
    pub replicas: u32,
    /// Available pods.
    pub available: u32,
    /// `replicas` of the Deployment when the controller last scaled it, as far as it says so.
    pub desired: Option<u32>,
    /// `replicas + maxSurge` at that time.
    pub most: Option<u32>,
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
    /// `status.replicas`: what the controller takes for the ceiling of before where a ReplicaSet does not say it.
    pub pods: u32,
}

/// Whether the ReplicaSet of the template is as large as wanted, and all available.
pub fn is_saturated(sizes: &[Size<'_>], wanted: Wanted) -> bool {
    sizes.iter().any(|size| {
        let is_noted = size.desired.is_none_or(|desired| desired == wanted.replicas);
        size.is_current && is_noted && size.replicas == wanted.replicas && size.available == wanted.replicas
    })
}

/// The sizes after the controller's answer, in the order given.
pub fn while_paused(sizes: &[Size<'_>], wanted: Wanted) -> Vec<u32> {
    let mut after: Vec<u32> = sizes.iter().map(|size| size.replicas).collect();
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
            for (index, replicas) in in_proportion(active, wanted) {
                set(index, replicas);
            }
        }
    }
    after
}

/// Several active ReplicaSets: shares, largest first.
fn in_proportion(mut active: Vec<(usize, &Size<'_>)>, wanted: Wanted) -> Vec<(usize, u32)> {
    let sum: i64 = active.iter().map(|(_, size)| i64::from(size.replicas)).sum();
    let ceiling = i64::from(wanted.ceiling);
    let to_add = ceiling - sum;
    active.sort_by(|(_, one), (_, other)| {
        let age = newer(one, other);
        other.replicas.cmp(&one.replicas).then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    let mut shared: Vec<(usize, i64)> = Vec::new();
    for (index, size) in &active {
        let replicas = i64::from(size.replicas);
        let rest = to_add - added;
        let share = match (rest, wanted.replicas) {
            (0, _) => 0,
            (_, 0) => (-replicas).max(rest),
            _ => {
                let before = i64::from(size.most.filter(|most| *most > 0).unwrap_or(wanted.pods));
                // Rounded half up, as the controller does.
                let part = (2 * replicas * ceiling + before).checked_div(2 * before).map_or(0, |size| size - replicas);
                if to_add > 0 { part.min(rest) } else { part.max(rest) }
            }
        };
        added += share;
        shared.push((*index, replicas + share));
    }
    if let Some((_, replicas)) = shared.first_mut() {
        *replicas += to_add - added;
    }
    shared.into_iter().map(|(index, replicas)| (index, u32::try_from(replicas.max(0)).unwrap_or(0))).collect()
}

fn newer(one: &Size<'_>, other: &Size<'_>) -> std::cmp::Ordering {
    (one.created, one.name).cmp(&(other.created, other.name))
}

/// Whether the controller has nothing to do: neither to sizes, nor to what several active ones say of `replicas`.
pub fn are_settled(sizes: &[Size<'_>], wanted: Wanted) -> bool {
    let active = || sizes.iter().filter(|size| size.replicas > 0);
    let is_noted = active().count() < 2 || active().all(|size| size.desired.is_none_or(|it| it == wanted.replicas));
    is_noted && while_paused(sizes, wanted).iter().zip(sizes).all(|(after, size)| *after == size.replicas)
}
