//! Generated policies and Deployments. All of them are valid, so that a refusal is the plan's fault.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::api::HealthPolicySpec;

/// A map of the parts that are there.
fn object(parts: Vec<(&str, Option<Value>)>) -> Value {
    Value::Object(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>())
}

fn handler() -> BoxedStrategy<(&'static str, Value)> {
    prop_oneof![
        (select(vec!["/", "/livez", "/readyz?full"]), any::<bool>()).prop_map(|(path, named)| {
            ("httpGet", json!({"path": path, "port": if named { json!("http") } else { json!(8080) }}))
        }),
        Just((
            "httpGet",
            json!({"port": "admin", "scheme": "HTTPS", "httpHeaders": [{"name": "X-A", "value": "ä\u{7}"}]})
        )),
        select(vec![json!(8080), json!("http"), json!("nowhere")])
            .prop_map(|port| ("tcpSocket", json!({"port": port}))),
        option::of(select(vec!["", "shop.Cart"])).prop_map(|service| {
            ("grpc", object(vec![("port", Some(json!(9090))), ("service", service.map(|name| json!(name)))]))
        }),
        Just(("exec", json!({"command": ["sh", "-c", "test -e /tmp/ok\t\"ß\""]}))),
    ]
    .boxed()
}

fn probe(kills: bool) -> BoxedStrategy<Value> {
    let number = |values: Vec<i64>| option::of(select(values));
    let numbers = (
        number(vec![0, 1, 5, 10]),
        number(vec![1, 3, 10]),
        number(vec![1, 3, 30]),
        number(vec![15, 30]),
        number(vec![0, 5, 40]),
    );
    (handler(), numbers)
        .prop_map(move |((kind, handler), (delay, timeout, failures, grace, period))| {
            let period = period.map(|period| if period == 0 { 10 } else { period });
            let timeout = timeout.map(|timeout| timeout.min(period.unwrap_or(10)));
            object(vec![
                (kind, Some(handler)),
                ("initialDelaySeconds", delay.map(|value| json!(value))),
                ("timeoutSeconds", timeout.map(|value| json!(value))),
                ("failureThreshold", failures.map(|value| json!(value))),
                ("periodSeconds", period.map(|value| json!(value))),
                ("terminationGracePeriodSeconds", grace.filter(|_| kills).map(|value| json!(value))),
            ])
        })
        .boxed()
}

fn hook(longest: i64) -> BoxedStrategy<Value> {
    prop_oneof![
        (1..=longest.max(1)).prop_map(|seconds| json!({"sleep": {"seconds": seconds}})),
        Just(json!({"exec": {"command": ["/bin/drain", "--token=hush"]}})),
        Just(json!({"httpGet": {"path": "/drain", "port": "http"}})),
    ]
    .boxed()
}

/// A lifecycle whose sleep fits the grace period.
fn lifecycle(longest: i64) -> BoxedStrategy<Option<Value>> {
    let start = json!({"exec": {"command": ["warm-up"]}});
    let with = start.clone();
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(json!({}))),
        1 => Just(Some(json!({"postStart": start}))),
        1 => hook(longest).prop_map(|hook| Some(json!({"preStop": hook}))),
        1 => hook(longest).prop_map(move |hook| Some(json!({"preStop": hook, "postStart": with}))),
    ]
    .boxed()
}

fn container(name: &'static str, restart: Option<&'static str>, longest: i64) -> BoxedStrategy<Value> {
    let may_probe = restart.is_none_or(|policy| policy == "Always");
    let of = |kills: bool| option::weighted(0.3, probe(kills));
    (of(true), of(false), of(true), lifecycle(longest), any::<bool>(), any::<bool>())
        .prop_map(move |(liveness, readiness, startup, lifecycle, ports, future)| {
            object(vec![
                ("name", Some(json!(name))),
                ("image", Some(json!("registry.example/app:1"))),
                ("restartPolicy", restart.filter(|policy| *policy == "Always").map(|policy| json!(policy))),
                (
                    "ports",
                    ports.then(
                        || json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 8443}]),
                    ),
                ),
                ("livenessProbe", liveness.filter(|_| may_probe)),
                ("readinessProbe", readiness.filter(|_| may_probe)),
                ("startupProbe", startup.filter(|_| may_probe)),
                ("lifecycle", lifecycle.filter(|_| may_probe)),
                ("fieldOfTheFuture", future.then(|| json!({"a": [1, {"b": null}]}))),
            ])
        })
        .boxed()
}

pub(super) fn deployment() -> BoxedStrategy<Value> {
    let sizes = (
        option::of(select(vec![1_i64, 10, 30, 3600])),
        option::of(select(vec![0_i64, 5, 200])),
        option::of(select(vec![300_i64, 600, 2_147_483_647])),
        option::of(select(vec![0_i64, 1, 2, 20])),
    );
    sizes.prop_flat_map(|(grace, min_ready, deadline, replicas)| {
        let longest = grace.unwrap_or(30).min(60);
        let regular = prop_oneof![
            3 => container("app", None, longest).prop_map(|app| vec![app]),
            2 => (container("app", None, longest), container("istio-proxy", None, longest)).prop_map(|(a, b)| vec![b, a]),
            1 => (container("one", None, longest), container("app", None, longest), container("two", None, longest))
                .prop_map(|(a, b, c)| vec![a, b, c]),
        ]
        .boxed();
        let init = option::of(
            (container("migrate", Some("Never"), longest), container("side", Some("Always"), longest))
                .prop_map(|(a, b)| vec![a, b]),
        )
        .boxed();
        let annotations = option::of(select(vec![json!({"team": "shop"}), json!({"a/b~c": "ä"})]));
        let uid = option::of(Just("0f4e"));
        let main = option::of(select(vec!["app", "gone"]));
        let strategy = option::of(select(vec![json!({"type": "Recreate"}), json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "100%"}})]));
        (regular, init, annotations, uid, main, strategy).prop_map(move |(regular, init, annotations, uid, main, strategy)| {
            let pod = object(vec![
                ("containers", Some(json!(regular))),
                ("initContainers", init.map(|init| json!(init))),
                ("terminationGracePeriodSeconds", grace.map(|value| json!(value))),
                ("hostUsers", Some(json!(false))),
            ]);
            let metadata = object(vec![
                ("labels", Some(json!({"app": "web"}))),
                ("annotations", main.map(|name| json!({"kubectl.kubernetes.io/default-container": name}))),
            ]);
            json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": object(vec![
                    ("name", Some(json!("web"))),
                    ("annotations", annotations),
                    ("uid", uid.map(|uid| json!(uid))),
                ]),
                "spec": object(vec![
                    ("replicas", replicas.map(|value| json!(value))),
                    ("minReadySeconds", min_ready.map(|value| json!(value))),
                    ("progressDeadlineSeconds", deadline.map(|value| json!(value))),
                    ("strategy", strategy),
                    ("template", Some(json!({"metadata": metadata, "spec": pod}))),
                ]),
            })
        })
        .boxed()
    })
    .boxed()
}

pub(super) fn policy() -> BoxedStrategy<HealthPolicySpec> {
    let entry = |name: Option<&'static str>| {
        let probes = (option::of(probe(true)), option::of(probe(false)), option::of(probe(true)));
        (probes, option::weighted(0.3, hook(30)))
            .prop_map(move |((liveness, readiness, startup), hook)| {
                let probes = object(vec![("liveness", liveness), ("readiness", readiness), ("startup", startup)]);
                object(vec![("name", name.map(|name| json!(name))), ("probes", Some(probes)), ("preStop", hook)])
            })
            .boxed()
    };
    let entries = prop_oneof![
        1 => Just(vec![]),
        4 => entry(None).prop_map(|main| vec![main]),
        2 => (entry(None), entry(Some("app"))).prop_map(|(a, b)| vec![a, b]),
        2 => (entry(Some("app")), entry(Some("side"))).prop_map(|(a, b)| vec![a, b]),
        1 => (entry(Some("migrate")), entry(Some("gone")), entry(Some("istio-proxy"))).prop_map(|(a, b, c)| vec![a, b, c]),
    ]
    .boxed();
    let shutdown = option::of((select(vec![0, 5, 10, 60]), select(vec![1, 20, 300])));
    let rollout = option::of((option::of(select(vec![0, 10, 700])), select(vec![0, 90])));
    (entries, shutdown, rollout, any::<bool>())
        .prop_map(|(entries, shutdown, rollout, replace)| {
            let shutdown = shutdown.map(|(drain, finish)| json!({"drainSeconds": drain, "finishSeconds": finish}));
            let rollout = rollout.map(|(ready, start)| {
                object(vec![
                    ("minReadySeconds", ready.map(|seconds| json!(seconds))),
                    ("patience", Some(json!({"startSeconds": start}))),
                ])
            });
            let spec = object(vec![
                ("selector", Some(json!({}))),
                ("whenAlreadySet", Some(json!(if replace { "Replace" } else { "Keep" }))),
                ("containers", Some(json!(entries))),
                ("shutdown", shutdown),
                ("rollout", rollout),
            ]);
            serde_json::from_value(spec).unwrap()
        })
        .boxed()
}

/// Any JSON.
pub(super) fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z/~,%\u{0}-\u{20}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((select(vec!["name", "spec", "sleep", "port", "metadata", "0"]), inner), 0..4)
                .prop_map(|pairs| Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                )),
        ]
    })
}

/// Every JSON pointer into a value.
pub(super) fn pointers(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, child)| (key.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
        _ => vec![],
    };
    for (key, child) in children {
        all.extend(pointers(child).into_iter().map(|rest| format!("/{key}{rest}")));
    }
    all
}
