//! Which containers a policy speaks of.

use std::collections::BTreeMap;

use super::findings::{Finding, Reason};
use super::workload::{Container, Kind, Workload};
use crate::api::HealthPolicySpec;
use crate::api::containers::ContainerPolicy;

/// What a policy asks of the containers it speaks of, by container name.
#[derive(Default)]
pub(super) struct Targets<'p> {
    by_name: BTreeMap<String, Target<'p>>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Target<'p> {
    /// The policy's entry; None when only `shutdown` speaks of the container.
    pub(super) entry: Option<&'p ContainerPolicy>,
    /// Whether `shutdown.drainSeconds` sets its preStop sleep. Sidecars never drain: they stop after the main ones.
    pub(super) drains: bool,
}

impl<'p> Targets<'p> {
    pub(super) fn resolve(policy: &'p HealthPolicySpec, workload: &Workload<'_>, findings: &mut Vec<Finding>) -> Self {
        let mut targets = Self::default();
        let drain = policy.shutdown.is_some();
        // Named entries first: they win over the entry for the main container.
        let (named, main): (Vec<_>, Vec<_>) = policy.containers.iter().partition(|entry| entry.name.is_some());
        for entry in named {
            let name = entry.name.as_deref().unwrap_or_default();
            match named_container(workload, name) {
                Ok(container) => targets.add(container, entry, drain, findings),
                Err(finding) => findings.push(finding),
            }
        }
        for entry in main {
            match main_container(workload) {
                Ok(container) => targets.add(container, entry, drain, findings),
                Err(finding) => findings.push(finding),
            }
        }
        if policy.containers.is_empty() && drain {
            match main_container(workload) {
                Ok(container) => {
                    targets.by_name.insert(container.name.into(), Target { entry: None, drains: true });
                }
                Err(finding) => findings.push(finding),
            }
        }
        if drain && !targets.drain() && !targets.by_name.is_empty() {
            findings.push(Finding::new(
                Reason::ShutdownNotApplied,
                "",
                "The policy speaks of sidecars only, and those stop after the main containers: shutdown is not applied.",
            ));
        }
        targets
    }

    fn add(&mut self, container: &Container<'_>, entry: &'p ContainerPolicy, drain: bool, findings: &mut Vec<Finding>) {
        if self.by_name.contains_key(container.name) {
            findings.push(Finding::new(
                Reason::DuplicateEntry,
                container.name,
                "Two entries of the policy reach this container; the one that names it first is used.",
            ));
            return;
        }
        let drains = drain && container.kind == Kind::Regular;
        self.by_name.insert(container.name.into(), Target { entry: Some(entry), drains });
    }

    pub(super) fn of(&self, container: &str) -> Target<'p> {
        self.by_name.get(container).copied().unwrap_or_default()
    }

    pub(super) fn contains(&self, container: &str) -> bool {
        self.by_name.contains_key(container)
    }

    /// Whether any container drains: without one, `shutdown` is not applied at all.
    pub(super) fn drain(&self) -> bool {
        self.by_name.values().any(|target| target.drains)
    }
}

fn named_container<'w, 'a>(workload: &'w Workload<'a>, name: &str) -> Result<&'w Container<'a>, Finding> {
    match workload.containers.iter().find(|container| container.name == name) {
        Some(container) if container.kind == Kind::Init => Err(Finding::new(
            Reason::InitContainer,
            name,
            format!("{name} is an init container that runs to its end: Kubernetes allows it no probes and no hooks."),
        )),
        Some(container) => Ok(container),
        None => {
            let names: Vec<&str> = workload.lasting().take(8).map(|container| container.name).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            Err(Finding::new(
                Reason::MissingContainer,
                name,
                format!("The policy names the container {name}, which the pod does not have (there: {there})."),
            ))
        }
    }
}

/// The only regular container, or else the one that the annotation of the pod template names.
pub(super) fn main_container<'w, 'a>(workload: &'w Workload<'a>) -> Result<&'w Container<'a>, Finding> {
    let regular: Vec<&Container<'a>> = workload.regular().collect();
    match (regular.as_slice(), workload.default_container()) {
        ([], _) => Err(Finding::new(Reason::MissingContainer, "", "The pod has no container with a valid name.")),
        ([only], _) => Ok(*only),
        (many, None) => Err(Finding::new(
            Reason::AmbiguousContainer,
            "",
            format!("The pod has {} containers and does not say which is the main one.", many.len()),
        )),
        (many, Some(name)) => many.iter().find(|container| container.name == name).copied().ok_or_else(|| {
            Finding::new(
                Reason::AmbiguousContainer,
                "",
                format!(
                    "The pod has {} containers, and kubectl.kubernetes.io/default-container names {name}, which is none of them.",
                    many.len()
                ),
            )
        }),
    }
}
