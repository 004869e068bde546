//! The twins of the CEL rules in `src/api`, in its order, with the same messages.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Problem;
use crate::api::HealthPolicySpec;
use crate::api::containers::{ContainerPolicy, PreStop};
use crate::api::probe::{HttpGetAction, Probe};
use crate::api::rollout::Rollout;
use crate::api::selector::{Operator, Selector};

pub(super) const SLEEP: &str = "preStop.sleep must not be longer than shutdown.drainSeconds + shutdown.finishSeconds (30 without shutdown): \
    the pod would be killed while it still sleeps";
pub(super) const CONTAINERS: &str = "each container may appear only once, and only one entry may leave out the name";
pub(super) const READINESS_GRACE: &str =
    "terminationGracePeriodSeconds must not be set on a readiness probe: it never kills";
pub(super) const STARTUP_SUCCESS: &str = "successThreshold must be 1 for a startup probe";
pub(super) const LIVENESS_SUCCESS: &str = "successThreshold must be 1 for a liveness probe";
pub(super) const PRE_STOP: &str = "exactly one of sleep, exec or httpGet must be set";
pub(super) const HANDLER: &str = "exactly one of exec, httpGet, tcpSocket or grpc must be set";
pub(super) const TIMEOUT: &str =
    "timeoutSeconds must not be greater than periodSeconds (defaults: 1 and 10): a slow probe would delay the next one";
pub(super) const ZERO_PERIOD: &str = "periodSeconds must not be 0: Kubernetes would silently store its default, 10";
pub(super) const ZERO_TIMEOUT: &str = "timeoutSeconds must not be 0: Kubernetes would silently store its default, 1";
pub(super) const ZERO_SUCCESS: &str = "successThreshold must not be 0: Kubernetes would silently store its default, 1";
pub(super) const ZERO_FAILURE: &str = "failureThreshold must not be 0: Kubernetes would silently store its default, 3";
pub(super) const ZERO_GRACE: &str = "terminationGracePeriodSeconds must not be 0: Kubernetes refuses it";
pub(super) const CREDENTIALS: &str =
    "credentials do not belong in a probe: everyone who may read the policy or the Deployment could read them";
pub(super) const HEADER: &str = "a header name has only letters, digits and '-'";
pub(super) const PORT: &str = "port must be a number from 1 to 65535, or a port name: at most 15 lower-case letters, digits \
    and single '-', with at least one letter";
pub(super) const STEPS: &str = "steps must not go down: each step has at least the pods of the one before";
pub(super) const STEP_PODS: &str = "pods must be a number from 1 to 100000, or a percentage from 1% to 100%";
pub(super) const MIN_AVAILABLE: &str =
    "minAvailable must be a number from 1 to 100000, or a percentage from 1% to 100%";
pub(super) const OBJECTIVE: &str = "objective must be a decimal greater than 0 and less than 100, such as \"99.9\"";
pub(super) const LABEL: &str =
    "a label value has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit";
pub(super) const LABEL_KEY: &str =
    "a label key has at most 63 letters, digits, '-', '_' or '.', and may have a DNS name with '/' before it";
pub(super) const REQUIREMENT: &str = "In and NotIn need values, Exists and DoesNotExist take none";

/// Messages of CEL rules, for the test that compares them with the CRD's. The bounds of ports, step pods and minAvailable
/// are patterns of the schema in the cluster (CEL on IntOrString is priced too high); the sentences here are friendlier.
#[cfg(test)]
pub(super) const MESSAGES: [&str; 20] = [
    SLEEP,
    CONTAINERS,
    READINESS_GRACE,
    STARTUP_SUCCESS,
    LIVENESS_SUCCESS,
    PRE_STOP,
    HANDLER,
    TIMEOUT,
    ZERO_PERIOD,
    ZERO_TIMEOUT,
    ZERO_SUCCESS,
    ZERO_FAILURE,
    ZERO_GRACE,
    CREDENTIALS,
    HEADER,
    STEPS,
    OBJECTIVE,
    LABEL,
    LABEL_KEY,
    REQUIREMENT,
];

/// Grace period that a pod without one has; the longest explicit sleep when there is no `shutdown`.
const DEFAULT_GRACE_SECONDS: i64 = 30;

struct Rules<'p> {
    problems: &'p mut Vec<Problem>,
}

pub(super) fn check(spec: &HealthPolicySpec, problems: &mut Vec<Problem>) {
    let mut rules = Rules { problems };
    rules.selector(&spec.selector);
    let longest = spec
        .shutdown
        .as_ref()
        .map_or(DEFAULT_GRACE_SECONDS, |shutdown| shutdown.drain_seconds.saturating_add(shutdown.finish_seconds));
    let too_long = |entry: &ContainerPolicy| {
        entry.pre_stop.as_ref().and_then(|hook| hook.sleep.as_ref()).is_some_and(|sleep| sleep.seconds > longest)
    };
    rules.require(!spec.containers.iter().any(too_long), "spec", SLEEP);
    let names: BTreeSet<_> = spec.containers.iter().map(|entry| entry.name.as_deref().unwrap_or_default()).collect();
    rules.require(names.len() == spec.containers.len(), "spec", CONTAINERS);
    for (index, entry) in spec.containers.iter().enumerate() {
        rules.container(entry, &format!("spec.containers[{index}]"));
    }
    if let Some(rollout) = &spec.rollout {
        rules.rollout(rollout);
    }
    if let Some(availability) = &spec.availability {
        rules.require(is_objective(&availability.objective), "spec.availability.objective", OBJECTIVE);
        let minimum = is_pods(&availability.min_available);
        rules.require(minimum, "spec.availability.minAvailable", MIN_AVAILABLE);
    }
}

impl Rules<'_> {
    fn require(&mut self, holds: bool, path: &str, message: &str) {
        if !holds {
            self.problems.push(Problem { path: path.into(), message: message.into() });
        }
    }

    fn selector(&mut self, selector: &Selector) {
        let at = "spec.selector.matchLabels";
        self.require(selector.match_labels.values().all(|value| is_label_value(&value.0)), at, LABEL);
        self.require(selector.match_labels.keys().all(|key| is_label_key(key)), at, LABEL_KEY);
        for (index, requirement) in selector.match_expressions.iter().enumerate() {
            let needs_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
            let good = needs_values != requirement.values.is_empty();
            let at = format!("spec.selector.matchExpressions[{index}]");
            self.require(good, &at, REQUIREMENT);
            self.require(requirement.values.iter().all(|value| is_label_value(&value.0)), &at, LABEL);
            self.require(is_label_key(&requirement.key), &format!("{at}.key"), LABEL_KEY);
        }
    }

    fn container(&mut self, entry: &ContainerPolicy, path: &str) {
        if let Some(hook) = &entry.pre_stop {
            self.hook(hook, &format!("{path}.preStop"));
        }
        let Some(probes) = &entry.probes else { return };
        let at = format!("{path}.probes");
        let grace = probes.readiness.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
        self.require(grace.is_none(), &at, READINESS_GRACE);
        for (probe, message) in [(&probes.startup, STARTUP_SUCCESS), (&probes.liveness, LIVENESS_SUCCESS)] {
            let successes = probe.as_ref().and_then(|probe| probe.success_threshold);
            self.require(successes.is_none_or(|successes| successes == 1), &at, message);
        }
        for (name, probe) in
            [("startup", &probes.startup), ("readiness", &probes.readiness), ("liveness", &probes.liveness)]
        {
            if let Some(probe) = probe {
                self.probe(probe, &format!("{at}.{name}"));
            }
        }
    }

    fn hook(&mut self, hook: &PreStop, path: &str) {
        let handlers = [hook.sleep.is_some(), hook.exec.is_some(), hook.http_get.is_some()];
        self.require(handlers.into_iter().filter(|set| *set).count() == 1, path, PRE_STOP);
        if let Some(get) = &hook.http_get {
            self.http_get(get, &format!("{path}.httpGet"));
        }
    }

    fn probe(&mut self, probe: &Probe, path: &str) {
        let handlers =
            [probe.exec.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
        self.require(handlers.into_iter().filter(|set| *set).count() == 1, path, HANDLER);
        let slow = probe.timeout_seconds.unwrap_or(1) > probe.period_seconds.unwrap_or(10);
        self.require(!slow, path, TIMEOUT);
        for (field, is_zero, message) in [
            ("periodSeconds", probe.period_seconds == Some(0), ZERO_PERIOD),
            ("timeoutSeconds", probe.timeout_seconds == Some(0), ZERO_TIMEOUT),
            ("successThreshold", probe.success_threshold == Some(0), ZERO_SUCCESS),
            ("failureThreshold", probe.failure_threshold == Some(0), ZERO_FAILURE),
            ("terminationGracePeriodSeconds", probe.termination_grace_period_seconds == Some(0), ZERO_GRACE),
        ] {
            self.require(!is_zero, &format!("{path}.{field}"), message);
        }
        if let Some(get) = &probe.http_get {
            self.http_get(get, &format!("{path}.httpGet"));
        }
        if let Some(socket) = &probe.tcp_socket {
            self.require(is_port(&socket.port), &format!("{path}.tcpSocket.port"), PORT);
        }
    }

    fn http_get(&mut self, get: &HttpGetAction, path: &str) {
        self.require(is_port(&get.port), &format!("{path}.port"), PORT);
        for (index, header) in get.http_headers.iter().enumerate() {
            let at = format!("{path}.httpHeaders[{index}].name");
            let name = header.name.to_ascii_lowercase();
            let secret = ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"];
            self.require(!secret.contains(&name.as_str()), &at, CREDENTIALS);
            let good = !name.is_empty() && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '-');
            self.require(good, &at, HEADER);
        }
    }

    fn rollout(&mut self, rollout: &Rollout) {
        let path = "spec.rollout.steps";
        let downward = rollout.steps.iter().zip(rollout.steps.iter().skip(1)).any(|(before, after)| {
            match (&before.pods, &after.pods) {
                (IntOrString::Int(before), IntOrString::Int(after)) => after < before,
                (IntOrString::String(before), IntOrString::String(after)) => match (percent(before), percent(after)) {
                    (Some(before), Some(after)) => after < before,
                    _ => false,
                },
                _ => false,
            }
        });
        self.require(!downward, path, STEPS);
        for (index, step) in rollout.steps.iter().enumerate() {
            self.require(is_pods(&step.pods), &format!("{path}[{index}].pods"), STEP_PODS);
        }
    }
}

/// `^[0-9]{1,3}%$`
fn percent(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    ((1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// A number from 1 to 100000, or `^(100|[1-9][0-9]?)%$`.
fn is_pods(pods: &IntOrString) -> bool {
    match pods {
        IntOrString::Int(number) => (1..=100_000).contains(number),
        IntOrString::String(text) => {
            !text.starts_with('0') && percent(text).is_some_and(|percent| (1..=100).contains(&percent))
        }
    }
}

/// A number from 1 to 65535, or a name as `IsValidPortName` of Kubernetes has it.
fn is_port(port: &IntOrString) -> bool {
    match port {
        IntOrString::Int(number) => (1..=65_535).contains(number),
        IntOrString::String(name) => {
            let word = |part: &str| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            name.len() <= 15 && name.split('-').all(word) && name.bytes().any(|byte| byte.is_ascii_lowercase())
        }
    }
}

/// `^[0-9]{1,2}([.][0-9]{1,6})?$`, greater than 0.
fn is_objective(text: &str) -> bool {
    let digits =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let shape = match text.split_once('.') {
        Some((whole, fraction)) => digits(whole, 2) && digits(fraction, 6),
        None => digits(text, 2),
    };
    shape && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

fn is_label_key(key: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_prefix = |prefix: &str| {
        edge(prefix.bytes().next())
            && edge(prefix.bytes().last())
            && prefix.bytes().all(|byte| edge(Some(byte)) || b"-.".contains(&byte))
    };
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    key.len() <= 317 && prefix.is_none_or(is_prefix) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    value.is_empty()
        || value.len() <= 63
            && edge(value.bytes().next())
            && edge(value.bytes().last())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
