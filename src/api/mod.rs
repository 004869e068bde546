//! What users write: the custom resources, their schema and its rules. No behaviour lives here.
//!
//! Every number, string and list has a bound, so that the API server can price the CEL rules and an object can
//! never grow without limit. Rules that compare fields are CEL; each is shown with its message in
//! `docs/reference/api.md` and has an accept and a reject case that runs on a real API server.

#![allow(unreachable_pub)] // the schema derive repeats each struct inside a function
#![allow(clippy::duplicated_attributes, clippy::struct_field_names)] // printcolumn repeats; units end names

pub mod availability;
pub mod availability_status;
pub mod conditions;
pub mod containers;
pub mod crds;
pub mod gate;
pub mod health_policy;
pub mod policy_status;
pub mod probe;
pub mod rollout;
pub mod selector;
pub mod shutdown_status;
pub mod workload_health;

pub use health_policy::{HealthPolicy, HealthPolicySpec, Mode, Shutdown, WhenAlreadySet};
pub use policy_status::HealthPolicyStatus;
pub use workload_health::{WorkloadHealth, WorkloadHealthSpec, WorkloadHealthStatus};

/// API group of both kinds.
pub const GROUP: &str = "gracekeeper.dev";
/// Field manager of every write, and `reportingController` of every event. Never rename it: an old manager's entry
/// would keep its fields alive for ever (`kubernetes-semantics` 5.2).
pub const FIELD_MANAGER: &str = "gracekeeper";
/// Annotation on the Deployment (not on its template) that lists the `container/field` pairs holding a value of ours.
/// A hint only: a forged one can at worst let the policy set a field.
pub const MARKER_ANNOTATION: &str = "gracekeeper.dev/filled";
/// Annotation beside the marker that tells which policy rode along, as `<deployment>/<policy>/<its uid>/<its generation>/<generation
/// of the Deployment>`. The operator, which remembers it, takes it out with its next write.
pub const FILLED_BY_ANNOTATION: &str = "gracekeeper.dev/filled-by";

/// Ends the prefix of annotations that hold what a field was before a policy rode along over it, as JSON:
/// `app.original.gracekeeper.dev/livenessProbe`, `original.gracekeeper.dev/terminationGracePeriodSeconds`.
pub const ORIGINAL_PREFIX: &str = "original.gracekeeper.dev";

/// Label of a Deployment or a namespace in which policies do not ride along, with the value `disabled`.
pub const RIDE_ALONG_LABEL: &str = "gracekeeper.dev/ride-along";
/// Finalizer on a HealthPolicy while it may hold values in Deployments.
pub const FINALIZER: &str = "gracekeeper.dev/release";
/// Annotation that names a pod's main container (well-known label list of Kubernetes).
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
