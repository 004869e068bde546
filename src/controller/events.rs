//! Events, from a fixed list: one per change, never "still going on". What matters is in the status as well.
//!
//! kube's recorder would patch a repeated event and keep its first text, so events are created plainly.

use http::Request;
use serde_json::json;

use super::world::Key;
use super::writes::{CallError, Caller};
use crate::api::FIELD_MANAGER;

/// Every reason of an event on a Deployment or a policy.
pub const REASONS: &[(&str, &str)] = &[
    ("Enforced", "Normal: the policy's fields were written to the Deployment"),
    ("Released", "Normal: filled fields were taken out and originals given back"),
    ("Contended", "Warning: another writer keeps setting a field back"),
    ("Refused", "Warning: the API server or an admission policy refuses the policy's fields"),
    ("Blocked", "Warning: something the policy asks for cannot be written to this Deployment"),
    ("Unsupported", "Warning: the API server does not store what the policy asks for"),
    ("PolicyInvalid", "Warning: the stored policy cannot be understood"),
];

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) note: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regarding<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) uid: &'a str,
}

/// Publishes events.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) caller: Caller,
    pub(crate) instance: String,
}

impl Publisher {
    /// Publishes one event; a failure is logged and no more, for an event is never needed.
    pub(crate) async fn publish(&self, regarding: Regarding<'_>, event: &Event) {
        if let Err(error) = self.create(regarding, event).await {
            tracing::debug!(%error, workload = %regarding.key, "an event was not published");
        }
    }

    async fn create(&self, regarding: Regarding<'_>, event: &Event) -> Result<(), CallError> {
        let now = super::clock::now_precise();
        let namespace = &*regarding.key.namespace;
        let short_name: String = regarding.key.name.chars().take(200).collect();
        let note: String = event.note.chars().filter(|c| !c.is_control()).take(1000).collect();
        let instance: String = self.instance.chars().take(128).collect();
        let body = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{short_name}.{:x}", now.as_nanosecond())},
            "eventTime": format!("{now:.6}"),
            "reportingController": FIELD_MANAGER, "reportingInstance": instance,
            "type": if event.warning { "Warning" } else { "Normal" },
            "reason": event.reason, "action": event.action, "note": note,
            "regarding": {"apiVersion": regarding.api_version, "kind": regarding.kind, "namespace": namespace,
                          "name": &*regarding.key.name, "uid": regarding.uid},
        });
        let request = Request::post(format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| CallError::Transport(error.to_string()))?;
        self.caller.write("event", request).await.map(|_| ())
    }
}
