//! From the start to the end of a process that serves.

use std::convert::Infallible;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::health::{self, Status};
use crate::settings::{Liveness, OnSigterm, Readiness, Serve};
use crate::state::State;
use crate::{say, settings};

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) async fn run(settings: Serve) -> ExitCode {
    // Listened to from the first moment: a pod may be deleted while it starts.
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        say("signals cannot be listened to");
        return ExitCode::FAILURE;
    };
    let on_sigterm = settings.on_sigterm;
    let told_to_end = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if on_sigterm != OnSigterm::Ignore {
                return;
            }
            say("told to end, and ignoring it");
        }
    };
    let crash = settings.crash_after_millis;
    let crash = async move {
        match crash {
            Some(millis) => sleep(Duration::from_millis(millis)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        code = life(settings, told_to_end) => code,
        () = crash => {
            say("crashing, as it was told");
            ExitCode::FAILURE
        }
    }
}

async fn life(settings: Serve, told_to_end: impl Future<Output = ()>) -> ExitCode {
    let mut told_to_end = std::pin::pin!(told_to_end);
    if settings.start_millis > 0 {
        say(&format!("starting, for {} ms", settings.start_millis));
        tokio::select! {
            () = sleep(Duration::from_millis(settings.start_millis)) => {}
            () = &mut told_to_end => return ExitCode::SUCCESS,
        }
    }
    let listener = match TcpListener::bind(settings.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            say(&format!("cannot listen on {}: {error}", settings.listen));
            return ExitCode::FAILURE;
        }
    };
    let address = listener.local_addr().map_or_else(|_| settings.listen.to_string(), |address| address.to_string());
    say(&format!("listening on {address}"));

    let state = Arc::new(State::new(settings));
    let (end, ending) = watch::channel(false);
    // Each connection holds a sender; when all are gone, so are the connections.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut told_to_end => break,
        };
        match stream {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, state.clone(), ending.clone(), open.clone()))),
            // Out of file descriptors, mostly: the ones in use come free.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
    state.end();
    if state.settings.on_sigterm == OnSigterm::Leak {
        say(&format!("ending at once, with {} requests in flight", state.in_flight()));
        return ExitCode::SUCCESS;
    }
    drop(listener);
    drop(open);
    let _ = end.send(true);
    say(&format!("no longer accepting; {} requests in flight", state.in_flight()));
    let longest = Duration::from_millis(state.settings.finish_millis);
    if timeout(longest, all_closed.recv()).await.is_err() {
        say(&format!("{} requests in flight were not finished in time", state.in_flight()));
        return ExitCode::FAILURE;
    }
    say("all finished; database, cache and queue closed");
    ExitCode::SUCCESS
}

/// One connection. When the end comes it finishes the request in flight and closes, which tells a client that keeps
/// connections to make a new one.
async fn converse(
    stream: TcpStream,
    state: Arc<State>,
    mut ending: watch::Receiver<bool>,
    _open: mpsc::Sender<Infallible>,
) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&state, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = ending.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn respond(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::GET, "/livez") => match state.liveness() {
            Liveness::Honest => text(StatusCode::OK, "alive"),
            Liveness::Hang => std::future::pending().await,
        },
        (&Method::GET, "/readyz") => readiness(state).await,
        (&Method::GET, "/health") => {
            let health = health::look(&state.settings).await;
            let status = if health.status == Status::Up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(status, &health)
        }
        (&Method::GET, "/") => sell(state),
        (&Method::POST, _) if state.settings.switches && path.starts_with("/switch/") => switch(state, path),
        _ => text(StatusCode::NOT_FOUND, "not here"),
    }
}

async fn readiness(state: &State) -> Response<Body> {
    let refusal = if state.is_ending() {
        Some("ending".into())
    } else if state.readiness() == Readiness::Fail {
        Some("switched off".into())
    } else {
        health::can_serve(&state.settings).await.err()
    };
    match refusal {
        None => text(StatusCode::OK, "ready"),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// What the shop is for. The head of the answer goes out at once, its body after the work: so a client can tell that its
/// request is in flight.
fn sell(state: &Arc<State>) -> Response<Body> {
    let in_flight = state.begin();
    let body = stream::once(async move {
        let settings: &settings::Serve = &in_flight.0.settings;
        if settings.work_millis > 0 {
            sleep(Duration::from_millis(settings.work_millis)).await;
        }
        let sold = serde_json::json!({"sold": 1, "version": settings.release});
        Ok(Frame::data(Bytes::from(format!("{sold}\n"))))
    });
    answer(StatusCode::OK, "application/json", StreamBody::new(body).boxed_unsync())
}

fn switch(state: &State, path: &str) -> Response<Body> {
    let mut words = path.trim_start_matches("/switch/").split('/');
    let done = match (words.next(), words.next(), words.next()) {
        (Some("crash"), None, None) => {
            say("crashing, as it was told");
            // Not a way out of `main`: a crash leaves no time for anything.
            std::process::abort();
        }
        (Some(name), Some(value), None) => state.switch(name, value),
        _ => None,
    };
    match done {
        Some(()) => text(StatusCode::OK, "switched"),
        None => text(StatusCode::NOT_FOUND, "no such switch; readiness/{honest,fail}, liveness/{honest,hang}, crash"),
    }
}

fn text(status: StatusCode, words: &str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", whole(format!("{words}\n")))
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_string(value) {
        Ok(body) => answer(status, "application/json", whole(body + "\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn whole(body: String) -> Body {
    Full::new(Bytes::from(body)).boxed_unsync()
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
