//! Every right that the operator needs, in one table. The chart's roles are tested against it, and `gracekeeper run`
//! asks the API server for each of them before it starts.

/// One right: a verb on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group, empty for core.
    pub group: &'static str,
    /// Resource, with its subresource after a slash.
    pub resource: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// Whether it is needed only in the operator's own namespace.
    pub own_namespace: bool,
    /// Whether it is needed only of the admission policy by which others ride along, and only when that is wanted.
    pub ride_along: bool,
    /// Whether the operator works without it, only with less to tell.
    pub optional: bool,
    /// Why it is needed.
    pub why: &'static str,
}

const fn right(group: &'static str, resource: &'static str, verb: &'static str, why: &'static str) -> Right {
    Right { group, resource, verb, own_namespace: false, ride_along: false, optional: false, why }
}

const fn optional(group: &'static str, resource: &'static str, verb: &'static str, why: &'static str) -> Right {
    Right { optional: true, ..right(group, resource, verb, why) }
}

const fn own(group: &'static str, resource: &'static str, verb: &'static str, why: &'static str) -> Right {
    Right { own_namespace: true, ..right(group, resource, verb, why) }
}

const fn ride_along(resource: &'static str, why: &'static str) -> Right {
    Right { ride_along: true, ..optional("admissionregistration.k8s.io", resource, "get", why) }
}

/// All rights, in the order of the chart's rules.
pub const RIGHTS: &[Right] = &[
    right("gracekeeper.dev", "healthpolicies", "list", "read the policies"),
    right("gracekeeper.dev", "healthpolicies", "watch", "follow the policies"),
    right("gracekeeper.dev", "healthpolicies", "patch", "hold and let go of the finalizer"),
    right("gracekeeper.dev", "healthpolicies/status", "patch", "report on a policy"),
    right("gracekeeper.dev", "workloadhealths", "list", "read what is remembered"),
    right("gracekeeper.dev", "workloadhealths", "watch", "follow requests of people"),
    right("gracekeeper.dev", "workloadhealths", "create", "begin to report on a Deployment"),
    right("gracekeeper.dev", "workloadhealths", "delete", "end to report on a Deployment"),
    right("gracekeeper.dev", "workloadhealths/status", "patch", "report on a Deployment, and remember"),
    right("apps", "deployments", "get", "read the field managers of a Deployment that is contended"),
    right("apps", "deployments", "list", "read the Deployments"),
    right("apps", "deployments", "watch", "follow the Deployments"),
    right("apps", "deployments", "patch", "write probes, hooks, grace periods, deadlines and the marker"),
    right(
        "apps",
        "replicasets",
        "get",
        "read the stable template before it is written back, and the other sizes before one is changed",
    ),
    right("apps", "replicasets", "list", "tell revisions apart"),
    right("apps", "replicasets", "watch", "follow the revisions"),
    right("apps", "replicasets", "patch", "hand capacity back to the stable revision (its replicas only)"),
    right("", "pods", "list", "read the evidence: readiness, restarts, reasons"),
    right("", "pods", "watch", "follow the evidence"),
    right("policy", "poddisruptionbudgets", "list", "find budgets that block drains"),
    right("policy", "poddisruptionbudgets", "watch", "find budgets that block drains"),
    right("autoscaling", "horizontalpodautoscalers", "list", "find autoscalers with a minimum of one"),
    right("autoscaling", "horizontalpodautoscalers", "watch", "find autoscalers with a minimum of one"),
    optional("discovery.k8s.io", "endpointslices", "list", "know where to begin to follow them; no slice is kept"),
    optional("discovery.k8s.io", "endpointslices", "watch", "time how long pods that go stay in their Services"),
    right("events.k8s.io", "events", "create", "tell what was done"),
    ride_along("mutatingadmissionpolicies", "say whether policies ride along, and in which namespaces"),
    ride_along("mutatingadmissionpolicybindings", "say whether policies ride along"),
    own("coordination.k8s.io", "leases", "create", "create the lease"),
    own("coordination.k8s.io", "leases", "get", "see who holds the lease"),
    own("coordination.k8s.io", "leases", "update", "take, renew and release the lease"),
];
