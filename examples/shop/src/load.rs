//! A client at a steady rate that counts what got lost, and how.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clock::timestamp;
use crate::say;
use crate::settings::Load;

/// How one request ended.
enum Fate {
    Answered(Duration),
    /// By the step at which it failed; with the time at which it was sent, from the start.
    Lost(String, Duration),
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
    /// Requests that could not be sent in time: the client itself was too slow.
    late: u64,
}

/// Exit code 0: none was lost; 1: some were; the last line is the report.
pub(crate) async fn run(settings: Load) -> ExitCode {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        say("signals cannot be listened to");
        return ExitCode::FAILURE;
    };
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
            Fate::Answered(time) => times.push(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            Fate::Lost(reason, at) => {
                *report.reasons.entry(reason.clone()).or_default() += 1;
                let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
                let (first, last) = report.lost_between_millis.unwrap_or((at, at));
                report.lost_between_millis = Some((first.min(at), last.max(at)));
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

async fn request(settings: Arc<Load>, began: Instant) -> Fate {
    let start = Instant::now();
    let at = start.duration_since(began);
    match timeout(Duration::from_millis(settings.timeout_millis), exchange(&settings)).await {
        Ok(Ok(())) => Fate::Answered(start.elapsed()),
        Ok(Err(reason)) => Fate::Lost(reason, at),
        Err(_) => Fate::Lost("no answer in time".into(), at),
    }
}

/// One request on a connection of its own, up to the last byte of the answer.
async fn exchange(settings: &Load) -> Result<(), String> {
    let stream = TcpStream::connect(&settings.target).await.map_err(|error| format!("connect: {}", error.kind()))?;
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
        fates.extend(lost.map(|(reason, at)| Fate::Lost(reason.into(), Duration::from_millis(at))));
        let report = summary(&fates);
        assert_eq!((report.answered, report.lost), (98, 3));
        assert_eq!(report.reasons["connect: connection refused"], 2);
        assert_eq!(report.lost_between_millis, Some((20, 40)));
        assert_eq!((report.p50_millis, report.p99_millis, report.max_millis), (49, 97, 98));
    }

    #[test]
    fn a_report_of_nothing_is_all_zero() {
        let report = summary(&[]);
        assert_eq!((report.answered, report.lost, report.max_millis), (0, 0, 0));
    }
}
