//! Handing the capacity back to the stable version, one size at a time, while the Deployment is paused.
//!
//! Every write that is possible is tried against what the controller would make of it ([`super::sizes`]), and the best
//! one is taken: it must bring the stable version forward, keep as many pods ready as the strategy asks for (or as many
//! as there are, when there are fewer), and be no larger than the strategy's own stride. Pods that are not ready may be
//! taken out at once: the ReplicaSet controller takes these first.

use super::facts::{Deployed, Revision};
use super::sizes::{Size, Wanted, are_settled, is_saturated, while_paused};

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stride {
    /// Index of the revision.
    pub index: usize,
    /// Size to write.
    pub to: u32,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The stable version has the whole capacity.
    Done,
    /// The controller has not yet answered the last change.
    Wait,
    /// Write a size.
    Write(Stride),
    /// Write the second half of a swap, before the controller answers the first.
    FinishSwap(Stride),
    /// Write the first half of a swap: see `begin_swap`.
    BeginSwap(Stride),
    /// Only more ready pods would help.
    NotYet,
    /// The new version is whole and all available: the controller would empty the stable one.
    Saturated,
    /// No write helps, now or later.
    Blocked,
}

/// Chooses the next write.
pub fn next(deployment: &Deployed, revisions: &[Revision], stable: &str) -> Step {
    let pods = revisions.iter().fold(0, |sum: u32, revision| sum.saturating_add(revision.pods));
    let wanted = Wanted { replicas: deployment.replicas, ceiling: deployment.ceiling(), pods };
    let sizes: Vec<Size<'_>> = revisions.iter().map(|revision| size(deployment, revision)).collect();
    let Some(home) = revisions.iter().position(|revision| *revision.uid == *stable) else { return Step::Blocked };
    let others: u32 = others(&sizes, home);
    let size_of_stable = sizes.get(home).map_or(0, |size| size.replicas);
    if others == 0 && size_of_stable > 0 || wanted.replicas == 0 {
        // With one active ReplicaSet the controller gives it what is wanted.
        return if size_of_stable == wanted.replicas { Step::Done } else { Step::Wait };
    }
    if is_saturated(&sizes, wanted) {
        return Step::Saturated;
    }
    if let Some(stride) = finish_swap(&sizes, home, wanted) {
        return Step::FinishSwap(stride);
    }
    if !are_settled(&sizes, wanted) {
        return Step::Wait;
    }
    let ready: Vec<u32> = revisions.iter().map(|revision| revision.ready.min(revision.replicas)).collect();
    if let Some(stride) = best(deployment, &sizes, &ready, home, wanted) {
        return Step::Write(stride);
    }
    let hoped: Vec<u32> = sizes
        .iter()
        .zip(&ready)
        .enumerate()
        .map(|(index, (size, ready))| if index == home { size.replicas } else { *ready })
        .collect();
    if best(deployment, &sizes, &hoped, home, wanted).is_some() {
        return Step::NotYet;
    }
    begin_swap(deployment, &sizes, &ready, home, wanted).map_or(Step::Blocked, Step::BeginSwap)
}

/// What must happen before a pause ends, so that the next rollout begins: `Done`, `Wait` or `Write`. With one active
/// ReplicaSet of the right size the controller does not refresh the `desired-replicas` that stands on it; and as long as
/// that differs from `replicas` it takes every look for a scaling, and never rolls. A change of replicas in the moment of
/// our last write leaves that behind. So the controller's answer to that write is awaited; and a ReplicaSet with the wrong
/// number on it is made one larger: the controller sets size and number right.
pub fn before_resume(deployment: &Deployed, revisions: &[Revision]) -> Step {
    let mut active = revisions.iter().enumerate().filter(|(_, revision)| revision.replicas > 0);
    let (Some((index, only)), None) = (active.next(), active.next()) else { return Step::Done };
    if only.replicas != deployment.replicas {
        return Step::Wait;
    }
    if only.desired.is_none_or(|desired| desired == deployment.replicas) {
        return Step::Done;
    }
    Step::Write(Stride { index, to: only.replicas.saturating_add(1) })
}

fn size<'a>(deployment: &Deployed, revision: &'a Revision) -> Size<'a> {
    Size {
        replicas: revision.replicas,
        available: revision.available,
        desired: revision.desired,
        most: revision.most,
        created: revision.created,
        name: &revision.name,
        is_current: revision.version.template_hash == deployment.version.template_hash,
    }
}

fn others(sizes: &[Size<'_>], home: usize) -> u32 {
    sizes.iter().enumerate().filter(|(index, _)| *index != home).map(|(_, size)| size.replicas).sum()
}

/// The best write, if any is allowed.
fn best(deployment: &Deployed, sizes: &[Size<'_>], ready: &[u32], home: usize, wanted: Wanted) -> Option<Stride> {
    let stride = deployment.stride();
    let writes = sizes.iter().enumerate().flat_map(|(index, size)| {
        let unready = size.replicas.saturating_sub(ready.get(index).copied().unwrap_or(0));
        let (from, to) = if index == home {
            // The stable one may exist with 0 pods: the first write wakes it up.
            (size.replicas.saturating_add(1), size.replicas.saturating_add(stride).min(wanted.ceiling))
        } else {
            // Pods that are not ready do not count as a loss.
            (size.replicas.saturating_sub(stride.saturating_add(unready)), size.replicas.saturating_sub(1))
        };
        let is_change = index == home || size.replicas > 0;
        (from..=to).filter(move |_| is_change).map(move |to| Stride { index, to })
    });
    writes
        .filter_map(|write| Some((gain(deployment, sizes, ready, home, wanted, &write)?, write)))
        // The most capacity for the stable version, then the fewest ready pods lost; of equals the smallest change.
        .max_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, write)| write)
}

/// What a write brings: None when it is not allowed, or brings nothing.
fn gain(
    deployment: &Deployed,
    sizes: &[Size<'_>],
    ready: &[u32],
    home: usize,
    wanted: Wanted,
    write: &Stride,
) -> Option<(i64, i64, i64)> {
    let written: Vec<Size<'_>> = sizes
        .iter()
        .enumerate()
        .map(|(index, size)| Size { replicas: if index == write.index { write.to } else { size.replicas }, ..*size })
        .collect();
    let answered = while_paused(&written, wanted);
    let sums = |of: &dyn Fn(usize) -> u32| -> u32 { (0..sizes.len()).filter(|index| *index != home).map(of).sum() };
    let before_others = others(sizes, home);
    let after_others = sums(&|index| answered.get(index).copied().unwrap_or(0));
    let before_home = sizes.get(home).map_or(0, |size| size.replicas);
    let after_home = answered.get(home).copied().unwrap_or(0);
    let is_last = after_others == 0;
    let is_forward = after_others < before_others || after_home > before_home && after_others <= before_others;
    // With a third version there, the rejected one first makes way for that one, where it cannot for the stable one.
    let theirs = sizes.iter().zip(&answered).enumerate();
    let rejected: i64 = theirs
        .filter(|(index, (size, _))| *index != home && size.is_current)
        .map(|(_, (size, after))| i64::from(*after) - i64::from(size.replicas))
        .sum();
    let is_aside = after_others == before_others && rejected < 0;
    if !(is_forward || is_aside) || after_home < before_home && !is_last {
        return None;
    }
    // Ready pods that the write, and then the answer, take out at worst.
    let left: u32 = (0..sizes.len())
        .map(|index| {
            let now = ready.get(index).copied().unwrap_or(0);
            let least =
                written.get(index).map_or(0, |size| size.replicas).min(answered.get(index).copied().unwrap_or(0));
            let unready = sizes.get(index).map_or(0, |size| size.replicas).saturating_sub(now);
            let removed = sizes.get(index).map_or(0, |size| size.replicas).saturating_sub(least);
            now.saturating_sub(removed.saturating_sub(unready))
        })
        .sum();
    let all: u32 = ready.iter().sum();
    let lost = all.saturating_sub(left);
    if left < deployment.floor().min(all) || lost > deployment.stride() {
        return None;
    }
    let old = sizes.get(write.index).map_or(0, |size| size.replicas);
    let forward = i64::from(after_home.min(wanted.replicas)) - i64::from(before_home) + i64::from(before_others)
        - i64::from(after_others);
    Some((forward, -i64::from(lost), -i64::from(write.to.abs_diff(old))))
}

/// With one pod of slack and another version one pod larger, every single write is undone at the tie. So it is lowered
/// by one pod, if there is one, that is not ready, and the stable one raised before the controller answers. When the
/// controller is faster, nothing is lost; the gate tries a few times.
fn begin_swap(deployment: &Deployed, sizes: &[Size<'_>], ready: &[u32], home: usize, wanted: Wanted) -> Option<Stride> {
    let stable = sizes.get(home)?;
    let (index, other) = largest_other(sizes, home)?;
    let has_unready = ready.get(index).copied().unwrap_or(0) < other.replicas;
    let all: u32 = ready.iter().sum();
    let may_lose = has_unready || all > deployment.floor();
    let fits = sum(sizes)? == wanted.ceiling && other.replicas == stable.replicas.checked_add(1)? && may_lose;
    fits.then(|| Stride { index, to: other.replicas - 1 })
}

/// The second half of a swap: both are equal, and one pod below the ceiling.
fn finish_swap(sizes: &[Size<'_>], home: usize, wanted: Wanted) -> Option<Stride> {
    let stable = sizes.get(home)?;
    let (_, other) = largest_other(sizes, home)?;
    let fits = sum(sizes)?.checked_add(1)? == wanted.ceiling && stable.replicas == other.replicas;
    fits.then(|| Stride { index: home, to: stable.replicas + 1 })
}

fn sum(sizes: &[Size<'_>]) -> Option<u32> {
    sizes.iter().try_fold(0, |sum: u32, size| sum.checked_add(size.replicas))
}

/// The largest but the stable one; of equals the rejected one.
fn largest_other<'a, 'b>(sizes: &'a [Size<'b>], home: usize) -> Option<(usize, &'a Size<'b>)> {
    let active = sizes.iter().enumerate().filter(|(index, size)| *index != home && size.replicas > 0);
    active.max_by_key(|(_, size)| (size.replicas, size.is_current))
}
