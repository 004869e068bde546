//! The API server's audit log: who wrote what, by one clock.

use serde_json::Value;

use super::cluster::Cluster;

/// Requests of one user.
pub(crate) struct Audit {
    cluster: &'static Cluster,
    user: String,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When it came.
    #[allow(dead_code)] // benchmarks read it
    pub(crate) received: String,
    /// When it was answered.
    pub(crate) at: String,
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: u64,
    pub(crate) dry_run: bool,
    /// What the API server said when it refused.
    pub(crate) message: String,
}

impl Audit {
    pub(crate) fn of(cluster: &'static Cluster, user: &str) -> Self {
        Self { cluster, user: user.into() }
    }

    /// All requests so far; `None` on a cluster whose audit log is out of reach.
    pub(crate) fn entries(&self) -> Option<Vec<Entry>> {
        let Some(log) = &self.cluster.audit_log else {
            eprintln!("skipped: counting requests needs the audit log of the rig's own API server");
            return None;
        };
        let text = std::fs::read_to_string(log).unwrap();
        let lines = text.lines().filter(|line| line.contains(&self.user));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Some(events.filter(|event| event["user"]["username"] == self.user.as_str()).map(|e| entry(&e)).collect())
    }

    /// Writes that were kept: no dry runs, no refusals.
    pub(crate) fn writes(&self, resource: &str) -> Option<Vec<Entry>> {
        let entries = self.entries()?;
        let is_write = |entry: &Entry| ["create", "update", "patch", "delete"].contains(&entry.verb.as_str());
        let kept = |entry: &Entry| is_write(entry) && !entry.dry_run && entry.code < 300 && entry.resource == resource;
        Some(entries.into_iter().filter(kept).collect())
    }
}

fn entry(event: &Value) -> Entry {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    Entry {
        received: text("/requestReceivedTimestamp"),
        at: text("/stageTimestamp"),
        verb: text("/verb"),
        group: text("/objectRef/apiGroup"),
        resource: text("/objectRef/resource"),
        subresource: text("/objectRef/subresource"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
        dry_run: text("/requestURI").contains("dryRun="),
        message: text("/responseStatus/message"),
    }
}
