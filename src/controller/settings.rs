//! Checked settings of `gracekeeper run`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::core::lease::Timing;

/// What `gracekeeper run` was told, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces to act in; empty means all.
    pub namespaces: Vec<String>,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
    /// Namespace of the lease.
    pub lease_namespace: String,
    /// Name of the lease.
    pub lease_name: String,
    /// Who we are in the lease and in events; different for each process, whatever it was told.
    pub identity: String,
    /// Timing of the leader election.
    pub timing: Timing,
    /// Deployments that are looked at at the same time.
    pub max_concurrent_reconciles: usize,
    /// Deployments whose pods may be restarting at the same time because of a policy.
    pub max_concurrent_enforcements: usize,
    /// How long edits of a policy are collected before they are acted on.
    pub coalesce: Duration,
    /// Name of the MutatingAdmissionPolicy by which policies ride along in the users' own writes, and of its binding; `None` where
    /// that is not wanted.
    pub ride_along_policy: Option<String>,
    /// Deadline of every call to the API server.
    pub call_timeout: Duration,
}
