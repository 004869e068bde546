//! Traces, as a collector receives them.
#![cfg(feature = "otlp")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::namespace::{container, web_policy};
use crate::support::operator::Identity;
use crate::support::{Operator, TestNamespace, eventually};

/// A collector that takes whatever is posted, and keeps it.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let all = kept.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let all = all.clone();
            tokio::spawn(async move {
                let mut piece = [0; 8_192];
                let mut request = Vec::new();
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    request.extend_from_slice(&piece[..length]);
                    let text = String::from_utf8_lossy(&request);
                    let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                    let wanted = head.to_ascii_lowercase();
                    let wanted = wanted.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    if request.len() < head.len() + 4 + wanted.unwrap_or(0_usize) {
                        continue;
                    }
                    all.lock().unwrap().append(&mut request);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    });
    (address, kept)
}

#[tokio::test]
async fn a_look_is_a_span_with_gathering_deciding_and_carrying_out_inside() {
    let (address, kept) = collector().await;
    let ns = TestNamespace::new("traces").await;
    ns.deployment("web", 1, container()).await;
    let identity = Identity::install(&ns);
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let operator = Operator::spawn_in(&ns, &identity, &environment);
    operator.ready().await;
    ns.policy("web", web_policy()).await;
    ns.compliant("web", "InSync").await;
    let workload = format!("{}/web", ns.name);
    eventually("the spans arrive", || async {
        let all = String::from_utf8_lossy(&kept.lock().unwrap()).into_owned();
        let has = |text: &str| all.contains(text);
        let spans = ["/v1/traces", "look", "gather", "decide", "carry_out", "service.instance.id", "gracekeeper"];
        (spans.iter().all(|text| has(text)) && has(&workload) && has("decision")).then_some(())
    })
    .await;
    let log = operator.log_text();
    let line = log.lines().find(|line| line.contains("reason=\"Enforcing\"")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("decision=") && line.contains("revision="), "{line}");
}
