//! Who wrote to an object last, by its `managedFields`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::FIELD_MANAGER;

/// The newest field manager other than us that wrote to the object itself, not to a subresource, since our last write.
/// Field ownership is no better guide: a writer that removes a field of ours owns nothing of it. One that does nothing
/// but remove leaves no entry at all; then nobody is named rather than somebody who wrote long ago.
///
/// Our last write is known by our own entry; when that is gone with all of our fields, by `last_write`.
pub fn last_other_writer(object: &Value, last_write: Option<Timestamp>) -> Option<String> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let second = |entry: &Value| text(entry, "time").parse::<Timestamp>().ok().map(Timestamp::as_second);
    let (ours, others): (Vec<&Value>, Vec<&Value>) = entries
        .iter()
        .filter(|entry| text(entry, "subresource").is_empty())
        .partition(|entry| text(entry, "manager") == FIELD_MANAGER);
    let since = ours.into_iter().filter_map(second).max().or_else(|| last_write.map(Timestamp::as_second));
    others
        .into_iter()
        .filter(|entry| since.is_none_or(|since| second(entry).is_some_and(|time| time >= since)))
        .max_by_key(|entry| second(entry))
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
            && is_others(entry)
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

/// Whether somebody else owns a part of a container's field (a JSON pointer below the container). Without
/// `managedFields` nobody knows, and it counts as claimed.
pub fn is_claimed(object: &Value, container: &str, path: &str) -> bool {
    let Some(entries) = object.pointer("/metadata/managedFields").and_then(Value::as_array) else { return true };
    entries.iter().any(|entry| is_others(entry) && owns(entry, container, path))
}

/// Whether we own a part of a container's field: as `is_claimed`, of us.
pub fn is_partly_ours(object: &Value, container: &str, path: &str) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| entry["manager"] == FIELD_MANAGER && owns(entry, container, path))
}

fn owns(entry: &Value, container: &str, path: &str) -> bool {
    let path = path.replace('/', "/f:");
    ["containers", "initContainers"].iter().any(|list| {
        let containers = entry.pointer(&format!("/fieldsV1/f:spec/f:template/f:spec/f:{list}"));
        let own = containers.and_then(|containers| containers.get(container_key(container)));
        own.is_some_and(|own| own.pointer(&path).is_some())
    })
}

/// Key of a container in `fieldsV1`.
fn container_key(name: &str) -> String {
    format!("k:{}", json!({"name": name}))
}

fn is_others(entry: &Value) -> bool {
    entry["manager"] != FIELD_MANAGER && entry.get("subresource").is_none_or(|subresource| subresource == "")
}

/// `managedFields` reduced to what [`is_claimed`] and [`is_partly_ours`] need to say the same of these fields.
pub fn claims(object: &Value, paths: &[&str]) -> Vec<Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let counts = |entry: &&Value| is_others(entry) || entry["manager"] == FIELD_MANAGER;
    let reduced = entries.filter(counts).filter_map(|entry| {
        let spec = entry.pointer("/fieldsV1/f:spec/f:template/f:spec")?;
        let mut lists = Map::new();
        for list in ["f:containers", "f:initContainers"] {
            let mut kept = Map::new();
            for (key, fields) in spec.get(list).and_then(Value::as_object).into_iter().flatten() {
                let mut own = json!({});
                for path in paths {
                    if fields.pointer(&path.replace('/', "/f:")).is_some() {
                        nest(&mut own, path);
                    }
                }
                if own.as_object().is_some_and(|own| !own.is_empty()) {
                    kept.insert(key.clone(), own);
                }
            }
            if !kept.is_empty() {
                lists.insert(list.into(), Value::Object(kept));
            }
        }
        let manager = if is_others(entry) { "other" } else { FIELD_MANAGER };
        let fields = json!({"f:spec": {"f:template": {"f:spec": lists}}});
        (!fields["f:spec"]["f:template"]["f:spec"].as_object()?.is_empty())
            .then(|| json!({"manager": manager, "fieldsV1": fields}))
    });
    reduced.collect()
}

/// Makes the path exist in a `fieldsV1` tree.
fn nest(tree: &mut Value, path: &str) {
    let mut at = tree;
    for key in path.split('/').skip(1) {
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(format!("f:{key}")).or_insert_with(|| json!({}));
    }
}

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
    fn a_field_is_claimed_while_somebody_else_owns_a_part_of_it() {
        let entry = |manager: &str, container: &str, fields: Value| {
            json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {
                "f:containers": {container_key(container): fields}}}}}})
        };
        let theirs = json!({"f:livenessProbe": {"f:httpGet": {"f:path": {}}}, "f:lifecycle": {"f:preStop": {}}});
        let object = json!({"metadata": {"managedFields": [
            entry("gracekeeper", "app", json!({"f:readinessProbe": {}})), entry("helm", "app", theirs)]}});
        let paths = ["/livenessProbe", "/readinessProbe", "/lifecycle/preStop"];
        let short = json!({"metadata": {"managedFields": claims(&object, &paths)}});
        for object in [&object, &short] {
            assert!(is_claimed(object, "app", "/livenessProbe") && is_claimed(object, "app", "/lifecycle/preStop"));
            assert!(!is_claimed(object, "app", "/readinessProbe"), "ours alone");
            assert!(
                is_partly_ours(object, "app", "/readinessProbe") && !is_partly_ours(object, "app", "/livenessProbe")
            );
            assert!(!is_claimed(object, "other", "/livenessProbe"));
        }
        assert!(is_claimed(&json!({}), "app", "/livenessProbe"), "nobody knows");
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
    fn the_newest_writer_other_than_us_since_our_last_write_is_named() {
        let entry = |manager: &str, day: u8| json!({"manager": manager, "time": format!("2026-01-{day:02}T00:00:00Z")});
        let status =
            json!({"manager": "kube-controller-manager", "time": "2026-01-09T00:00:00Z", "subresource": "status"});
        let (helm, argo, ours) = (entry("helm", 1), entry("argocd-controller", 4), entry("gracekeeper", 3));
        let last_write = Some("2026-01-02T00:00:00.5Z".parse().unwrap());
        for (name, entries, last_write, want) in [
            ("the newest", json!([helm, argo, ours, status]), None, Some("argocd-controller")),
            ("all before ours", json!([helm, ours, status]), last_write, None),
            ("ours is gone", json!([helm, argo]), last_write, Some("argocd-controller")),
            ("ours is gone, and all before", json!([helm]), last_write, None),
            ("the same second", json!([entry("helm", 3), ours]), None, Some("helm")),
            ("we never wrote", json!([helm]), None, Some("helm")),
        ] {
            let object = json!({"metadata": {"managedFields": entries}});
            assert_eq!(last_other_writer(&object, last_write).as_deref(), want, "{name}");
        }
        assert_eq!(last_other_writer(&json!({}), None), None);
    }
}
