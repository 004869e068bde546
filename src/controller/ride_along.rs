//! Finds out whether policies can ride along in the users' own writes. Looked at again and again: servers of a cluster are
//! upgraded, and sometimes downgraded, while we run.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::sync::watch;

use super::carry_out::request;
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
#[derive(Clone, Debug)]
pub(crate) struct Detection(Arc<watch::Sender<RideAlong>>);

impl Default for Detection {
    fn default() -> Self {
        Self(Arc::new(watch::channel(RideAlong::default()).0))
    }
}

impl Detection {
    pub(crate) fn seen(&self) -> RideAlong {
        *self.0.borrow()
    }

    /// Whether it is new.
    fn note(&self, state: RideAlong) -> bool {
        self.0.send_if_modified(|seen| std::mem::replace(seen, state) != state)
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
                        match state.told() {
                            Some((reason, sentence)) if state == RideAlong::Installed => {
                                tracing::info!(reason, "{sentence}");
                            }
                            Some((reason, sentence)) => tracing::warn!(reason, "{sentence}"),
                            None => {}
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
    match caller.read(request(Request::get("/apis/admissionregistration.k8s.io/v1"), Vec::new())?).await {
        Ok(found) => {
            let resources = found.object["resources"].as_array();
            Ok(resources.into_iter().flatten().any(|each| each["name"] == "mutatingadmissionpolicies"))
        }
        Err(CallError::Gone) => Ok(false),
        Err(error) => Err(error),
    }
}
