//! The JSON Patch of a plan: minimal, in canonical order, and guarded by `test` operations on everything it relies on.
//!
//! An absent field is guarded by `test` with the value null: the API server's JSON Patch library (evanphx/json-patch)
//! takes a missing path for null there. [`apply`] has the same meaning.

use std::collections::BTreeSet;

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use jsonptr::PointerBuf;
use serde_json::{Value, json};

use super::{Change, Plan, Span};
use crate::api::MARKER_ANNOTATION;

/// What a patch has to know of the Deployment besides the changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Guards {
    pub(super) uid: Option<String>,
    /// `/metadata` and its annotations as seen, when the marker is to be written.
    pub(super) marker: Option<MarkerWrite>,
    /// Annotations of riding along that go with the write, as seen.
    pub(super) stale_annotations: Vec<(String, Value)>,
}

/// How the marker gets its new value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum MarkerWrite {
    /// `/metadata` is not there.
    WithMetadata,
    /// `/metadata/annotations` is not there.
    WithAnnotations,
    /// The annotations are there; the value is the marker as seen.
    Set(Option<Value>),
    /// The last entry goes.
    Remove(Value),
    /// The last entry goes, and with it the map that holds nothing else (in a manifest, where nobody else writes).
    RemoveAnnotations(Value),
}

pub(super) fn build(plan: &Plan) -> Patch {
    let mut operations = Vec::new();
    if plan.is_empty() {
        return Patch(operations);
    }
    if let Some(uid) = &plan.guards.uid {
        operations.push(test("/metadata/uid", json!(uid)));
    }
    // A container is addressed by its index: make sure that it is still the same one.
    let mut named = BTreeSet::new();
    for change in &plan.changes {
        if let Some(path) = change.container_path()
            && named.insert(path.clone())
        {
            operations.push(test(&format!("{path}/name"), json!(change.container)));
        }
    }
    for change in &plan.changes {
        of_change(change, &mut operations);
    }
    if let Some(write) = &plan.guards.marker {
        of_marker(write, &plan.marker, &mut operations);
    }
    for (annotation, seen) in &plan.guards.stale_annotations {
        let path = annotation_path(annotation);
        operations.push(test(&path, seen.clone()));
        operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(&path) }));
    }
    Patch(operations)
}

fn of_change(change: &Change, operations: &mut Vec<PatchOperation>) {
    let (path, from, to) = match (change.span, change.path.strip_suffix("/preStop")) {
        // The lifecycle comes or goes with the hook.
        (Span::WithParent, Some(parent)) => {
            let wrapped = |value: &Option<Value>| value.as_ref().map(|hook| json!({"preStop": hook}));
            (parent, wrapped(&change.from), wrapped(&change.to))
        }
        _ => (change.path.as_str(), change.from.clone(), change.to.clone()),
    };
    let seen = from.is_some();
    operations.push(test(path, from.unwrap_or(Value::Null)));
    match to {
        Some(value) if seen => operations.push(replace(path, value)),
        Some(value) => operations.push(add(path, value)),
        None => operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(path) })),
    }
}

fn annotation_path(annotation: &str) -> String {
    format!("/metadata/annotations/{}", annotation.replace('~', "~0").replace('/', "~1"))
}

fn of_marker(write: &MarkerWrite, marker: &str, operations: &mut Vec<PatchOperation>) {
    let key = annotation_path(MARKER_ANNOTATION);
    match write {
        MarkerWrite::WithMetadata => {
            operations.push(test("/metadata", Value::Null));
            operations.push(add("/metadata", json!({"annotations": {MARKER_ANNOTATION: marker}})));
        }
        MarkerWrite::WithAnnotations => {
            operations.push(test("/metadata/annotations", Value::Null));
            operations.push(add("/metadata/annotations", json!({MARKER_ANNOTATION: marker})));
        }
        MarkerWrite::Set(seen) => {
            operations.push(test(&key, seen.clone().unwrap_or(Value::Null)));
            operations.push(match seen {
                Some(_) => replace(&key, json!(marker)),
                None => add(&key, json!(marker)),
            });
        }
        MarkerWrite::Remove(seen) => {
            operations.push(test(&key, seen.clone()));
            operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(&key) }));
        }
        MarkerWrite::RemoveAnnotations(seen) => {
            operations.push(test("/metadata/annotations", json!({MARKER_ANNOTATION: seen})));
            operations.push(PatchOperation::Remove(RemoveOperation { path: pointer("/metadata/annotations") }));
        }
    }
}

/// Applies a patch as the API server does: `test` with null also passes on a missing path.
pub(super) fn apply(patch: &Patch, document: &Value) -> Result<Value, json_patch::PatchError> {
    let mut result = document.clone();
    for operation in &patch.0 {
        if let PatchOperation::Test(TestOperation { path, value: Value::Null }) = operation {
            // Only the last step may be missing.
            let parent = path.split_back().and_then(|(parent, _)| parent.resolve(&result).ok());
            if parent.is_some_and(Value::is_object) && path.resolve(&result).map_or(true, Value::is_null) {
                continue;
            }
        }
        json_patch::patch(&mut result, std::slice::from_ref(operation))?;
    }
    Ok(result)
}

fn pointer(path: &str) -> PointerBuf {
    // Every path here is made of our own constants, indices, and the escaped marker key.
    PointerBuf::parse(path).unwrap_or_default()
}

fn test(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: pointer(path), value })
}

fn add(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(path), value })
}

fn replace(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path: pointer(path), value })
}
