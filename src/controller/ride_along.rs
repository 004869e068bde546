//! Finds out whether policies can ride along in the users' own writes. Looked at again and again: servers of a cluster are
//! upgraded and sometimes downgraded, and people delete things, while we run.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde_json::Value;
use tokio::sync::watch;

use super::carry_out::request;
use super::writes::{CallError, Caller};
use crate::core::ride_along::{Admission, RideAlong};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
/// Time between two looks: two reads, of some 25 KB together.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Time until the next look when the API server did not answer.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// What was seen last.
#[derive(Clone, Debug)]
pub(crate) struct Detection(Arc<watch::Sender<Admission>>);

impl Default for Detection {
    fn default() -> Self {
        Self(Arc::new(watch::channel(Admission::default()).0))
    }
}

impl Detection {
    /// For the policies of this namespace.
    pub(crate) fn of(&self, namespace: &str) -> RideAlong {
        self.0.borrow().in_namespace(namespace)
    }

    /// Looks for ever for the admission policy and the binding of this name; calls `changed` when there is news.
    pub(crate) async fn watch(self, caller: Caller, name: Option<String>, changed: impl Fn()) {
        let Some(name) = name else { return };
        loop {
            let wait = match look(&caller, &name).await {
                Ok(admission) => {
                    if *self.0.borrow() != admission {
                        tell(admission.state);
                        self.0.send_replace(admission);
                        changed();
                    }
                    LOOK_AGAIN
                }
                Err(error) => {
                    tracing::debug!(%error, "whether policies can ride along could not be seen");
                    TRY_AGAIN
                }
            };
            tokio::time::sleep(wait).await;
        }
    }
}

fn tell(state: RideAlong) {
    match state.told() {
        Some((reason, sentence)) if state == RideAlong::Installed => tracing::info!(reason, "{sentence}"),
        Some((reason, sentence)) => tracing::warn!(reason, "{sentence}"),
        None => {}
    }
}

async fn look(caller: &Caller, name: &str) -> Result<Admission, CallError> {
    let policy = get(caller, &format!("/mutatingadmissionpolicies/{name}")).await;
    let binding = get(caller, &format!("/mutatingadmissionpolicybindings/{name}")).await;
    match (policy, binding) {
        (Ok(Some(policy)), Ok(Some(binding))) => Ok(Admission::of(&policy, &binding)),
        (Err(CallError::Forbidden(_)), _) | (_, Err(CallError::Forbidden(_))) => Ok(RideAlong::Unseen.into()),
        (Err(error), _) | (_, Err(error)) => Err(error),
        // Not there, or not known to this server.
        (Ok(_), Ok(_)) => {
            let is_served = get(caller, "").await?.is_some_and(|group| {
                let kinds = group["resources"].as_array();
                kinds.into_iter().flatten().any(|kind| kind["name"] == "mutatingadmissionpolicies")
            });
            Ok(if is_served { RideAlong::NotInstalled } else { RideAlong::NotServed }.into())
        }
    }
}

/// The object there, or `None`.
async fn get(caller: &Caller, path: &str) -> Result<Option<Value>, CallError> {
    match caller.read(request(Request::get(format!("{GROUP}{path}")), Vec::new())?).await {
        Ok(found) => Ok(Some(found.object)),
        Err(CallError::Gone) => Ok(None),
        Err(error) => Err(error),
    }
}
