//! Every write, and the few reads that must be fresh: one deadline each, no hidden retries, the fence before each
//! write, and an answer that says what kind of "no" it was.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::fence::Fence;
use super::metrics::Metrics;

/// Largest answer that is read, in bytes: the API server's own limit for an object is 1.5 MB.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// The API server's answer to a call that succeeded.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) object: Value,
    /// Texts of `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the lease is not held")]
    NotLeader,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the object is gone")]
    Gone,
    #[error("the object changed meanwhile: {0}")]
    Conflict(String),
    #[error("refused as invalid: {0}")]
    Invalid(String),
    #[error("forbidden: {0}")]
    Forbidden(String),
    #[error("the API server is not able to answer now ({code}): {message}")]
    Unavailable { code: u16, message: String, retry_after: Option<Duration> },
    #[error("{0}")]
    Transport(String),
}

impl CallError {
    /// Label of metrics: a fixed set.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Timeout(_) => "timeout",
            Self::Gone => "gone",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Forbidden(_) => "forbidden",
            Self::Unavailable { .. } => "unavailable",
            Self::Transport(_) => "transport",
        }
    }
}

/// Sends calls.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    fence: Fence,
    deadline: Duration,
    metrics: Arc<Metrics>,
}

impl Caller {
    /// `client` must be made without its default retries: a 429 or 504 has to reach us.
    pub(crate) fn new(client: Client, fence: Fence, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        Self { client, fence, deadline, metrics }
    }

    /// Whether the lease is held at this moment.
    pub(crate) fn may_write(&self) -> bool {
        self.fence.is_open()
    }

    /// A read.
    pub(crate) async fn read(&self, request: Request<Vec<u8>>) -> Result<Answer, CallError> {
        self.send("read", request, self.deadline).await
    }

    /// A write: only while the lease is held, and for no longer.
    pub(crate) async fn write(&self, what: &'static str, request: Request<Vec<u8>>) -> Result<Answer, CallError> {
        let left = self.fence.time_left().ok_or(CallError::NotLeader)?;
        self.send(what, request, left.min(self.deadline)).await
    }

    /// A call that does not need the lease: the lease itself, and reviews of our own rights.
    pub(crate) async fn unfenced(
        &self,
        what: &'static str,
        request: Request<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        self.send(what, request, deadline).await
    }

    async fn send(
        &self,
        what: &'static str,
        request: Request<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let started = Instant::now();
        let result = match timeout(deadline, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout(deadline)),
        };
        let outcome = result.as_ref().map_or_else(CallError::class, |_| "ok");
        self.metrics.called(what, outcome, started.elapsed());
        result
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Answer, CallError> {
        let (mut parts, body) = request.into_parts();
        parts.headers.entry(header::ACCEPT).or_insert(header::HeaderValue::from_static("application/json"));
        let response = self
            .client
            .send(Request::from_parts(parts, Body::from(body)))
            .await
            .map_err(|error| CallError::Transport(chain(&error)))?;
        let code = response.status().as_u16();
        let seconds = |value: &header::HeaderValue| value.to_str().ok()?.parse().ok().map(Duration::from_secs);
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(seconds);
        let warnings = response.headers().get_all(header::WARNING).iter().filter_map(warning_text).collect();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_LIMIT);
        let bytes = body.collect().await.map_err(|error| CallError::Transport(error.to_string()))?.to_bytes();
        if (200..300).contains(&code) {
            let object = serde_json::from_slice(&bytes).map_err(|error| CallError::Transport(error.to_string()))?;
            return Ok(Answer { object, warnings });
        }
        let status = serde_json::from_slice::<Status>(&bytes).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(&bytes).chars().take(256).collect(),
            ..Status::default()
        });
        Err(refusal(code, status, retry_after))
    }
}

/// Sorts a refusal by what has to follow.
fn refusal(code: u16, status: Status, retry_after: Option<Duration>) -> CallError {
    match code {
        404 | 410 => CallError::Gone,
        // A namespace on its way out: whatever was to be written there goes with it.
        403 if status.message.contains("because it is being terminated") => CallError::Gone,
        409 => CallError::Conflict(status.message),
        // A JSON Patch whose `test` failed is a 422 as well, but one without causes. Whoever refuses names one: a field
        // (validation), a message (admission policies); a webhook may leave it at its text.
        422 if !names_a_cause(&status) => CallError::Conflict(status.message),
        // What etcd says when the object would be larger than it stores: no later try fares better.
        500 if status.message.contains("request is too large") => CallError::Invalid(status.message),
        400 | 413 | 422 => CallError::Invalid(status.message),
        401 | 403 => CallError::Forbidden(status.message),
        429 | 500..=599 => CallError::Unavailable { code, message: status.message, retry_after },
        _ => CallError::Transport(format!("{code}: {}", status.message)),
    }
}

fn names_a_cause(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.causes.is_empty())
        || status.message.starts_with("admission webhook ")
}

/// Text of a `Warning` header: `299 - "text"`.
fn warning_text(value: &header::HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let quoted = text.split_once('"')?.1.rsplit_once('"')?.0;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_are_unquoted() {
        let value = header::HeaderValue::from_static(r#"299 - "would violate \"restricted:latest\": host""#);
        assert_eq!(warning_text(&value).as_deref(), Some(r#"would violate "restricted:latest": host"#));
        assert_eq!(warning_text(&header::HeaderValue::from_static("299 -")), None);
    }

    #[test]
    fn a_failed_test_of_a_patch_is_told_from_a_refusal() {
        let policy =
            "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no";
        for (name, body, class) in [
            ("a failed test", json!({"message": "the server rejected our request", "details": {}}), "conflict"),
            ("validation", json!({"message": "invalid", "details": {"causes": [{"field": "spec.x"}]}}), "invalid"),
            ("an admission policy", json!({"message": policy, "details": {"causes": [{"message": "no"}]}}), "invalid"),
            ("a webhook", json!({"message": "admission webhook \"w\" denied the request: no"}), "invalid"),
        ] {
            let status = serde_json::from_value(body).unwrap();
            assert_eq!(refusal(422, status, None).class(), class, "{name}");
        }
    }

    #[test]
    fn a_refusal_is_sorted_by_what_has_to_follow() {
        let class = |code| refusal(code, Status::default(), None).class();
        let too_large = Status { message: "etcdserver: request is too large".into(), ..Status::default() };
        assert_eq!(refusal(500, too_large, None).class(), "invalid");
        let classes: Vec<_> = [403, 404, 409, 422, 429, 500, 504, 302].map(class).to_vec();
        assert_eq!(
            classes,
            ["forbidden", "gone", "conflict", "conflict", "unavailable", "unavailable", "unavailable", "transport"]
        );
    }
}
