//! A Deployment, reduced to what decisions read. The rest of the template is only hashed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rollout::{Deployed, facts};
use super::{managers, ownership, plan};
use crate::api::{DEFAULT_CONTAINER_ANNOTATION, FILLED_BY_ANNOTATION, MARKER_ANNOTATION};

/// What is kept of a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The object without the parts that planning never reads, as compact JSON (a parsed `Value` costs five times as
    /// much). Array positions are kept, so that paths stay valid.
    pub json: Box<str>,
    /// Hash of the whole pod template.
    pub template_hash: Box<str>,
    /// Hash of the template without the fields that a policy can set.
    pub app_hash: Box<str>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.generation`.
    pub generation: i64,
    /// Where its rollout stands.
    pub rollout: RolloutProgress,
    /// What the rollout gate reads.
    pub deployed: Deployed,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The policy that rode along in a write of this Deployment, by the annotation.
    pub rode_with: Option<RodeWith>,
}

/// A policy that rode along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RodeWith {
    /// Its uid.
    pub uid: Box<str>,
    /// Its generation then.
    pub generation: i64,
}

/// Where a rollout stands, as far as it matters for writing to the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutProgress {
    /// All replicas run the current template and are available, or none are wanted.
    Settled,
    /// Pods are being replaced.
    Moving,
    /// The Deployment controller gave up waiting (ProgressDeadlineExceeded): a write may help and cannot hurt more.
    Stuck,
    /// Paused.
    Paused,
}

impl Projection {
    /// The kept part as a value; an empty object if it cannot be parsed, which cannot happen for what `project` made.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_else(|_| Value::Object(Map::new()))
    }
}

/// Reduces a Deployment. Total: anything that is missing is left out.
pub fn project(raw: &Value) -> Projection {
    let version = facts::version(raw);
    Projection {
        json: projected(raw).to_string().into_boxed_str(),
        template_hash: version.template_hash.as_str().into(),
        app_hash: version.app_hash.as_str().into(),
        labels: ownership::labels(raw),
        generation: raw.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0),
        rollout: rollout_progress(raw),
        deployed: Deployed::with_version(raw, version),
        deleting: raw.pointer("/metadata/deletionTimestamp").is_some(),
        rode_with: rode_with(raw),
    }
}

/// What the annotation says of another Deployment, of which this is an exported copy, is not meant.
fn rode_with(raw: &Value) -> Option<RodeWith> {
    let filled_by = raw.pointer("/metadata/annotations")?.get(FILLED_BY_ANNOTATION)?.as_str()?;
    let mut parts = filled_by.split('/');
    let (deployment, _, uid, generation, _) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Admission comes before the name that is generated.
    let names = ["/metadata/name", "/metadata/generateName"].map(|path| raw.pointer(path).and_then(Value::as_str));
    names.contains(&Some(deployment)).then_some(())?;
    Some(RodeWith { uid: uid.into(), generation: generation.parse().ok()? })
}

fn projected(raw: &Value) -> Value {
    let template = |path: &str| raw.pointer(&format!("/spec/template{path}"));
    let mut spec = pick(
        raw.get("spec"),
        &["replicas", "minReadySeconds", "progressDeadlineSeconds", "strategy", "paused", "revisionHistoryLimit"],
    );
    let mut pod_meta = pick(template("/metadata"), &["labels"]);
    insert_annotations(&mut pod_meta, template("/metadata"), |key| key == DEFAULT_CONTAINER_ANNOTATION);
    let mut pod = pick(
        template("/spec"),
        &["terminationGracePeriodSeconds", "readinessGates", "hostNetwork", "os", "restartPolicy"],
    );
    for list in ["containers", "initContainers"] {
        if let Some(containers) = template("/spec").and_then(|s| s.get(list)).and_then(Value::as_array) {
            pod.insert(list.into(), Value::Array(containers.iter().map(container).collect()));
        }
    }
    let mut template = Map::new();
    template.insert("metadata".into(), Value::Object(pod_meta));
    template.insert("spec".into(), Value::Object(pod));
    spec.insert("template".into(), Value::Object(template));

    let mut metadata =
        pick(raw.get("metadata"), &["name", "namespace", "uid", "labels", "generation", "creationTimestamp"]);
    let is_ours = |key: &str| [MARKER_ANNOTATION, FILLED_BY_ANNOTATION].contains(&key) || plan::is_original(key);
    insert_annotations(&mut metadata, raw.get("metadata"), is_ours);
    let is_tracked = raw.pointer("/metadata/managedFields").is_some_and(Value::is_array);
    let declared = managers::declarations(raw, DECLARABLE);
    if is_tracked || !declared.is_empty() {
        let mut owned = declared;
        owned.extend(managers::claims(raw, CLAIMABLE));
        metadata.insert("managedFields".into(), Value::Array(owned));
    }
    let mut object = Map::new();
    object.insert("metadata".into(), Value::Object(metadata));
    object.insert("spec".into(), Value::Object(spec));
    Value::Object(object)
}

fn container(raw: &Value) -> Value {
    let mut kept = pick(Some(raw), CONTAINER_FIELDS);
    if let Some(cpu) = raw.pointer("/resources/limits/cpu") {
        kept.insert("resources".into(), json!({"limits": {"cpu": cpu}}));
    }
    Value::Object(kept)
}

/// Fields of a container that planning or linting reads, besides its CPU limit.
const CONTAINER_FIELDS: &[&str] =
    &["name", "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "restartPolicy"];

/// Numbers that a plan would raise, unless somebody declares them.
const DECLARABLE: &[&str] =
    &["/spec/template/spec/terminationGracePeriodSeconds", "/spec/minReadySeconds", "/spec/progressDeadlineSeconds"];

/// Fields of a container that are taken or left whole.
const CLAIMABLE: &[&str] = &["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/preStop"];

fn pick(object: Option<&Value>, fields: &[&str]) -> Map<String, Value> {
    let get = |field: &&str| Some(((*field).to_owned(), object?.get(*field)?.clone()));
    fields.iter().filter_map(get).collect()
}

/// Keeps some annotations. The map itself is kept even when it loses all its keys: a JSON Patch has to know whether it
/// must create it.
fn insert_annotations(into: &mut Map<String, Value>, metadata: Option<&Value>, is_kept: impl Fn(&str) -> bool) {
    if let Some(annotations) = metadata.and_then(|m| m.get("annotations")).and_then(Value::as_object) {
        let kept = annotations.iter().filter(|(key, _)| is_kept(key)).map(|(key, value)| (key.clone(), value.clone()));
        into.insert("annotations".into(), Value::Object(kept.collect()));
    }
}

/// Reads the rollout's progress from spec and status (`kubernetes-semantics` 3.2, 3.3).
fn rollout_progress(raw: &Value) -> RolloutProgress {
    let number = |path: &str| raw.pointer(path).and_then(Value::as_i64);
    if raw.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return RolloutProgress::Paused;
    }
    let wanted = number("/spec/replicas").unwrap_or(1);
    let observed = number("/status/observedGeneration").unwrap_or(0) >= number("/metadata/generation").unwrap_or(0);
    let all = |fields: &[&str]| fields.iter().all(|f| number(&format!("/status/{f}")).unwrap_or(0) == wanted);
    let conditions = raw.pointer("/status/conditions").and_then(Value::as_array);
    let progressing = conditions.into_iter().flatten().find(|c| c["type"] == "Progressing");
    let reason = progressing.and_then(|c| c["reason"].as_str()).unwrap_or_default();
    if !observed {
        return RolloutProgress::Moving;
    }
    let replaced = all(&["replicas", "updatedReplicas"]);
    // A pod that fails after completion makes it unavailable, not rolling: its deadline would never pass.
    if replaced && (all(&["availableReplicas"]) || reason == "NewReplicaSetAvailable") {
        return RolloutProgress::Settled;
    }
    if reason == "ProgressDeadlineExceeded" { RolloutProgress::Stuck } else { RolloutProgress::Moving }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_planning_never_reads_is_not_kept() {
        let raw = json!({
            "metadata": {"name": "web", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "SECRET"},
                         "managedFields": [{"manager": "SECRET"}]},
            "spec": {"template": {"metadata": {"annotations": {"x": "SECRET"}}, "spec": {
                "volumes": [{"name": "SECRET"}],
                "containers": [{"name": "app", "image": "SECRET", "env": [{"name": "SECRET"}], "command": ["SECRET"],
                                "livenessProbe": {"grpc": {"port": 1, "mode": "TLS"}}}]}}}
        });
        let kept = project(&raw);
        assert!(!kept.json.contains("SECRET"), "{}", kept.json);
        assert!(kept.json.contains(r#""mode":"TLS""#), "fields of newer servers inside a probe survive");
        assert_eq!(kept.value()["metadata"]["annotations"], json!({}), "the map exists, so a patch must not create it");
    }

    #[test]
    fn who_rode_along_is_read_of_this_deployment_alone() {
        let of = |filled_by: Value| {
            let metadata =
                json!({"name": "web", "generateName": "we", "annotations": {FILLED_BY_ANNOTATION: filled_by}});
            project(&json!({"metadata": metadata})).rode_with
        };
        let is = |uid: &str, generation| Some(RodeWith { uid: uid.into(), generation });
        assert_eq!((of(json!("web/shop/u-1/3/7")), of(json!("we/shop/u-2/4/1"))), (is("u-1", 3), is("u-2", 4)));
        for other in [
            "web2/shop/u-1/3/7",
            "w/shop/u-1/3/7",
            "/shop/u-1/3/7",
            "web",
            "web/shop/u-1/3",
            "web/shop/u-1/x/7",
            "",
            "web/////",
        ] {
            assert_eq!(of(json!(other)), None, "{other}");
        }
        assert_eq!((of(json!(7)), project(&json!({})).rode_with), (None, None));
    }

    #[test]
    fn a_rollout_is_settled_only_when_the_status_speaks_of_this_generation() {
        let with_available = |available: i64,
                              generation: i64,
                              observed: i64,
                              updated: i64,
                              reason: &str,
                              paused: bool| {
            rollout_progress(&json!({
                "metadata": {"generation": generation},
                "spec": {"replicas": 3, "paused": paused},
                "status": {"observedGeneration": observed, "replicas": 3, "updatedReplicas": updated,
                           "availableReplicas": available, "conditions": [{"type": "Progressing", "reason": reason}]}
            }))
        };
        let with = |generation, observed, updated, reason: &str, paused| {
            with_available(3, generation, observed, updated, reason, paused)
        };
        assert_eq!(with(2, 2, 3, "NewReplicaSetAvailable", false), RolloutProgress::Settled);
        let degraded = with_available(2, 2, 2, 3, "NewReplicaSetAvailable", false);
        assert_eq!(degraded, RolloutProgress::Settled, "a crash after completion is no rollout");
        assert_eq!(with_available(2, 2, 2, 3, "ReplicaSetUpdated", false), RolloutProgress::Moving);
        assert_eq!(with(3, 2, 3, "NewReplicaSetAvailable", false), RolloutProgress::Moving);
        assert_eq!(with(2, 2, 1, "ReplicaSetUpdated", false), RolloutProgress::Moving);
        assert_eq!(with(2, 2, 1, "ProgressDeadlineExceeded", false), RolloutProgress::Stuck);
        assert_eq!(with(3, 2, 1, "ProgressDeadlineExceeded", false), RolloutProgress::Moving, "stale");
        assert_eq!(with(2, 2, 1, "DeploymentPaused", true), RolloutProgress::Paused);
        let none = json!({"metadata": {"generation": 1}, "spec": {"replicas": 0}, "status": {"observedGeneration": 1}});
        assert_eq!(rollout_progress(&none), RolloutProgress::Settled);
    }
}
