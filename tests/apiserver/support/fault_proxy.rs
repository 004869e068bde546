//! A proxy between one operator and the API server that strikes at one chosen write. Plain HTTP on loopback; watches are
//! streamed through.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// What happens at the chosen write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operator is killed; the API server never hears of the write.
    KilledBefore,
    /// The API server has done the write; the operator is killed before it hears of it.
    KilledAfter,
    /// The API server has done the write; the operator lives on without an answer.
    AnswerLost,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::KilledBefore, Self::KilledAfter, Self::AnswerLost];
}

/// A write by what it is, and how many of its kind came before. A number in the order of all writes would name another
/// write in each run: two workers write at the same time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WriteId {
    /// Method, resource and subresource.
    pub(crate) what: String,
    /// From 1.
    pub(crate) nth: usize,
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.what, self.nth)
    }
}

/// Asks to kill the operator; it is dead when the answer comes.
pub(crate) type Kill = oneshot::Sender<()>;

/// What was written so far, since it counts.
#[derive(Default)]
struct Ledger {
    counts: bool,
    writes: Vec<WriteId>,
    numbers: BTreeMap<String, usize>,
    /// Patches of Deployments that were kept.
    deployment_patches: usize,
    /// Requests that were refused for want of a right.
    denied: Vec<String>,
    has_struck: bool,
    last: Option<Instant>,
}

struct Shared {
    upstream: Client,
    fault: Option<(WriteId, Fault)>,
    kills: mpsc::UnboundedSender<Kill>,
    ledger: Mutex<Ledger>,
}

pub(crate) struct FaultProxy {
    /// URL for the operator.
    pub(crate) server: String,
    shared: Arc<Shared>,
    listener: tokio::task::JoinHandle<()>,
}

/// A client of the API server that brings no credentials: the operator's own token travels through.
pub(crate) async fn upstream(kubeconfig: &Path) -> Client {
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo::default());
    }
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    config.read_timeout = None;
    Client::try_from(config).unwrap()
}

impl FaultProxy {
    /// Listens; strikes once, if there is a fault.
    pub(crate) async fn start(
        upstream: Client,
        fault: Option<(WriteId, Fault)>,
    ) -> (Self, mpsc::UnboundedReceiver<Kill>) {
        let (kills, to_kill) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { upstream, fault, kills, ledger: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let of_all = shared.clone();
        let listener = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, of_all.clone()));
            }
        });
        (Self { server, shared, listener }, to_kill)
    }

    /// From now on writes count, and the fault may strike.
    pub(crate) fn count(&self) {
        self.shared.ledger.lock().unwrap().counts = true;
    }

    /// All writes that counted, in their order.
    pub(crate) fn writes(&self) -> Vec<WriteId> {
        self.shared.ledger.lock().unwrap().writes.clone()
    }

    /// Patches of Deployments that the API server kept.
    pub(crate) fn deployment_patches(&self) -> usize {
        self.shared.ledger.lock().unwrap().deployment_patches
    }

    /// Requests that were refused for want of a right.
    pub(crate) fn denied(&self) -> Vec<String> {
        self.shared.ledger.lock().unwrap().denied.clone()
    }

    pub(crate) fn has_struck(&self) -> bool {
        self.shared.ledger.lock().unwrap().has_struck
    }

    /// Whether nothing was written for so long.
    pub(crate) fn is_quiet_for(&self, time: Duration) -> bool {
        self.shared.ledger.lock().unwrap().last.is_none_or(|last| last.elapsed() >= time)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let shared = shared.clone();
        async move { exchange(&shared, request).await }
    });
    // An error of the service ends the connection without an answer; that is what it is for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("struck")]
    Struck,
    #[error(transparent)]
    Upstream(#[from] kube::Error),
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error(transparent)]
    Never(#[from] Infallible),
}

async fn exchange(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let write = what_is_written(&parts).and_then(|what| shared.note(what));
    let struck = shared.fault.as_ref().filter(|(at, _)| write.as_ref() == Some(at)).map(|(_, fault)| *fault);
    if struck.is_some() {
        shared.ledger.lock().unwrap().has_struck = true;
    }
    if struck == Some(Fault::KilledBefore) {
        shared.kill().await;
        return Err(NoAnswer::Struck);
    }
    parts.headers.remove(header::HOST);
    let asked = format!("{} {}", parts.method, parts.uri);
    let response = shared.upstream.send(Request::from_parts(parts, Body::from(body))).await?;
    {
        let mut ledger = shared.ledger.lock().unwrap();
        let is_patch = write.as_ref().is_some_and(|write| write.what == "PATCH deployments");
        ledger.deployment_patches += usize::from(is_patch && response.status().is_success());
        if response.status() == http::StatusCode::FORBIDDEN {
            ledger.denied.push(asked);
        }
    }
    match struck {
        None => Ok(response),
        Some(fault) => {
            // The API server has answered in full: the write is done.
            let _ = response.into_body().collect().await;
            if fault == Fault::KilledAfter {
                shared.kill().await;
            }
            Err(NoAnswer::Struck)
        }
    }
}

impl Shared {
    /// Notes a write; answers which it is, if writes count already.
    fn note(&self, what: String) -> Option<WriteId> {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.last = Some(Instant::now());
        if !ledger.counts {
            return None;
        }
        let number = ledger.numbers.entry(what.clone()).or_default();
        *number += 1;
        let write = WriteId { what, nth: *number };
        ledger.writes.push(write.clone());
        Some(write)
    }

    async fn kill(&self) {
        let (dead, is_dead) = oneshot::channel();
        if self.kills.send(dead).is_ok() {
            let _ = is_dead.await;
        }
    }
}

/// Method, resource and subresource of a write that changes what the operator, or anybody, goes by. Not among them: dry
/// runs and reviews of rights, which change nothing; the Lease, of which each process has its own; and events. An event
/// is written after what it tells of, its answer is not waited for by any decision, and no decision reads it: a crash
/// around it leaves the cluster as a crash around the write before or after it does.
fn what_is_written(parts: &Parts) -> Option<String> {
    let is_write = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&parts.method);
    let is_dry = parts.uri.query().is_some_and(|query| query.contains("dryRun="));
    let (_, path) = parts.uri.path().split_once("/namespaces/")?;
    let mut words = path.split('/').skip(1);
    let (resource, _name, subresource) = (words.next()?, words.next(), words.next());
    if !is_write || is_dry || ["leases", "events"].contains(&resource) {
        return None;
    }
    let subresource = subresource.map(|name| format!("/{name}")).unwrap_or_default();
    Some(format!("{} {resource}{subresource}", parts.method))
}
