//! A HealthPolicy as it is stored, which may be one that this version cannot understand: an undecodable object must
//! not stop the watch of all others, nor let go of what it owns.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{FINALIZER, HealthPolicy, HealthPolicySpec, HealthPolicyStatus, Mode};
use crate::core::validate;

/// The object as it is watched.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = HealthPolicy)]
pub(crate) struct StoredPolicy {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Value,
    #[serde(default)]
    pub(crate) status: Value,
}

/// The object as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct PolicyObject {
    pub(crate) uid: Box<str>,
    pub(crate) version: u64,
    pub(crate) generation: i64,
    pub(crate) created: Timestamp,
    /// When it was deleted, if it is on its way out, by the API server's clock.
    pub(crate) deleted: Option<Timestamp>,
    /// Where our finalizer stands in the list, if it does.
    pub(crate) finalizer_at: Option<usize>,
    /// How many finalizers there are.
    pub(crate) finalizers: usize,
    /// `Err` says why it cannot be understood.
    pub(crate) spec: Result<Arc<HealthPolicySpec>, String>,
    pub(crate) status: HealthPolicyStatus,
}

impl PolicyObject {
    /// Whether it is on its way out.
    pub(crate) fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether it is in mode Enforce, and can be understood.
    pub(crate) fn enforces(&self) -> bool {
        self.spec.as_ref().is_ok_and(|spec| spec.mode == Mode::Enforce)
    }
}

impl From<StoredPolicy> for PolicyObject {
    fn from(stored: StoredPolicy) -> Self {
        let meta = stored.metadata;
        let spec = understood(stored.spec);
        Self {
            uid: meta.uid.unwrap_or_default().into(),
            version: super::world::parse_version(meta.resource_version.as_deref()),
            generation: meta.generation.unwrap_or(0),
            created: meta.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |Time(at)| at),
            deleted: meta.deletion_timestamp.map(|Time(at)| at),
            finalizer_at: meta.finalizers.iter().flatten().position(|f| f == FINALIZER),
            finalizers: meta.finalizers.map_or(0, |f| f.len()),
            spec,
            status: serde_json::from_value(stored.status).unwrap_or_default(),
        }
    }
}

/// The spec, or why it cannot be understood: it may have been stored under an older or looser schema.
fn understood(spec: Value) -> Result<Arc<HealthPolicySpec>, String> {
    match validate::validate_spec(&spec).into_iter().next() {
        Some(problem) => Err(problem.to_string()),
        None => serde_json::from_value(spec).map(Arc::new).map_err(|error| error.to_string()),
    }
}
