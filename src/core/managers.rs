//! Who wrote to an object last, by its `managedFields`.

use serde_json::{Value, json};

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

/// Who declares a field of the Deployment, so that changing it would make the declarer's next apply conflict or change
/// it back: a manager of server-side apply, the last client-side apply, or the manifest itself when it is not (yet)
/// a live object. `path` is a JSON pointer of object keys. What was written by an update is not told from a default.
pub fn declarer(object: &Value, path: &str) -> Option<String> {
    if object.pointer("/metadata/uid").is_none() {
        return object.pointer(path).filter(|value| !value.is_null()).map(|_| "the manifest".into());
    }
    let owned = path.replace('/', "/f:");
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let applier = entries.into_iter().flatten().find(|entry| {
        entry["operation"] == "Apply"
            && entry["manager"] != FIELD_MANAGER
            && entry.get("subresource").is_none_or(|subresource| subresource == "")
            && entry.get("fieldsV1").is_some_and(|fields| fields.pointer(&owned).is_some())
    });
    if let Some(applier) = applier {
        return Some(applier["manager"].as_str().unwrap_or("another writer").chars().take(128).collect());
    }
    let last = object.pointer("/metadata/annotations").and_then(|a| a.get(LAST_APPLIED)).and_then(Value::as_str)?;
    let last: Value = serde_json::from_str(last).ok()?;
    last.pointer(path).map(|_| "kubectl apply".into())
}

/// Annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `managedFields` reduced to what [`declarer`] needs to say the same of these paths.
pub fn declarations(object: &Value, paths: &[&str]) -> Vec<Value> {
    if object.pointer("/metadata/uid").is_none() {
        return Vec::new();
    }
    let declared = paths.iter().filter_map(|path| Some((declarer(object, path)?, path)));
    let entry = |(manager, path): (String, &&str)| {
        let fields = path
            .rsplit('/')
            .filter(|key| !key.is_empty())
            .fold(json!({}), |inner, key| json!({format!("f:{key}"): inner}));
        json!({"manager": manager, "operation": "Apply", "fieldsV1": fields})
    };
    declared.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: &str = "/spec/template/spec/terminationGracePeriodSeconds";

    #[test]
    fn a_field_is_declared_by_who_would_apply_it_again() {
        let fields = json!({"f:spec": {"f:template": {"f:spec": {"f:terminationGracePeriodSeconds": {}}}}});
        let live = |operation: &str, manager: &str| {
            json!({"metadata": {"uid": "u", "managedFields": [
                {"manager": manager, "operation": operation, "fieldsV1": fields}]}})
        };
        assert_eq!(declarer(&live("Apply", "helm"), GRACE).as_deref(), Some("helm"));
        assert_eq!(declarer(&live("Update", "kubectl-create"), GRACE), None, "defaults look the same");
        assert_eq!(declarer(&live("Apply", "gracekeeper"), GRACE), None);
        assert_eq!(declarer(&live("Apply", "helm"), "/spec/minReadySeconds"), None);

        let manifest = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}});
        assert_eq!(declarer(&manifest, GRACE).as_deref(), Some("the manifest"));
        let mut applied = json!({"metadata": {"uid": "u", "annotations": {LAST_APPLIED: manifest.to_string()}}});
        assert_eq!(declarer(&applied, GRACE).as_deref(), Some("kubectl apply"));
        applied["metadata"]["annotations"][LAST_APPLIED] = json!("not json");
        assert_eq!(declarer(&applied, GRACE), None);
    }

    #[test]
    fn declarations_say_the_same_in_short() {
        let manifest = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}});
        let live = json!({"metadata": {"uid": "u", "annotations": {LAST_APPLIED: manifest.to_string()}}});
        let short =
            json!({"metadata": {"uid": "u", "managedFields": declarations(&live, &[GRACE, "/spec/minReadySeconds"])}});
        assert_eq!(declarer(&short, GRACE).as_deref(), Some("kubectl apply"));
        assert_eq!(declarer(&short, "/spec/minReadySeconds"), None);
    }

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
