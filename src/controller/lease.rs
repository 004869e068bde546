//! Holding the lease: carries out what `core::lease` decides, and moves the fence.

use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fence::Fence;
use super::watching::Watching;
use super::writes::{CallError, Caller};
use crate::core::lease::{Candidate, LeaseRecord, Step, Timing, WATCHED_ANNOTATION};

/// One candidate for the lease.
pub(crate) struct Elector {
    pub(crate) caller: Caller,
    pub(crate) fence: Fence,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) timing: Timing,
    pub(crate) watching: Watching,
    candidate: Candidate,
    /// Version and transitions of the lease as we last wrote it: a holder renews without reading first.
    written: Option<(String, i32)>,
    origin: Instant,
    /// When the lease was first taken over by us, for `acquireTime`.
    acquired: Timestamp,
}

/// How the attempt to hold the lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// We hold it.
    Leader,
    /// Somebody else does.
    Follower(String),
    /// We could not find out.
    Unknown(String),
}

impl Elector {
    pub(crate) fn new(
        caller: Caller,
        fence: Fence,
        (namespace, name): (String, String),
        identity: String,
        timing: Timing,
        watching: Watching,
    ) -> Self {
        let candidate = Candidate::new(identity.clone());
        let (origin, acquired) = (Instant::now(), super::clock::now_precise());
        Self { caller, fence, namespace, name, identity, timing, watching, candidate, written: None, origin, acquired }
    }

    /// One try: read, decide, write; a holder writes at once. The fence is opened from the moment *before* the write
    /// was sent, so that a slow answer never lengthens it.
    pub(crate) async fn attempt(&mut self) -> Standing {
        let (version, transitions) = match self.written.take() {
            Some((version, transitions)) => (Some(version), transitions),
            None => match self.look().await {
                Ok(target) => target,
                Err(standing) => return standing,
            },
        };
        let (before, sent) = (Instant::now(), super::watching::now());
        match self.store(version, transitions, &self.identity, self.timing.lease).await {
            Ok(version) => {
                self.written = Some((version, transitions));
                self.fence.open_until(before + self.timing.renew_deadline);
                self.watching.renewed(sent);
                Standing::Leader
            }
            // Another candidate was faster, or our last renewal landed without an answer: the next try reads.
            Err(error) => Standing::Unknown(error.to_string()),
        }
    }

    /// Reads the lease and decides whether it may be written: at which version, with how many transitions.
    async fn look(&mut self) -> Result<(Option<String>, i32), Standing> {
        let read = self.read().await.map_err(|error| Standing::Unknown(error.to_string()))?;
        let step = self.candidate.step(read.as_ref(), self.origin.elapsed());
        if !matches!(step, Step::Wait { .. }) {
            let record = read.as_ref();
            self.watching.resume(record.and_then(|r| r.watched.as_deref()), record.and_then(|r| r.renewed));
        }
        match step {
            Step::Wait { holder } => Err(Standing::Follower(holder)),
            Step::Create => Ok((None, 0)),
            Step::Acquire { version, transitions } => {
                self.acquired = super::clock::now_precise();
                Ok((Some(version), transitions))
            }
            Step::Renew { version, transitions } => Ok((Some(version), transitions)),
        }
    }

    /// Gives the lease back, so that another candidate can take it at once. Writes must have ended before.
    pub(crate) async fn release(&mut self) {
        self.fence.close();
        let Ok(Some(record)) = self.read().await else { return };
        if record.holder.as_deref() != Some(&self.identity) {
            return;
        }
        let result = self.store(Some(record.version), record.transitions, "", Duration::from_secs(1)).await;
        match result {
            Ok(_) => tracing::info!("lease released"),
            Err(error) => tracing::warn!(%error, "the lease could not be released; others wait until it runs out"),
        }
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn call_deadline(&self) -> Duration {
        self.timing.renew_deadline / 2
    }

    async fn read(&self) -> Result<Option<LeaseRecord>, CallError> {
        let uri = format!("{}/{}", self.path(), self.name);
        let request = Request::get(uri).body(Vec::new()).map_err(|error| CallError::Transport(error.to_string()))?;
        match self.caller.unfenced("lease", request, self.call_deadline()).await {
            Ok(answer) => Ok(Some(record_of(&answer.object, self.timing.lease))),
            Err(CallError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn store(
        &self,
        version: Option<String>,
        transitions: i32,
        holder: &str,
        duration: Duration,
    ) -> Result<String, CallError> {
        let micro = |time: Timestamp| format!("{time:.6}");
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": duration.as_secs().max(1),
                "acquireTime": micro(self.acquired), "renewTime": micro(super::clock::now_precise()),
                "leaseTransitions": transitions,
            }
        });
        if let Some(watched) = self.watching.encoded() {
            lease["metadata"]["annotations"] = json!({WATCHED_ANNOTATION: watched});
        }
        let request = match version {
            Some(version) => {
                lease["metadata"]["resourceVersion"] = version.into();
                Request::put(format!("{}/{}", self.path(), self.name))
            }
            None => Request::post(self.path()),
        };
        let request = request
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(lease.to_string().into_bytes())
            .map_err(|error| CallError::Transport(error.to_string()))?;
        let answer = self.caller.unfenced("lease", request, self.call_deadline()).await?;
        Ok(record_of(&answer.object, self.timing.lease).version)
    }
}

fn record_of(lease: &Value, default_duration: Duration) -> LeaseRecord {
    let spec = &lease["spec"];
    LeaseRecord {
        holder: spec["holderIdentity"].as_str().map(str::to_owned),
        version: lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
        duration: spec["leaseDurationSeconds"].as_u64().map_or(default_duration, Duration::from_secs),
        transitions: spec["leaseTransitions"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        renewed: spec["renewTime"].as_str().and_then(|time| time.parse().ok()),
        watched: lease["metadata"]["annotations"][WATCHED_ANNOTATION].as_str().map(str::to_owned),
    }
}
