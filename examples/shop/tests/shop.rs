//! The built binary, from outside: what probes, clients and signals see of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)] // a test may fail

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

/// Far beyond anything that these tests wait for.
const DEADLINE: Duration = Duration::from_secs(60);

struct Shop {
    process: Child,
    log: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

fn shop(arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = BufReader::new(process.stdout.take().unwrap()).lines();
    (process, log)
}

async fn until_it_says(log: &mut Lines<BufReader<ChildStdout>>, words: &str) -> String {
    timeout(DEADLINE, async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(words) {
                return line;
            }
        }
        panic!("it ended without saying {words:?}");
    })
    .await
    .unwrap_or_else(|_| panic!("it never says {words:?}"))
}

impl Shop {
    async fn open(arguments: &[&str]) -> Self {
        let (process, mut log) = shop(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
        let line = until_it_says(&mut log, "listening on ").await;
        let address = line.rsplit(' ').next().unwrap().parse().unwrap();
        Self { process, log, address }
    }

    async fn says(&mut self, words: &str) -> String {
        until_it_says(&mut self.log, words).await
    }

    /// The head of the answer; its body is still to come.
    async fn head(&self, method: Method, path: &str) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "shop");
        timeout(DEADLINE, sender.send_request(request.body(Empty::<Bytes>::new()).unwrap())).await.unwrap().unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.head(Method::GET, path).await;
        let status = response.status();
        (status, rest(response).await.unwrap())
    }

    async fn health(&self) -> (StatusCode, Value) {
        let (status, body) = self.get("/health").await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn switch(&self, path: &str) -> StatusCode {
        self.head(Method::POST, path).await.status()
    }

    async fn refuses_connections(&self) -> bool {
        TcpStream::connect(self.address).await.is_err()
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    async fn end(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.process.wait()).await.expect("it ends").unwrap()
    }
}

async fn rest(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let body = timeout(DEADLINE, response.into_body().collect()).await.expect("the body comes")?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_healthy_shop_is_alive_ready_and_up() {
    let shop = Shop::open(&["--release", "7"]).await;
    assert_eq!(shop.get("/livez").await.0, StatusCode::OK);
    assert_eq!(shop.get("/readyz").await.0, StatusCode::OK);
    let (status, sold) = shop.get("/").await;
    assert_eq!((status, sold.trim()), (StatusCode::OK, r#"{"sold":1,"version":"7"}"#));
    let (status, health) = shop.health().await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &Value::from("UP")));
    for component in ["database", "cache", "queue"] {
        assert_eq!(health["components"][component]["status"], "UP");
    }
    let timestamp = health["timestamp"].as_str().unwrap();
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    assert_eq!(shop.get("/elsewhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_component_that_is_away_is_down_and_the_others_stay_up() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let shop = Shop::open(&["--cache", &gone]).await;
    let (status, health) = shop.health().await;
    assert_eq!((status, &health["status"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::from("DOWN")));
    assert_eq!(health["components"]["cache"]["status"], "DOWN");
    assert_eq!(health["components"]["database"]["status"], "UP");
    assert_eq!(health["components"]["queue"]["status"], "UP");
    assert_eq!(shop.get("/readyz").await.0, StatusCode::OK, "it sells without a cache");
}

#[tokio::test]
async fn a_component_that_does_not_answer_costs_its_own_timeout() {
    // Discarded by every router and host: the handshake gets no answer (RFC 6666), or there is no route at all.
    let shop = Shop::open(&["--queue", "[100::1]:5672", "--queue-timeout-millis", "300"]).await;
    let start = Instant::now();
    let (_, health) = shop.health().await;
    assert_eq!(health["components"]["queue"]["status"], "DOWN");
    assert_eq!(health["components"]["queue"]["details"]["timeoutMillis"], 300);
    let took = health["components"]["queue"]["details"]["tookMillis"].as_u64().unwrap();
    assert!(u128::from(took) <= start.elapsed().as_millis());
    assert!(took < 5_000, "its timeout, and not that of TCP: {took} ms");
    assert_eq!(health["components"]["database"]["status"], "UP");
}

#[tokio::test]
async fn without_its_database_a_shop_is_alive_but_not_ready() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let shop = Shop::open(&["--database", &gone]).await;
    let (status, why) = shop.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.starts_with("database: "), "{why}");
    assert_eq!(shop.get("/livez").await.0, StatusCode::OK, "a restart would not bring the database back");
}

#[tokio::test]
async fn sigterm_lets_what_is_in_flight_finish_and_takes_nothing_new() {
    let mut shop = Shop::open(&["--work-millis", "1500"]).await;
    let in_flight = shop.head(Method::GET, "/").await;
    shop.signal("TERM");
    shop.says("no longer accepting; 1 requests in flight").await;
    assert!(shop.refuses_connections().await);
    assert!(rest(in_flight).await.unwrap().contains("sold"));
    shop.says("all finished").await;
    assert_eq!(shop.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_connection_that_is_kept_but_idle_does_not_delay_the_end() {
    let mut shop = Shop::open(&[]).await;
    let stream = TcpStream::connect(shop.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("/").header("host", "shop").body(Empty::<Bytes>::new()).unwrap();
    assert!(rest(sender.send_request(request).await.unwrap()).await.is_ok());
    shop.signal("TERM");
    assert_eq!(shop.end().await.code(), Some(0));
    timeout(DEADLINE, connection).await.expect("the client is told").unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_reported_by_the_exit_code() {
    let mut shop = Shop::open(&["--work-millis", "3600000", "--finish-millis", "100"]).await;
    let in_flight = shop.head(Method::GET, "/").await;
    shop.signal("TERM");
    shop.says("1 requests in flight were not finished in time").await;
    assert_eq!(shop.end().await.code(), Some(1));
    assert!(rest(in_flight).await.is_err());
}

#[tokio::test]
async fn a_leaky_end_loses_what_is_in_flight() {
    let mut shop = Shop::open(&["--work-millis", "3600000", "--on-sigterm", "leak"]).await;
    let in_flight = shop.head(Method::GET, "/").await;
    shop.signal("TERM");
    assert!(rest(in_flight).await.is_err());
    assert_eq!(shop.end().await.code(), Some(0), "it hides what it lost");
}

#[tokio::test]
async fn a_shop_that_ignores_sigterm_goes_on_until_sigkill() {
    let mut shop = Shop::open(&["--on-sigterm", "ignore"]).await;
    shop.signal("TERM");
    shop.says("told to end, and ignoring it").await;
    assert_eq!(shop.get("/").await.0, StatusCode::OK);
    shop.signal("KILL");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&shop.end().await), Some(9));
}

#[tokio::test]
async fn a_slow_start_opens_the_port_late_and_can_be_ended() {
    let (mut process, mut log) = shop(&["serve", "--listen", "127.0.0.1:0", "--start-millis", "3600000"]);
    until_it_says(&mut log, "starting, for 3600000 ms").await;
    let pid = process.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(log.next_line().await.unwrap().is_none(), "it never listened");
    assert_eq!(timeout(DEADLINE, process.wait()).await.unwrap().unwrap().code(), Some(0));
    Shop::open(&["--start-millis", "50"]).await;
}

#[tokio::test]
async fn switches_turn_readiness_and_liveness_while_it_runs() {
    let shop = Shop::open(&["--switches"]).await;
    assert_eq!(shop.switch("/switch/readiness/fail").await, StatusCode::OK);
    assert_eq!(shop.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shop.get("/livez").await.0, StatusCode::OK);
    assert_eq!(shop.switch("/switch/readiness/honest").await, StatusCode::OK);
    assert_eq!(shop.get("/readyz").await.0, StatusCode::OK);
    assert_eq!(shop.switch("/switch/liveness/hang").await, StatusCode::OK);
    let hung = timeout(Duration::from_secs(1), shop.head(Method::GET, "/livez")).await;
    assert!(hung.is_err(), "it takes the connection and does not answer");
    assert_eq!(shop.get("/").await.0, StatusCode::OK, "only its probe hangs");
    assert_eq!(shop.switch("/switch/readiness/perhaps").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_turns_switches_that_are_off() {
    let shop = Shop::open(&[]).await;
    assert_eq!(shop.switch("/switch/readiness/fail").await, StatusCode::NOT_FOUND);
    assert_eq!(shop.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_crash_ends_with_an_error() {
    let mut shop = Shop::open(&["--crash-after-millis", "10"]).await;
    shop.says("crashing").await;
    assert_eq!(shop.end().await.code(), Some(1));
}

async fn load(target: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let (mut process, mut log) = shop(&[&["load", target], arguments].concat());
    until_it_says(&mut log, "sending ").await;
    let report = timeout(DEADLINE, log.next_line()).await.unwrap().unwrap().unwrap();
    (process.wait().await.unwrap().code(), serde_json::from_str(&report).unwrap())
}

#[tokio::test]
async fn a_client_of_a_shop_that_stays_loses_nothing() {
    let shop = Shop::open(&["--work-millis", "20"]).await;
    let (code, report) = load(&shop.address.to_string(), &["--rate", "100", "--seconds", "1"]).await;
    assert_eq!((code, &report["lost"]), (Some(0), &Value::from(0)), "{report}");
    let sent = report["sent"].as_u64().unwrap();
    assert!(sent > 0 && report["answered"] == sent, "{report}");
}

#[tokio::test]
async fn a_client_counts_what_is_lost_by_its_reason() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (code, report) = load(&gone, &["--rate", "50", "--seconds", "1"]).await;
    assert_eq!((code, &report["answered"]), (Some(1), &Value::from(0)), "{report}");
    assert_eq!(report["reasons"]["connect: connection refused"], report["sent"], "{report}");

    let shop = Shop::open(&["--work-millis", "3600000"]).await;
    let arguments = ["--rate", "50", "--seconds", "1", "--timeout-millis", "100"];
    let (_, report) = load(&shop.address.to_string(), &arguments).await;
    assert_eq!(report["reasons"]["no answer in time"], report["sent"], "{report}");

    let arguments = ["--rate", "50", "--seconds", "1", "--path", "/elsewhere"];
    let (_, report) = load(&shop.address.to_string(), &arguments).await;
    assert_eq!(report["reasons"]["status 404"], report["sent"], "{report}");
}
