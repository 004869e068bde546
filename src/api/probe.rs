//! A probe, in the shape and with the field names of core/v1 `Probe`, without `host`.
//!
//! `host` is left out on purpose: the kubelet would send requests to any address on behalf of whoever may write a
//! policy, and Pod Security "baseline" refuses it from Kubernetes 1.34 (KEP-4940).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One probe. It is written whole or not at all; handlers are never merged.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.exec), has(self.httpGet), has(self.tcpSocket), has(self.grpc)].filter(h, h).size() == 1"
).message("exactly one of exec, httpGet, tcpSocket or grpc must be set"))]
#[x_kube(validation = Rule::new(
    "(has(self.timeoutSeconds) ? self.timeoutSeconds : 1) <= (has(self.periodSeconds) ? self.periodSeconds : 10)"
).message("timeoutSeconds must not be greater than periodSeconds (defaults: 1 and 10): a slow probe would delay the next one"))]
pub struct Probe {
    /// Runs a command in the container; exit status 0 passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// HTTP GET; a status from 200 to 399 passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    /// A TCP connection that is accepted passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// gRPC health check; SERVING passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAction>,

    /// Seconds after the container's start before the first probe. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub initial_delay_seconds: Option<i32>,
    /// Seconds between two probes. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    #[x_kube(validation = Rule::new("self != 0").message("periodSeconds must not be 0: Kubernetes would silently store its default, 10"))]
    pub period_seconds: Option<i32>,
    /// Seconds after which a probe has failed. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    #[x_kube(validation = Rule::new("self != 0").message("timeoutSeconds must not be 0: Kubernetes would silently store its default, 1"))]
    pub timeout_seconds: Option<i32>,
    /// Passes in a row that make it succeed. Default 1; must be 1 outside readiness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    #[x_kube(validation = Rule::new("self != 0").message("successThreshold must not be 0: Kubernetes would silently store its default, 1"))]
    pub success_threshold: Option<i32>,
    /// Failures in a row that make it fail. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    #[x_kube(validation = Rule::new("self != 0").message("failureThreshold must not be 0: Kubernetes would silently store its default, 3"))]
    pub failure_threshold: Option<i32>,
    /// Grace period of a kill by this probe, instead of the pod's (KEP-2238). Not for readiness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    #[x_kube(validation = Rule::new("self != 0").message("terminationGracePeriodSeconds must not be 0: Kubernetes refuses it"))]
    pub termination_grace_period_seconds: Option<i64>,
}

/// Command of a probe or hook. It is not run in a shell.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecAction {
    /// Program and arguments.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Vec<Argument>,
}

/// One argument of a command: at most 4096 characters.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Argument(#[schemars(length(max = 4096))] pub String);

/// HTTP GET of a probe or hook.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetAction {
    /// Path with query. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub path: Option<String>,
    /// Number, or name of a port of the container.
    #[schemars(extend("minimum" = 1, "maximum" = 65_535, "maxLength" = 15, "pattern" = PORT_NAME))]
    pub port: IntOrString,
    /// Default HTTP. Certificates are not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Extra request headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub http_headers: Vec<HttpHeader>,
}

/// Scheme of an HTTP probe.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS, not verified.
    Https,
}

/// A request header.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Header name.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new(
        "!(self.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie', 'x-api-key', 'x-auth-token'])"
    ).message("credentials do not belong in a probe: everyone who may read the policy or the Deployment could read them"))]
    #[x_kube(validation = Rule::new("self.matches('^[-A-Za-z0-9]+$')")
        .message("a header name has only letters, digits and '-'"))]
    pub name: String,
    /// Header value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// TCP connection of a probe.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpSocketAction {
    /// Number, or name of a port of the container.
    #[schemars(extend("minimum" = 1, "maximum" = 65_535, "maxLength" = 15, "pattern" = PORT_NAME))]
    pub port: IntOrString,
}

/// gRPC health check of a probe, plaintext.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcAction {
    /// Port number; names are not possible here.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Service to ask for. Default empty: the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
}

/// Port names as `IsValidPortName` of Kubernetes has them: lower-case letters, digits and single `-` inside, with at least
/// one letter. A schema pattern and not CEL: the API server prices a CEL rule on `IntOrString` as if it had megabytes.
const PORT_NAME: &str = "^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$";
