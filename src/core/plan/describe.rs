//! Short forms of values for people. They never show commands, header values or query strings: these may hold secrets.

use std::fmt::Write;

use serde_json::Value;

use super::field::Field;
use super::probe_view::{Handler, Port, PreStopView, ProbeView};

/// Short form of a value of a field; empty when it is absent.
pub(super) fn describe(field: Field, value: Option<&Value>) -> String {
    let Some(value) = value else { return String::new() };
    match field {
        Field::LivenessProbe | Field::ReadinessProbe | Field::StartupProbe => probe(ProbeView(value)),
        Field::PreStop => handler(PreStopView(value).handler()),
        _ => value.as_i64().map_or_else(|| "not a number".into(), |number| number.to_string()),
    }
}

fn probe(probe: ProbeView<'_>) -> String {
    let mut text = format!("{} every {}s x{}", handler(probe.handler()), probe.period(), probe.failures());
    // Writing into a String cannot fail.
    if probe.initial_delay() > 0 {
        let _ = write!(text, " after {}s", probe.initial_delay());
    }
    if probe.timeout() > 1 {
        let _ = write!(text, " timeout {}s", probe.timeout());
    }
    if probe.successes() > 1 {
        let _ = write!(text, " passes {}", probe.successes());
    }
    if let Some(grace) = probe.grace() {
        let _ = write!(text, " grace {grace}s");
    }
    text
}

fn handler(handler: Handler<'_>) -> String {
    match handler {
        Handler::Exec => "exec (redacted)".into(),
        Handler::HttpGet { path, https, port: at } => {
            let (path, query) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "?(redacted)"));
            format!("{} {path}{query}:{}", if https { "httpsGet" } else { "httpGet" }, port(at))
        }
        Handler::TcpSocket { port: at } => format!("tcpSocket :{}", port(at)),
        Handler::Grpc { port: at, service, tls } => {
            format!("grpc{} {service}:{}", if tls { " TLS" } else { "" }, port(at))
        }
        Handler::Sleep { seconds } => format!("sleep {seconds}s"),
        Handler::Other => "no known handler".into(),
    }
}

fn port(port: Port<'_>) -> String {
    match port {
        Port::Number(number) => number.to_string(),
        Port::Name(name) => name.into(),
        Port::Missing => "?".into(),
    }
}

/// At most `limit` characters, without control characters (they would garble a terminal).
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut clean: String = text.chars().filter(|character| !character.is_control()).take(limit + 1).collect();
    if clean.chars().count() > limit {
        clean = clean.chars().take(limit.saturating_sub(1)).chain(['…']).collect();
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_forms_tell_what_matters_and_no_secret() {
        for (field, value, want) in [
            (
                Field::ReadinessProbe,
                json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5}),
                "httpGet /readyz:http every 5s x3",
            ),
            (
                Field::LivenessProbe,
                json!({"httpGet": {"path": "/l?token=hush", "port": 8443, "scheme": "HTTPS",
                    "httpHeaders": [{"name": "X", "value": "hush"}]}, "timeoutSeconds": 3, "initialDelaySeconds": 9,
                    "terminationGracePeriodSeconds": 15}),
                "httpsGet /l?(redacted):8443 every 10s x3 after 9s timeout 3s grace 15s",
            ),
            (Field::StartupProbe, json!({"exec": {"command": ["hush"]}}), "exec (redacted) every 10s x3"),
            (
                Field::ReadinessProbe,
                json!({"tcpSocket": {"port": 80}, "successThreshold": 2}),
                "tcpSocket :80 every 10s x3 passes 2",
            ),
            (Field::ReadinessProbe, json!({"grpc": {"port": 9, "service": "a"}}), "grpc a:9 every 10s x3"),
            (Field::PreStop, json!({"sleep": {"seconds": 10}}), "sleep 10s"),
            (Field::PreStop, json!({"exec": {"command": ["hush"]}}), "exec (redacted)"),
            (Field::MinReadySeconds, json!(10), "10"),
            (Field::PreStop, json!([]), "no known handler"),
        ] {
            assert_eq!(describe(field, Some(&value)), want);
        }
    }

    #[test]
    fn texts_are_cut_on_character_boundaries() {
        assert_eq!(clean("a\u{1b}[31mb\nc", 20), "a[31mbc");
        assert_eq!(clean("ääää", 4), "ääää");
        assert_eq!(clean("äääää", 4), "äää…");
    }
}
