//! The part of a structural schema that our CRDs use, checked against raw JSON.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::Problem;

pub(super) fn check(schema: &JSONSchemaProps, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let mut add = |message: String| problems.push(Problem { path: path.into(), message });
    if schema.x_kubernetes_int_or_string == Some(true) {
        if !(value.is_string() || value.is_i64()) {
            add(format!("must be an integer or a string, is {}", kind(value)));
        }
        return;
    }
    let wanted = schema.type_.as_deref().unwrap_or_default();
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => true,
    };
    if !fits {
        add(format!("must be of type {wanted}, is {}", kind(value)));
        return;
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|each| each.0 == *value)
    {
        let names: Vec<String> = allowed.iter().map(|each| each.0.to_string()).collect();
        add(format!("must be one of {}, is {value}", names.join(", ")));
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if schema.minimum.is_some_and(|minimum| number < minimum) {
                add(format!("must be at least {}", schema.minimum.unwrap_or_default()));
            }
            if schema.maximum.is_some_and(|maximum| number > maximum) {
                add(format!("must be at most {}", schema.maximum.unwrap_or_default()));
            }
        }
        Value::String(text) => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            size(length, schema.min_length, schema.max_length, "characters", &mut add);
        }
        Value::Array(items) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            size(length, schema.min_items, schema.max_items, "items", &mut add);
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check(schema, item, &format!("{path}[{index}]"), problems);
                }
            }
        }
        Value::Object(map) => {
            let length = i64::try_from(map.len()).unwrap_or(i64::MAX);
            size(length, schema.min_properties, schema.max_properties, "entries", &mut add);
            for name in schema.required.iter().flatten().filter(|name| !map.contains_key(*name)) {
                add(format!("{name} must be set"));
            }
            for (key, child) in map {
                let inner = format!("{path}.{key}");
                let named = schema.properties.as_ref().and_then(|all| all.get(key));
                match (named, &schema.additional_properties) {
                    (Some(schema), _) => check(schema, child, &inner, problems),
                    (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => check(schema, child, &inner, problems),
                    (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                    (None, _) => problems.push(Problem { path: inner, message: "unknown field".into() }),
                }
            }
        }
        _ => {}
    }
}

fn size(length: i64, least: Option<i64>, most: Option<i64>, of: &str, add: &mut impl FnMut(String)) {
    if let Some(least) = least.filter(|least| length < *least) {
        add(format!("must have at least {least} {of}"));
    }
    if let Some(most) = most.filter(|most| length > *most) {
        add(format!("must have at most {most} {of}, has {length}"));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_i64() => "an integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
