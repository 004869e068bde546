//! The CustomResourceDefinitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use super::{HealthPolicy, WorkloadHealth};

/// Both definitions, in the order in which they are installed.
pub fn all() -> [CustomResourceDefinition; 2] {
    let mut definitions = [HealthPolicy::crd(), WorkloadHealth::crd()];
    for definition in &mut definitions {
        for version in &mut definition.spec.versions {
            if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
                // `kubectl explain` should begin with the kind's own text, not with the derive's.
                schema.description =
                    schema.properties.as_ref().and_then(|p| p.get("spec")).and_then(|spec| spec.description.clone());
                strip_nullable(schema);
            }
        }
    }
    definitions
}

/// An optional field may be left out, it may not be null: the API conventions forbid `nullable`, and a stored null
/// would have to be told from "absent" everywhere.
fn strip_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(std::collections::BTreeMap::values_mut) {
        strip_nullable(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        strip_nullable(items);
    }
}
