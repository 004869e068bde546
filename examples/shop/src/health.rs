//! `/health`: the page for people and dashboards. Probes do not use it: a liveness probe that asks the database restarts
//! every pod when the database is away.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::clock::timestamp;
use crate::settings::Serve;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    Up,
    Down,
}

#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) status: Status,
    components: BTreeMap<&'static str, Component>,
    timestamp: String,
}

#[derive(Debug, Serialize)]
struct Component {
    status: Status,
    details: Details,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    /// Where it is: an address, or in this process.
    place: String,
    timeout_millis: u64,
    took_millis: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Looks at all components at once, so that a slow one delays the page by its own timeout and no more.
pub(crate) async fn look(settings: &Serve) -> Health {
    let (database, cache, queue) = tokio::join!(
        component(settings.database.as_deref(), settings.database_timeout_millis),
        component(settings.cache.as_deref(), settings.cache_timeout_millis),
        component(settings.queue.as_deref(), settings.queue_timeout_millis),
    );
    let components = BTreeMap::from([("cache", cache), ("database", database), ("queue", queue)]);
    let is_down = components.values().any(|component| component.status == Status::Down);
    Health { status: if is_down { Status::Down } else { Status::Up }, components, timestamp: timestamp() }
}

/// Whether the shop can serve: it sells without a cache and a queue, but not without its database.
pub(crate) async fn can_serve(settings: &Serve) -> Result<(), String> {
    let database = component(settings.database.as_deref(), settings.database_timeout_millis).await;
    database.details.error.map_or(Ok(()), |error| Err(format!("database: {error}")))
}

async fn component(address: Option<&str>, timeout_millis: u64) -> Component {
    let start = Instant::now();
    let error = match address {
        None => None,
        Some(address) => match timeout(Duration::from_millis(timeout_millis), TcpStream::connect(address)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {timeout_millis} ms")),
        },
    };
    Component {
        status: if error.is_none() { Status::Up } else { Status::Down },
        details: Details {
            place: address.unwrap_or("in this process").into(),
            timeout_millis,
            took_millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            error,
        },
    }
}
