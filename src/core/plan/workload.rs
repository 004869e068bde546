//! Reads what a plan needs from a Deployment's raw JSON. Total: whatever the JSON, something sensible comes back.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::field::Field;
use super::probe_view::{PreStopView, ProbeView};
use crate::api::{DEFAULT_CONTAINER_ANNOTATION, HealthPolicySpec, WhenAlreadySet};
use crate::core::managers;

/// Grace period that the API server writes when there is none.
pub(super) const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Progress deadline that the API server writes when there is none.
pub(super) const DEFAULT_PROGRESS_DEADLINE_SECONDS: i64 = 600;

/// A Deployment as a plan sees it: as it is, and (the `after` values) as it will be.
pub(super) struct Workload<'a> {
    pub(super) root: &'a Value,
    /// Regular containers first, then init containers, each in their order. Those whose name could not be addressed
    /// (not a DNS label, or a name twice: the API server refuses both) are left out.
    pub(super) containers: Vec<Container<'a>>,
    pub(super) grace_after: i64,
    pub(super) min_ready_after: i64,
    pub(super) deadline_after: i64,
}

/// What kind of container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    /// Init container with `restartPolicy: Always`: it may have probes and hooks.
    Sidecar,
    /// Ordinary init container: it may not.
    Init,
}

pub(super) struct Container<'a> {
    pub(super) kind: Kind,
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) value: &'a Value,
    /// In the order of [`Field::OF_CONTAINER`].
    after: [Option<Cow<'a, Value>>; 4],
}

impl<'a> Workload<'a> {
    /// None when the JSON has no pod template, or where a plan could not be written into it.
    pub(super) fn read(root: &'a Value) -> Option<Self> {
        root.pointer("/spec/template/spec").filter(|spec| spec.is_object())?;
        let writable = |path: &str| root.pointer(path).is_none_or(|value| value.is_object() || value.is_null());
        if !writable("/metadata") || !writable("/metadata/annotations") {
            return None;
        }
        let mut seen = BTreeSet::new();
        let containers = ["containers", "initContainers"]
            .into_iter()
            .flat_map(|list| {
                let items = root.pointer(&format!("/spec/template/spec/{list}")).and_then(Value::as_array);
                items.into_iter().flatten().enumerate().map(move |(index, value)| (list, index, value))
            })
            .filter_map(|(list, index, value)| Container::read(list, index, value))
            .filter(|container| seen.insert(container.name))
            .collect();
        let number = |field: Field| root.pointer(field.path()).and_then(Value::as_i64);
        Some(Self {
            root,
            containers,
            grace_after: number(Field::TerminationGracePeriodSeconds).unwrap_or(DEFAULT_GRACE_SECONDS),
            min_ready_after: number(Field::MinReadySeconds).unwrap_or(0),
            deadline_after: number(Field::ProgressDeadlineSeconds).unwrap_or(DEFAULT_PROGRESS_DEADLINE_SECONDS),
        })
    }

    pub(super) fn uid(&self) -> Option<&'a str> {
        self.text("/metadata/uid")
    }

    pub(super) fn text(&self, path: &str) -> Option<&'a str> {
        self.root.pointer(path).and_then(Value::as_str)
    }

    /// The value of a field of the pod or the Deployment; null counts as absent.
    pub(super) fn current(&self, field: Field) -> Option<&'a Value> {
        self.root.pointer(field.path()).filter(|value| !value.is_null())
    }

    /// Who declares a number that the policy may raise, under Keep: it stays, for the declarer's next apply would
    /// conflict with ours or change it back.
    pub(super) fn declarer(&self, policy: Option<&HealthPolicySpec>, field: Field) -> Option<String> {
        policy.filter(|policy| policy.when_already_set == WhenAlreadySet::Keep)?;
        managers::declarer(self.root, field.path())
    }

    pub(super) fn default_container(&self) -> Option<&'a str> {
        self.root
            .pointer("/spec/template/metadata/annotations")
            .and_then(|annotations| annotations.get(DEFAULT_CONTAINER_ANNOTATION))
            .and_then(Value::as_str)
    }

    /// Containers that may have probes and hooks.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter().filter(|container| container.kind != Kind::Init)
    }

    pub(super) fn regular(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter().filter(|container| container.kind == Kind::Regular)
    }

    /// `spec.replicas`; the API server's default is 1.
    pub(super) fn replicas(&self) -> i64 {
        self.root.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
    }

    pub(super) fn is_recreate(&self) -> bool {
        self.text("/spec/strategy/type") == Some("Recreate")
    }
}

impl<'a> Container<'a> {
    fn read(list: &str, index: usize, value: &'a Value) -> Option<Self> {
        let name = value.get("name")?.as_str().filter(|name| is_dns_label(name))?;
        let kind = if list == "containers" {
            Kind::Regular
        } else if value.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            Kind::Sidecar
        } else {
            Kind::Init
        };
        let mut container = Self { kind, index, name, value, after: [None, None, None, None] };
        for (slot, field) in Field::OF_CONTAINER.into_iter().enumerate() {
            let current = container.current(field).map(Cow::Borrowed);
            if let Some(after) = container.after.get_mut(slot) {
                *after = current;
            }
        }
        Some(container)
    }

    /// JSON pointer of the container.
    pub(super) fn path(&self) -> String {
        let list = if self.kind == Kind::Regular { "containers" } else { "initContainers" };
        format!("/spec/template/spec/{list}/{}", self.index)
    }

    /// The value as it is; null counts as absent.
    pub(super) fn current(&self, field: Field) -> Option<&'a Value> {
        self.value.pointer(field.path()).filter(|value| !value.is_null())
    }

    pub(super) fn lifecycle(&self) -> Option<&'a Value> {
        self.value.get("lifecycle").filter(|value| !value.is_null())
    }

    /// The value as it will be.
    pub(super) fn after(&self, field: Field) -> Option<&Value> {
        let slot = Field::OF_CONTAINER.into_iter().position(|each| each == field)?;
        self.after.get(slot)?.as_deref()
    }

    pub(super) fn set_after(&mut self, field: Field, value: Option<Value>) {
        let slot = Field::OF_CONTAINER.into_iter().position(|each| each == field);
        if let Some(after) = slot.and_then(|slot| self.after.get_mut(slot)) {
            *after = value.map(Cow::Owned);
        }
    }

    pub(super) fn probe(&self, field: Field) -> Option<ProbeView<'_>> {
        self.after(field).map(ProbeView)
    }

    pub(super) fn pre_stop(&self) -> Option<PreStopView<'_>> {
        self.after(Field::PreStop).map(PreStopView)
    }

    /// Seconds of the preStop sleep as it will be.
    pub(super) fn sleep(&self) -> Option<i64> {
        self.pre_stop().and_then(super::probe_view::PreStopView::sleep)
    }

    /// Number of the port of that name.
    pub(super) fn port_named(&self, name: &str) -> Option<i64> {
        let ports = self.value.get("ports").and_then(Value::as_array);
        ports
            .into_iter()
            .flatten()
            .find(|port| port.get("name").and_then(Value::as_str) == Some(name))
            .and_then(|port| port.get("containerPort").and_then(Value::as_i64))
    }

    pub(super) fn port_names(&self) -> Vec<&'a str> {
        let ports = self.value.get("ports").and_then(Value::as_array);
        ports.into_iter().flatten().filter_map(|port| port.get("name").and_then(Value::as_str)).collect()
    }
}

/// Container names are DNS labels; only such names are safe in the marker.
fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
