//! Finds out whether policies can ride along in the users' own writes. Looked at again and again: servers of a cluster are
//! upgraded, and sometimes downgraded, while we run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Request;

use super::writes::{CallError, Caller};
use crate::core::ride_along::RideAlong;

/// Time between two looks. A cluster's upgrade takes longer.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Time until the next look when the API server did not answer.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// What the chart did about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RideAlongSetup {
    /// Not wanted: nothing is looked for, nothing is said.
    #[default]
    Off,
    /// Wanted, and left out because the server had no such kind.
    Absent,
    /// Its MutatingAdmissionPolicy was installed.
    Installed,
}

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detection(Arc<AtomicU8>);

const STATES: [RideAlong; 4] = [RideAlong::Off, RideAlong::Installed, RideAlong::NotInstalled, RideAlong::NotServed];

impl Detection {
    pub(crate) fn seen(&self) -> RideAlong {
        STATES.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }

    /// Whether it is new.
    fn note(&self, state: RideAlong) -> bool {
        let index = STATES.iter().position(|each| *each == state).and_then(|at| u8::try_from(at).ok());
        let index = index.unwrap_or_default();
        self.0.swap(index, Ordering::Relaxed) != index
    }

    /// Looks for ever; calls `changed` when there is news.
    pub(crate) async fn watch(self, caller: Caller, setup: RideAlongSetup, changed: impl Fn()) {
        if setup == RideAlongSetup::Off {
            return;
        }
        loop {
            let wait = match is_served(&caller).await {
                Ok(served) => {
                    let state = match (served, setup) {
                        (false, _) => RideAlong::NotServed,
                        (true, RideAlongSetup::Installed) => RideAlong::Installed,
                        (true, _) => RideAlong::NotInstalled,
                    };
                    if self.note(state) {
                        match state {
                            RideAlong::Installed => tracing::info!("policies ride along in the users' own writes"),
                            RideAlong::NotServed => tracing::warn!(
                                "policies do not ride along: this API server has no MutatingAdmissionPolicy v1 \
                                 (Kubernetes 1.36); their fields come by one more rollout"
                            ),
                            _ => tracing::warn!(
                                "policies do not ride along: their MutatingAdmissionPolicy is not installed; helm \
                                 upgrade brings it"
                            ),
                        }
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

/// Whether the API server has the kind; anyone who is let in may ask.
async fn is_served(caller: &Caller) -> Result<bool, CallError> {
    let request = Request::get("/apis/admissionregistration.k8s.io/v1")
        .body(Vec::new())
        .map_err(|error| CallError::Transport(error.to_string()))?;
    match caller.read(request).await {
        Ok(found) => {
            let resources = found.object["resources"].as_array();
            Ok(resources.into_iter().flatten().any(|each| each["name"] == "mutatingadmissionpolicies"))
        }
        Err(CallError::Gone) => Ok(false),
        Err(error) => Err(error),
    }
}
