//! Probes and hooks in raw JSON, read with the API server's defaults.

use serde_json::Value;

/// A probe of a container.
#[derive(Clone, Copy)]
pub(super) struct ProbeView<'a>(pub(super) &'a Value);

/// The handler of a probe or hook.
#[derive(Clone, Copy)]
pub(super) enum Handler<'a> {
    Exec,
    HttpGet {
        path: &'a str,
        https: bool,
        port: Port<'a>,
    },
    TcpSocket {
        port: Port<'a>,
    },
    Grpc {
        port: Port<'a>,
        service: &'a str,
        tls: bool,
    },
    Sleep {
        seconds: i64,
    },
    /// None, or one that this version does not know.
    Other,
}

/// A port, by number or by name.
#[derive(Clone, Copy)]
pub(super) enum Port<'a> {
    Number(i64),
    Name(&'a str),
    Missing,
}

impl<'a> ProbeView<'a> {
    pub(super) fn handler(self) -> Handler<'a> {
        handler(self.0)
    }

    pub(super) fn initial_delay(self) -> i64 {
        self.seconds("initialDelaySeconds", 0)
    }

    pub(super) fn period(self) -> i64 {
        self.seconds("periodSeconds", 10)
    }

    pub(super) fn timeout(self) -> i64 {
        self.seconds("timeoutSeconds", 1)
    }

    pub(super) fn failures(self) -> i64 {
        self.seconds("failureThreshold", 3)
    }

    pub(super) fn successes(self) -> i64 {
        self.seconds("successThreshold", 1)
    }

    pub(super) fn grace(self) -> Option<i64> {
        self.0.get("terminationGracePeriodSeconds").and_then(Value::as_i64)
    }

    /// From the start of the container, the time for which it is surely not killed: `d + (F-1)P`.
    pub(super) fn budget(self) -> i64 {
        self.initial_delay().saturating_add((self.failures() - 1).saturating_mul(self.period()))
    }

    /// From a fault right after a passed probe until the kubelet acts, when probes hang: `P + (F-1)max(P,T) + T`.
    pub(super) fn detection(self) -> i64 {
        let interval = self.period().max(self.timeout());
        let repeats = (self.failures() - 1).saturating_mul(interval);
        self.period().saturating_add(repeats).saturating_add(self.timeout())
    }

    /// The API server replaces 0 by the default, and refuses what is negative.
    fn seconds(self, key: &str, default: i64) -> i64 {
        self.0.get(key).and_then(Value::as_i64).filter(|seconds| *seconds > 0).unwrap_or(default)
    }
}

/// A preStop hook of a container.
#[derive(Clone, Copy)]
pub(super) struct PreStopView<'a>(pub(super) &'a Value);

impl<'a> PreStopView<'a> {
    pub(super) fn handler(self) -> Handler<'a> {
        handler(self.0)
    }

    /// None for a hook of unknown duration.
    pub(super) fn sleep(self) -> Option<i64> {
        match self.handler() {
            Handler::Sleep { seconds } => Some(seconds.max(0)),
            _ => None,
        }
    }
}

fn handler(value: &Value) -> Handler<'_> {
    let part = |key: &str| value.get(key).filter(|part| part.is_object());
    if part("exec").is_some() {
        return Handler::Exec;
    }
    if let Some(get) = part("httpGet") {
        let path = get.get("path").and_then(Value::as_str).filter(|path| !path.is_empty()).unwrap_or("/");
        let https = get.get("scheme").and_then(Value::as_str) == Some("HTTPS");
        return Handler::HttpGet { path, https, port: port(get) };
    }
    if let Some(socket) = part("tcpSocket") {
        return Handler::TcpSocket { port: port(socket) };
    }
    if let Some(grpc) = part("grpc") {
        let service = grpc.get("service").and_then(Value::as_str).unwrap_or_default();
        let tls = grpc.get("mode").and_then(Value::as_str) == Some("TLS");
        return Handler::Grpc { port: port(grpc), service, tls };
    }
    match part("sleep").and_then(|sleep| sleep.get("seconds")).and_then(Value::as_i64) {
        Some(seconds) => Handler::Sleep { seconds },
        None => Handler::Other,
    }
}

fn port(handler: &Value) -> Port<'_> {
    match handler.get("port") {
        Some(Value::String(name)) => Port::Name(name),
        Some(number) => number.as_i64().map_or(Port::Missing, Port::Number),
        None => Port::Missing,
    }
}
