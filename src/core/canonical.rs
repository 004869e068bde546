//! Canonical JSON and hashes over it. Hashes are made from raw JSON, never from typed structs: an update of a library
//! must not change them.
//!
//! FNV-1a (64 bits) is enough: a hash tells versions of *one* Deployment apart, and whoever could craft a collision
//! may edit that Deployment anyway. It is ten lines, has published test vectors, and cannot change under us.

use std::fmt::{self, Write};

use serde_json::{Map, Value, json};

/// JSON text with sorted keys and no white space: the same value always gives the same bytes.
pub fn to_string(value: &Value) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_value(value, &mut text);
    text
}

/// FNV-1a over the canonical JSON, as 16 hex digits.
pub fn hash(value: &Value) -> String {
    let mut hasher = Fnv1a::default();
    let _ = write_value(value, &mut hasher);
    format!("{:016x}", hasher.0)
}

/// Hash of `spec.template` of a Deployment or ReplicaSet, whole but for the label that the Deployment controller adds.
pub fn template_hash(deployment: &Value) -> String {
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    remove(&mut template, "/metadata/labels", "pod-template-hash");
    hash(&template)
}

/// Hash of `spec.template` without the fields that a policy can set and without what the API server fills in: it
/// stays the same when only a policy or the server's defaults act, and changes when the application does.
pub fn app_hash(deployment: &Value) -> String {
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    remove(&mut template, "/metadata/labels", "pod-template-hash");
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        drop_pod_defaults(spec);
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    drop_container_defaults(container);
                }
            }
        }
        for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
            drop_volume_defaults(volume);
        }
    }
    prune(&mut template);
    hash(&template)
}

fn remove(value: &mut Value, parent: &str, key: &str) {
    if let Some(parent) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.remove(key);
    }
}

/// Removes `key` when it has the value that the server would write anyway.
fn drop_default(map: &mut Map<String, Value>, key: &str, default: &Value) {
    if map.get(key) == Some(default) {
        map.remove(key);
    }
}

/// `SetDefaults_PodSpec` of Kubernetes, and the grace period, which a policy can set.
fn drop_pod_defaults(spec: &mut Map<String, Value>) {
    spec.remove("terminationGracePeriodSeconds");
    for (key, default) in
        [("restartPolicy", "Always"), ("dnsPolicy", "ClusterFirst"), ("schedulerName", "default-scheduler")]
    {
        drop_default(spec, key, &json!(default));
    }
    drop_default(spec, "enableServiceLinks", &json!(true));
    for flag in ["hostNetwork", "hostPID", "hostIPC"] {
        drop_default(spec, flag, &json!(false));
    }
    // The deprecated name is a copy that the server keeps equal.
    if spec.get("serviceAccount") == spec.get("serviceAccountName") {
        spec.remove("serviceAccount");
    }
}

/// `SetDefaults_Container`, and the probes and the preStop hook, which a policy can set.
fn drop_container_defaults(container: &mut Map<String, Value>) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container.remove(probe);
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        lifecycle.remove("preStop");
        if let Some(get) = lifecycle.get_mut("postStart").and_then(|hook| hook.get_mut("httpGet"))
            && let Some(get) = get.as_object_mut()
        {
            drop_default(get, "path", &json!("/"));
            drop_default(get, "scheme", &json!("HTTP"));
        }
    }
    drop_default(container, "terminationMessagePath", &json!("/dev/termination-log"));
    drop_default(container, "terminationMessagePolicy", &json!("File"));
    let pull_policy = default_pull_policy(container.get("image").and_then(Value::as_str).unwrap_or_default());
    drop_default(container, "imagePullPolicy", &json!(pull_policy));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            drop_default(port, "protocol", &json!("TCP"));
        }
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut) {
            drop_default(field, "apiVersion", &json!("v1"));
        }
        if let Some(variable) = variable.as_object_mut() {
            drop_default(variable, "value", &json!(""));
        }
    }
}

/// Always for `latest` and for images without a tag or digest.
fn default_pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name.split_once(':').map(|(_, tag)| tag);
    if name.contains('@') || tag.is_some_and(|tag| tag != "latest") { "IfNotPresent" } else { "Always" }
}

fn drop_volume_defaults(volume: &mut Value) {
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            drop_default(source, "defaultMode", &json!(420));
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        drop_default(path, "type", &json!(""));
    }
    for list in ["/projected/sources", "/downwardAPI/items"] {
        for source in volume.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                drop_default(token, "expirationSeconds", &json!(3600));
            }
            let items = source.pointer_mut("/downwardAPI/items").and_then(Value::as_array_mut);
            for item in items.into_iter().flatten() {
                drop_field_version(item);
            }
            drop_field_version(source);
        }
    }
}

fn drop_field_version(item: &mut Value) {
    if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
        drop_default(field, "apiVersion", &json!("v1"));
    }
}

/// Removes nulls and empty maps and lists, which the API server does not keep apart from absent ones; but an empty
/// selector selects everything and an absent one nothing.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for child in map.values_mut() {
                prune(child);
            }
            map.retain(|key, child| match child {
                Value::Null => false,
                Value::Object(inner) => !inner.is_empty() || key.ends_with("Selector"),
                Value::Array(inner) => !inner.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn write_value(value: &Value, out: &mut impl Write) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(flag) => write!(out, "{flag}"),
        Value::Number(number) => write!(out, "{number}"),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_char(',')?;
                }
                write_value(item, out)?;
            }
            out.write_char(']')
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            out.write_char('{')?;
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.write_char(',')?;
                }
                write_text(key, out)?;
                out.write_char(':')?;
                write_value(item, out)?;
            }
            out.write_char('}')
        }
    }
}

/// Escapes what JSON demands and nothing else.
fn write_text(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\u{0}'..='\u{1f}' => write!(out, "\\u{:04x}", u32::from(character))?,
            _ => out.write_char(character)?,
        }
    }
    out.write_char('"')
}

struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Write for Fnv1a {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// JSON text with the escapes that the API server uses (Go's `encoding/json`). A `test` of a JSON Patch compares strings there
/// as they are written: without this, a command with `&&` would never be equal to itself.
pub fn as_the_server_writes(json: &str) -> String {
    // All of them can only stand inside strings.
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '&' => text.push_str("\\u0026"),
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_with_its_published_vectors() {
        for (text, want) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut hasher = Fnv1a::default();
            hasher.write_str(text).unwrap();
            assert_eq!(hasher.0, want, "{text}");
        }
    }

    #[test]
    fn key_order_and_layout_do_not_change_the_bytes() {
        let one: Value = serde_json::from_str(r#"{"b": [1, "ä\u0001\"\\"], "a": null}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"a":null,"b":[1,"ä\u0001\"\\"]}"#).unwrap();
        assert_eq!(to_string(&one), r#"{"a":null,"b":[1,"ä\u0001\"\\"]}"#);
        assert_eq!(hash(&one), hash(&two));
        assert_eq!(serde_json::from_str::<Value>(&to_string(&one)).unwrap(), one);
    }

    fn written() -> Value {
        json!({"spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "app", "image": "web:1", "ports": [{"containerPort": 80}],
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}],
            "volumes": [{"name": "c", "configMap": {"name": "c"}}, {"name": "t", "emptyDir": {}}]}}}})
    }

    #[test]
    fn the_app_hash_ignores_what_a_policy_or_the_server_sets() {
        let live = json!({"spec": {"template": {"metadata": {"creationTimestamp": null,
            "labels": {"app": "web", "pod-template-hash": "5d"}}, "spec": {
            "containers": [{"name": "app", "image": "web:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "ports": [{"containerPort": 80, "protocol": "TCP"}], "livenessProbe": {"exec": {"command": ["x"]}},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 40,
            "volumes": [{"name": "c", "configMap": {"name": "c", "defaultMode": 420}}, {"name": "t"}]}}}});
        assert_eq!(app_hash(&written()), app_hash(&live));
        assert_ne!(template_hash(&written()), template_hash(&live));
    }

    #[test]
    fn the_app_hash_follows_the_application() {
        let before = app_hash(&written());
        for (path, value) in [
            ("/spec/template/spec/containers/0/image", json!("web:2")),
            ("/spec/template/metadata/labels/app", json!("other")),
            ("/spec/template/spec/containers/0/env/0/name", json!("OTHER")),
        ] {
            let mut changed = written();
            *changed.pointer_mut(path).unwrap() = value;
            assert_ne!(app_hash(&changed), before, "{path}");
        }
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, want) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("registry:5000/web", "Always"),
            ("registry:5000/web:1", "IfNotPresent"),
            ("web@sha256:aa", "IfNotPresent"),
        ] {
            assert_eq!(default_pull_policy(image), want, "{image}");
        }
    }

    #[test]
    fn text_is_escaped_as_go_does_it_and_means_the_same() {
        let value = json!({"a&b": ["<x> && y", "\u{2028}\u{2029}\t\"ü\""]});
        let text = as_the_server_writes(&value.to_string());
        assert_eq!(text, r#"{"a\u0026b":["\u003cx\u003e \u0026\u0026 y","\u2028\u2029\t\"ü\""]}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
