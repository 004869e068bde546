//! Checks a HealthPolicy as the API server would, so that `gracekeeper plan` and the cluster say the same: the bounds
//! come from the CRD's own schema, and each CEL rule has a twin here with the same message (a test compares the sets).

mod rules;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use crate::api::{GROUP, HealthPolicySpec, crds};

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Field, such as `spec.containers[0].probes.liveness.periodSeconds`.
    pub path: String,
    /// One sentence.
    pub message: String,
}

/// Everything that is wrong with a HealthPolicy's raw JSON, by path. Empty: the API server would take it.
pub fn validate(policy: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: &str, message: String| problems.push(Problem { path: path.into(), message });
    let version = format!("{GROUP}/v1alpha1");
    if policy.get("apiVersion").and_then(Value::as_str) != Some(&version) {
        add("apiVersion", format!("must be {version}"));
    }
    for key in policy.as_object().into_iter().flat_map(|map| map.keys()) {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&key.as_str()) {
            add(key, "unknown field".into());
        }
    }
    if policy.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
        add("metadata.name", "must be set".into());
    }
    match policy.get("spec") {
        Some(spec) => problems.extend(validate_spec(spec)),
        None => problems.push(Problem { path: "spec".into(), message: "must be set".into() }),
    }
    problems.sort();
    problems
}

/// Everything that is wrong with a HealthPolicy's `spec`.
pub fn validate_spec(spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(schema) = SPEC_SCHEMA.as_ref() {
        schema::check(schema, spec, "spec", &mut problems);
    }
    // As on the API server, the rules are not asked about what the schema refuses.
    if problems.is_empty() {
        match serde_json::from_value::<HealthPolicySpec>(spec.clone()) {
            Ok(spec) => rules::check(&spec, &mut problems),
            Err(error) => problems.push(Problem { path: "spec".into(), message: error.to_string() }),
        }
    }
    problems.sort();
    problems
}

/// Schema of the spec; made once, it is the same each time.
static SPEC_SCHEMA: LazyLock<Option<JSONSchemaProps>> = LazyLock::new(|| {
    let policy = crds::all().into_iter().find(|crd| crd.spec.names.kind == "HealthPolicy")?;
    policy.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?.properties?.remove("spec")
});

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
