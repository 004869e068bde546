//! A client at a steady rate that counts what got lost, and how.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clock::timestamp;
use crate::say;
use crate::settings::Load;

/// So many lost requests are told one by one; all are counted.
const TOLD: usize = 20;

/// How one request ended.
enum Fate {
    Answered(Duration),
    Lost(Loss),
}

/// One request without an answer: enough to find it in the records of a node.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Loss {
    /// The step at which it failed, and how.
    reason: String,
    /// When it was sent, from the start of the load.
    at_millis: u64,
    /// How long it took to fail.
    took_millis: u64,
    /// The client's end of the connection; none when there was no socket for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    began: String,
    ended: String,
    sent: u64,
    answered: u64,
    lost: u64,
    /// Number of requests by the reason that they were lost for.
    reasons: BTreeMap<String, u64>,
    p50_millis: u64,
    p99_millis: u64,
    max_millis: u64,
    /// When the first and the last lost request were sent, from the start of the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_between_millis: Option<(u64, u64)>,
    /// The first of the lost requests, in the order in which they were given up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_requests: Vec<Loss>,
    /// Requests that could not be sent in time: the client itself was too slow.
    late: u64,
}

/// Exit code 0: none was lost; 1: some were; the last line is the report.
pub(crate) async fn run(settings: Load) -> ExitCode {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        say("signals cannot be listened to");
        return ExitCode::FAILURE;
    };
    if let Err(error) = lookup_host(&settings.target).await {
        say(&format!("{} has no address: {error}", settings.target));
        return ExitCode::from(2);
    }
    let began = timestamp();
    say(&format!("sending {} requests a second to {} for {} s", settings.rate, settings.target, settings.seconds));
    let settings = Arc::new(settings);
    let start = Instant::now();
    let end = start + Duration::from_secs(settings.seconds.into());
    let mut ticks = interval(Duration::from_secs(1) / settings.rate);
    // A client that fell behind leaves requests out and says so; a burst afterwards would be another load.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut requests = JoinSet::new();
    let mut fates = Vec::new();
    let mut sent = 0_u64;
    loop {
        tokio::select! {
            at = ticks.tick() => {
                if at >= end {
                    break;
                }
                sent += 1;
                requests.spawn(request(settings.clone(), start));
            }
            Some(Ok(fate)) = requests.join_next() => fates.push(fate),
            _ = terminate.recv() => break,
        }
    }
    let due =
        u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_mul(settings.rate.into()) / 1000;
    while let Some(joined) = requests.join_next().await {
        fates.extend(joined);
    }
    let report = Report { began, ended: timestamp(), sent, late: due.saturating_sub(sent), ..summary(&fates) };
    match serde_json::to_string(&report) {
        Ok(line) => say(&line),
        Err(error) => say(&error.to_string()),
    }
    if report.answered == report.sent { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summary(fates: &[Fate]) -> Report {
    let mut report = Report::default();
    let mut times = Vec::new();
    for fate in fates {
        match fate {
            Fate::Answered(time) => times.push(millis(*time)),
            Fate::Lost(loss) => {
                *report.reasons.entry(loss.reason.clone()).or_default() += 1;
                let at = loss.at_millis;
                let (first, last) = report.lost_between_millis.unwrap_or((at, at));
                report.lost_between_millis = Some((first.min(at), last.max(at)));
                if report.lost_requests.len() < TOLD {
                    report.lost_requests.push(loss.clone());
                }
            }
        }
    }
    times.sort_unstable();
    let at = |share: usize| times.get((times.len().saturating_sub(1)) * share / 100).copied().unwrap_or(0);
    (report.p50_millis, report.p99_millis, report.max_millis) = (at(50), at(99), at(100));
    report.answered = times.len() as u64;
    report.lost = report.reasons.values().sum();
    report
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn request(settings: Arc<Load>, began: Instant) -> Fate {
    let start = Instant::now();
    let limit = Duration::from_millis(settings.timeout_millis);
    let mut port = None;
    let reason = match timeout(limit, exchange(&settings, &mut port)).await {
        Ok(Ok(())) => return Fate::Answered(start.elapsed()),
        Ok(Err(reason)) => reason,
        Err(_) => "no answer in time".into(),
    };
    let (at_millis, took_millis) = (millis(start.duration_since(began)), millis(start.elapsed()));
    Fate::Lost(Loss { reason, at_millis, took_millis, port })
}

/// A connection, from a port that is known also when there will be none.
async fn connect(target: &str, port: &mut Option<u16>) -> io::Result<TcpStream> {
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for target in lookup_host(target).await? {
        let (socket, any) = match target {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
        };
        socket.bind(SocketAddr::new(any, 0))?;
        *port = Some(socket.local_addr()?.port());
        outcome = socket.connect(target).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// One request on a connection of its own, up to the last byte of the answer.
async fn exchange(settings: &Load, port: &mut Option<u16>) -> Result<(), String> {
    let stream = connect(&settings.target, port).await.map_err(|error| format!("connect: {}", error.kind()))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("handshake: {error}"))?;
    let conversation = async {
        let request = Request::get(&settings.path)
            .header(header::HOST, &settings.target)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| format!("request: {error}"))?;
        let response = sender.send_request(request).await.map_err(|error| format!("send: {error}"))?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status().as_u16()));
        }
        response.into_body().collect().await.map_err(|error| format!("body: {error}"))?;
        Ok(())
    };
    // The connection is polled beside the conversation, and its own end says nothing that the conversation does not.
    let mut connection = std::pin::pin!(connection);
    let mut conversation = std::pin::pin!(conversation);
    tokio::select! {
        biased;
        done = &mut conversation => done,
        _ = &mut connection => conversation.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_each_request_once() {
        let mut fates: Vec<Fate> = (1..=98).map(|n| Fate::Answered(Duration::from_millis(n))).collect();
        let lost = [("connect: connection refused", 40), ("connect: connection refused", 20), ("status 503", 30)];
        fates.extend(lost.map(|(reason, at_millis)| {
            Fate::Lost(Loss { reason: reason.into(), at_millis, took_millis: 1, port: Some(40_000) })
        }));
        let report = summary(&fates);
        assert_eq!((report.answered, report.lost), (98, 3));
        assert_eq!(report.reasons["connect: connection refused"], 2);
        assert_eq!(report.lost_between_millis, Some((20, 40)));
        assert_eq!(report.lost_requests.len(), 3);
        assert_eq!((report.p50_millis, report.p99_millis, report.max_millis), (49, 97, 98));
    }

    #[test]
    fn a_report_of_a_long_outage_stays_short() {
        let loss = Loss { reason: "no answer in time".into(), at_millis: 1, took_millis: 2, port: None };
        let fates: Vec<Fate> = (0..5_000).map(|_| Fate::Lost(loss.clone())).collect();
        let report = summary(&fates);
        assert_eq!((report.lost, report.lost_requests.len()), (5_000, TOLD));
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_with_the_port_that_it_came_from() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
        let mut port = None;
        let error = connect(&closed.to_string(), &mut port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(port.is_some_and(|port| port > 0));
    }

    #[test]
    fn a_report_of_nothing_is_all_zero() {
        let report = summary(&[]);
        assert_eq!((report.answered, report.lost, report.max_millis), (0, 0, 0));
    }
}
