//! The Deployment and its ReplicaSets, reduced to what the gate reads.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::FIELD_MANAGER;
use crate::api::gate::Version;
use crate::core::canonical;
use crate::core::plan::{self, Start};

/// The Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployed {
    /// `metadata.generation`.
    pub generation: i64,
    /// The generation that its controller speaks of.
    pub observed_generation: i64,
    /// When the API server took it.
    pub created: Option<Timestamp>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `status.availableReplicas`: old and new pods together.
    pub available: u32,
    /// `spec.paused`.
    pub paused: Paused,
    /// Whether its strategy is Recreate.
    pub recreate: bool,
    /// maxSurge in pods, with the controller's fenceposts.
    pub max_surge: u32,
    /// maxUnavailable in pods, with the controller's fenceposts.
    pub max_unavailable: u32,
    /// Hashes of the template.
    pub version: Version,
    /// `spec.revisionHistoryLimit`.
    pub history_limit: u32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: u32,
    /// What the probes of the template say about a start.
    pub start: Start,
}

/// Whether a Deployment is paused, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Paused {
    /// It is not.
    #[default]
    No,
    /// By us: `managedFields` names us.
    ByUs,
    /// By somebody else.
    ByOther,
    /// It does not say by whom.
    BySomebody,
}

/// A revision: a ReplicaSet that the Deployment's uid controls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Uid.
    pub uid: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// `metadata.resourceVersion`: a write of its size is made only if nothing of it changed, its ready pods included.
    pub resource_version: Box<str>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Hashes of its template.
    pub version: Version,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Pods that its controller counts.
    pub pods: u32,
    /// Of these, ready.
    pub ready: u32,
    /// Of these, available.
    pub available: u32,
    /// Replicas that the Deployment wanted when it last scaled this one (`desired-replicas`).
    pub desired: Option<u32>,
    /// Pods that it allowed at most then (`max-replicas`).
    pub most: Option<u32>,
    /// `ReplicaFailure`: the API server refuses its pods.
    pub failure: Option<Refusal>,
}

/// Why the API server refuses pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Its words, made fit to show.
    pub said: Box<str>,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl Refusal {
    /// Whether it may be over in a moment, with nothing changed in the version: a ServiceAccount that is yet to come, or
    /// an API server that cannot ask its webhooks.
    pub fn is_passing(&self) -> bool {
        is_of_the_server(&self.said) || self.said.contains("error looking up service account")
    }
}

/// Whether the API server could not decide, for whichever pod: a webhook or a store that does not answer.
pub(super) fn is_of_the_server(said: &str) -> bool {
    const WORDS: &[&str] = &[
        "failed calling webhook",
        "Internal error occurred",
        "etcdserver: ",
        "context deadline exceeded",
        "connection refused",
        "not yet ready to handle request",
        "the server was unable to return a response in the time allotted",
    ];
    WORDS.iter().any(|words| said.contains(words))
}

/// Whether a ResourceQuota or a LimitRange refuses the pods, by the words of these admission plugins. The names of the
/// pod and of other policies are in the message too, and may have any word in them.
pub(super) fn is_for_a_quota(said: &str) -> bool {
    said.contains("exceeded quota: ") || said.contains("failed quota: ") || said.contains(" usage per ")
}

impl Deployed {
    /// Reads a Deployment.
    pub fn read(raw: &Value) -> Self {
        Self::with_version(raw, version(raw))
    }

    /// Reads a Deployment whose hashes are known.
    pub fn with_version(raw: &Value, version: Version) -> Self {
        let number = |path: &str| raw.pointer(path).and_then(Value::as_i64);
        let replicas = small(number("/spec/replicas").unwrap_or(1));
        let recreate = raw.pointer("/spec/strategy/type").and_then(Value::as_str) == Some("Recreate");
        let (max_surge, max_unavailable) = if recreate { (0, 0) } else { fenceposts(raw, replicas) };
        Self {
            generation: number("/metadata/generation").unwrap_or(0),
            observed_generation: number("/status/observedGeneration").unwrap_or(0),
            created: raw.pointer("/metadata/creationTimestamp").and_then(Value::as_str).and_then(|at| at.parse().ok()),
            replicas,
            available: small(number("/status/availableReplicas").unwrap_or(0)),
            paused: paused(raw),
            recreate,
            max_surge,
            max_unavailable,
            version,
            history_limit: small(number("/spec/revisionHistoryLimit").unwrap_or(10)),
            min_ready_seconds: small(number("/spec/minReadySeconds").unwrap_or(0)),
            start: plan::start(raw),
        }
    }

    /// Pods that the strategy allows at most: `replicas + maxSurge`, and none when none are wanted.
    pub fn ceiling(&self) -> u32 {
        if self.replicas == 0 { 0 } else { self.replicas.saturating_add(self.max_surge) }
    }

    /// Ready pods that the strategy asks for at least.
    pub fn floor(&self) -> u32 {
        self.replicas.saturating_sub(self.max_unavailable)
    }

    /// Pods that may be replaced at a time.
    pub fn stride(&self) -> u32 {
        self.max_surge.saturating_add(self.max_unavailable).max(1)
    }
}

impl Revision {
    /// Reads a ReplicaSet.
    pub fn read(raw: &Value) -> Self {
        let text = |path: &str| raw.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let number = |path: &str| small(raw.pointer(path).and_then(Value::as_i64).unwrap_or(0));
        let annotation = |key: &str| {
            let text = raw.pointer("/metadata/annotations")?.get(key)?.as_str()?;
            text.parse().ok()
        };
        let conditions = raw.pointer("/status/conditions").and_then(Value::as_array);
        let failure = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True");
        Self {
            uid: text("/metadata/uid").into(),
            name: text("/metadata/name").into(),
            resource_version: text("/metadata/resourceVersion").into(),
            created: text("/metadata/creationTimestamp").parse().ok(),
            version: version(raw),
            replicas: raw.pointer("/spec/replicas").map_or(1, |_| number("/spec/replicas")),
            pods: number("/status/replicas"),
            ready: number("/status/readyReplicas"),
            available: number("/status/availableReplicas"),
            desired: annotation(DESIRED),
            most: annotation(MOST),
            failure: failure.map(|condition| Refusal {
                said: super::pod::printable(condition["message"].as_str().unwrap_or("refused")).into(),
                since: condition["lastTransitionTime"].as_str().and_then(|at| at.parse().ok()),
            }),
        }
    }
}

/// Hashes of the template of a Deployment or ReplicaSet; what the workload declares itself is not known from it.
pub fn version(raw: &Value) -> Version {
    Version {
        template_hash: canonical::template_hash(raw),
        app_hash: canonical::app_hash(raw),
        declared_hash: String::new(),
    }
}

/// Annotations of the Deployment controller.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// maxSurge and maxUnavailable in pods; the latter is never more than all.
fn fenceposts(raw: &Value, replicas: u32) -> (u32, u32) {
    let (surge, unavailable) = plan::stride(raw, i64::from(replicas));
    (small(surge), small(unavailable).min(replicas))
}

fn paused(raw: &Value) -> Paused {
    if raw.pointer("/spec/paused").and_then(Value::as_bool) != Some(true) {
        return Paused::No;
    }
    let entries = raw.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let mut owners = entries
        .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:paused").is_some())
        .filter_map(|entry| entry.get("manager").and_then(Value::as_str))
        .peekable();
    if owners.peek().is_none() {
        return Paused::BySomebody;
    }
    // Who wants it paused besides us must not be overruled when our reason ends.
    if owners.all(|owner| owner == FIELD_MANAGER) { Paused::ByUs } else { Paused::ByOther }
}

fn small(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pause_that_somebody_declares_beside_us_is_theirs() {
        let paused_by = |managers: &[&str]| {
            let entries: Vec<Value> = managers
                .iter()
                .map(|manager| json!({"manager": manager, "fieldsV1": {"f:spec": {"f:paused": {}}}}))
                .collect();
            paused(&json!({"metadata": {"managedFields": entries}, "spec": {"paused": true}}))
        };
        assert_eq!(paused_by(&[FIELD_MANAGER]), Paused::ByUs);
        assert_eq!(paused_by(&[FIELD_MANAGER, "argocd-controller"]), Paused::ByOther);
        assert_eq!(paused_by(&["kubectl-rollout"]), Paused::ByOther);
        assert_eq!(paused_by(&[]), Paused::BySomebody);
    }

    #[test]
    fn a_refusal_is_of_the_version_of_a_quota_or_a_passing_one() {
        for (said, is_quota, is_passing) in [
            (
                "pods \"web-1\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3",
                true,
                false,
            ),
            ("pods \"web-1\" is forbidden: maximum cpu usage per Container is 1, but limit is 2", true, false),
            ("pods \"rate-limiter-1\" is forbidden: violates PodSecurity \"baseline:latest\": hostPID", false, false),
            ("admission webhook \"kyverno\" denied the request: must set resource limits", false, false),
            (
                "pods \"quota-service-1\" is forbidden: error looking up service account shop/web: serviceaccount \"web\" not found",
                false,
                true,
            ),
            (
                "Internal error occurred: failed calling webhook \"inject.example.com\": failed to call webhook: Post \"https://inject.mesh.svc:443/\": dial tcp 10.0.0.1:443: connect: connection refused",
                false,
                true,
            ),
        ] {
            let refusal = Refusal { said: said.into(), since: None };
            assert_eq!((is_for_a_quota(said), refusal.is_passing()), (is_quota, is_passing), "{said}");
        }
    }
}
