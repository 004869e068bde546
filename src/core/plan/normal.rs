//! Values without the API server's defaults, so that what a policy asks for and what the server stores compare equal.

use serde_json::{Map, Value, json};

use super::field::Field;

/// Whether two values of a field mean the same to the API server. An absent `minReadySeconds` is 0.
pub(super) fn equal(field: Field, one: Option<&Value>, two: Option<&Value>) -> bool {
    one == two || normal(field, one) == normal(field, two)
}

/// Whether the value is there at all.
pub(super) fn is_present(field: Field, value: &Value) -> bool {
    !(value.is_null() || field == Field::MinReadySeconds && value.as_i64() == Some(0))
}

/// The value in the form that is compared.
pub(super) fn normal(field: Field, value: Option<&Value>) -> Option<Value> {
    let value = value.filter(|value| is_present(field, value))?;
    let mut value = value.clone();
    strip_nulls(&mut value);
    if let Some(map) = value.as_object_mut() {
        match field {
            Field::LivenessProbe | Field::ReadinessProbe | Field::StartupProbe => {
                // An explicit 0 is rewritten to the default by the server (`SetDefaults_Probe`).
                for (key, default) in
                    [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
                {
                    drop_when(map, key, &[json!(default), json!(0)]);
                }
                drop_when(map, "initialDelaySeconds", &[json!(0)]);
                drop_handler_defaults(map);
            }
            Field::PreStop => drop_handler_defaults(map),
            _ => {}
        }
    }
    Some(value)
}

fn drop_handler_defaults(map: &mut Map<String, Value>) {
    if let Some(get) = map.get_mut("httpGet").and_then(Value::as_object_mut) {
        drop_when(get, "path", &[json!("/"), json!("")]);
        drop_when(get, "scheme", &[json!("HTTP"), json!("")]);
        drop_when(get, "host", &[json!("")]);
        drop_when(get, "httpHeaders", &[json!([])]);
        // Known to newer servers only; the default is what older ones do.
        drop_when(get, "protocol", &[json!("HTTP1"), json!("")]);
    }
    if let Some(socket) = map.get_mut("tcpSocket").and_then(Value::as_object_mut) {
        drop_when(socket, "host", &[json!("")]);
    }
    if let Some(grpc) = map.get_mut("grpc").and_then(Value::as_object_mut) {
        drop_when(grpc, "service", &[json!("")]);
        drop_when(grpc, "mode", &[json!("Plaintext"), json!("")]);
    }
}

fn drop_when(map: &mut Map<String, Value>, key: &str, defaults: &[Value]) {
    if map.get(key).is_some_and(|value| defaults.contains(value)) {
        map.remove(key);
    }
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
