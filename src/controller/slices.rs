//! Follows EndpointSlices, without keeping any: what is asked of a change is only which pods it shows on their way out.
//!
//! kube's `watcher` would read all slices first, and again after each break: some 40 KB per hundred pods, for nothing.
//! This begins at the present version instead, and what happened in a gap is not measured.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::Status;
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;
use super::slim::SlimSlice;
use super::world::{World, parse_uid};
use crate::core::backoff::{PERMANENT, TRANSIENT};

/// What metrics and the log call it.
const KIND: &str = "EndpointSlice";
/// The API server ends a watch after so many seconds, kube's own default.
const WATCH_SECONDS: u32 = 290;
/// A watch that says nothing for longer than it may last is dead.
const SILENCE: Duration = Duration::from_secs(295);
/// Longest wait for the answer to a list of one object.
const ANSWER: Duration = Duration::from_secs(30);

/// Why following has to begin anew.
enum Broken {
    /// The version to go on from is too old.
    Expired,
    Failed(kube::Error),
    Silent,
}

/// Follows the slices of a namespace, or of all, for ever. Without the right to, it says so, goes on without, and tries
/// again now and then: everything else works all the same.
pub(crate) async fn follow(api: Api<SlimSlice>, world: Arc<World>, metrics: Arc<Metrics>, namespace: Option<String>) {
    let namespace = namespace.unwrap_or_default();
    let mut failures = 0;
    loop {
        let Err(broken) = follow_until_broken(&api, &world, &namespace, &mut failures).await;
        world.with(|picture| picture.departures.lose(&namespace));
        let wait = match broken {
            Broken::Expired => TRANSIENT.after(failures, 0),
            Broken::Silent => {
                metrics.watch_failed(KIND);
                TRANSIENT.after(failures, 0)
            }
            Broken::Failed(error) => {
                metrics.watch_failed(KIND);
                let is_forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
                if failures == 0 {
                    tracing::warn!(kind = KIND, %error, "how long pods stay in their Services is not measured");
                }
                if is_forbidden { PERMANENT } else { TRANSIENT }.after(failures, 0)
            }
        };
        failures = failures.saturating_add(1);
        sleep(wait).await;
    }
}

async fn follow_until_broken(
    api: &Api<SlimSlice>,
    world: &World,
    namespace: &str,
    failures: &mut u32,
) -> Result<std::convert::Infallible, Broken> {
    // A list of one object tells the present version.
    let list = timeout(ANSWER, api.list(&ListParams::default().limit(1))).await.map_err(|_| Broken::Silent)?;
    let mut version = list.map_err(Broken::Failed)?.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    loop {
        let watch = timeout(ANSWER, api.watch(&params, &version)).await.map_err(|_| Broken::Silent)?;
        let mut changes = std::pin::pin!(watch.map_err(Broken::Failed)?);
        if *failures > 0 {
            tracing::info!(kind = KIND, "the watch is back");
            *failures = 0;
        }
        world.with(|picture| picture.departures.follow(namespace));
        while let Some(change) = timeout(SILENCE, changes.try_next()).await.map_err(|_| Broken::Silent)?.map_err(of)? {
            match change {
                WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                    version = slice.metadata.resource_version.clone().unwrap_or_default();
                    take_in(world, &slice);
                }
                // Its Service is gone, or it was emptied into another one: nobody waits for that.
                WatchEvent::Deleted(slice) => version = slice.metadata.resource_version.unwrap_or_default(),
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(of_status(status)),
            }
        }
        // Its time is up. What comes until it stands again is late.
        world.with(|picture| picture.departures.lose(namespace));
    }
}

fn take_in(world: &World, slice: &SlimSlice) {
    if slice.leaving.is_empty() {
        return;
    }
    let id = parse_uid(slice.metadata.uid.as_deref().unwrap_or_default());
    world.with(|picture| {
        let pods = &picture.pods;
        for pod in &slice.leaving {
            // One that is known to go, and is not followed, is of no interest.
            picture.departures.shown(id, *pod, || pods.get(pod).is_some_and(|pod| !pod.deleting));
        }
    });
}

fn of(error: kube::Error) -> Broken {
    match error {
        kube::Error::Api(status) => of_status(status),
        error => Broken::Failed(error),
    }
}

fn of_status(status: Box<Status>) -> Broken {
    if status.code == 410 { Broken::Expired } else { Broken::Failed(kube::Error::Api(status)) }
}
