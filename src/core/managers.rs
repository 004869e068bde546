//! Who wrote to an object last, by its `managedFields`.

use serde_json::Value;

use crate::api::FIELD_MANAGER;

/// The newest field manager other than us that wrote to the object itself, not to a subresource. Field ownership is no
/// better guide: a writer that removes a field of ours owns nothing of it.
pub fn last_other_writer(object: &Value) -> Option<String> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    entries
        .iter()
        .filter(|entry| text(entry, "manager") != FIELD_MANAGER && text(entry, "subresource").is_empty())
        // RFC 3339 in UTC sorts as text.
        .max_by_key(|entry| text(entry, "time"))
        .map(|entry| text(entry, "manager").chars().filter(|c| !c.is_control()).take(128).collect())
        .filter(|manager: &String| !manager.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_writer_other_than_us_is_named() {
        let object = json!({"metadata": {"managedFields": [
            {"manager": "helm", "time": "2026-01-01T00:00:00Z"},
            {"manager": "gracekeeper", "time": "2026-03-01T00:00:00Z"},
            {"manager": "kube-controller-manager", "time": "2026-04-01T00:00:00Z", "subresource": "status"},
            {"manager": "argocd-controller", "time": "2026-02-01T00:00:00Z"}
        ]}});
        assert_eq!(last_other_writer(&object).as_deref(), Some("argocd-controller"));
        assert_eq!(last_other_writer(&json!({})), None);
    }
}
