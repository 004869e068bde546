//! What the API server accepts, what it refuses, and the words that a user gets then. The bounds are read out of the
//! CRDs themselves, so that none can be forgotten; each CEL rule has its cases below, and a rule without one fails.

use std::collections::BTreeSet;

use gracekeeper::api::crds;
use http::Request;
use serde_json::{Map, Value, json};

use crate::support::namespace::condition;
use crate::support::{TestNamespace, eventually};

const GROUP: &str = "gracekeeper.dev/v1alpha1";

/// Creates an object as a dry run with these further parameters; `Err` is what the API server says.
async fn create(ns: &TestNamespace, kind: &str, spec: &Value, parameters: &str) -> Result<Value, String> {
    let plural = format!("{}s", kind.to_lowercase().replace("policy", "policie"));
    let object = json!({"apiVersion": GROUP, "kind": kind, "metadata": {"name": "case"}, "spec": spec});
    let uri = format!("/apis/{GROUP}/namespaces/{}/{plural}?{parameters}", ns.name);
    let request = Request::post(uri).header("Content-Type", "application/json");
    let answer = ns.client.request::<Value>(request.body(object.to_string().into_bytes()).unwrap()).await;
    answer.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    })
}

async fn dry_run(ns: &TestNamespace, kind: &str, spec: &Value) -> Result<Value, String> {
    create(ns, kind, spec, "dryRun=All&fieldValidation=Strict").await
}

/// Schema of a kind's spec, as JSON.
fn spec_schema(kind: &str) -> Value {
    let definition = crds::all().into_iter().find(|d| d.spec.names.kind == kind).unwrap();
    let definition = serde_json::to_value(definition).unwrap();
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
}

// ---- bounds ---------------------------------------------------------------------------------------------------------

/// One step from a value to a part of it.
#[derive(Clone, Debug)]
enum Part {
    Field(String),
    Item,
    /// The value of the key `k` of a map.
    Entry,
}

/// One bound of one field.
#[derive(Debug)]
struct Bound {
    path: Vec<Part>,
    /// Objects that keep to it; none when a CEL rule leaves no value there.
    accepted: Vec<Value>,
    rejected: Value,
    /// What the refusal says besides the path.
    says: String,
}

impl Bound {
    /// The path as the API server writes it.
    fn shown(&self) -> String {
        self.path.iter().fold("spec".to_owned(), |path, part| match part {
            Part::Field(name) => format!("{path}.{name}"),
            Part::Item => format!("{path}[0]"),
            Part::Entry => format!("{path}.k"),
        })
    }
}

/// The smallest valid value of the struct that these required fields tell.
fn sample(path: &[Part]) -> Value {
    let mut names = path.iter().rev().filter_map(|part| match part {
        Part::Field(name) => Some(name.as_str()),
        _ => None,
    });
    match (names.next().unwrap_or_default(), path.last()) {
        ("", _) => json!({"selector": {}}),
        ("startup" | "readiness" | "liveness", _) => json!({"tcpSocket": {"port": 1}}),
        ("preStop" | "sleep", _) => json!({"seconds": 1}),
        ("exec", _) => json!({"command": ["x"]}),
        ("httpGet" | "tcpSocket" | "grpc", _) => json!({"port": 1}),
        ("httpHeaders", Some(Part::Item)) => json!({"name": "X", "value": "x"}),
        ("steps", Some(Part::Item)) => json!({"pods": 1}),
        ("matchExpressions", Some(Part::Item)) => json!({"key": "k", "operator": "In", "values": ["v"]}),
        ("shutdown", _) => json!({"drainSeconds": 1, "finishSeconds": 1}),
        ("availability", _) => json!({"objective": "99.9"}),
        ("request", _) => json!({"action": "Hold", "templateHash": "h", "id": "i"}),
        _ => json!({}),
    }
}

/// A whole valid spec in which the part at `path` has this value; `None` takes the part out.
fn place(path: &[Part], value: Option<&Value>) -> Value {
    fn within(whole: &[Part], depth: usize, value: Option<&Value>) -> Option<Value> {
        let Some(part) = whole.get(depth) else { return value.cloned() };
        let here = &whole[..depth];
        let inner = within(whole, depth + 1, value);
        Some(match part {
            Part::Item => json!([inner?]),
            Part::Entry => json!({"k": inner?}),
            Part::Field(name) => {
                let mut object = sample(here);
                let fields = object.as_object_mut().unwrap();
                // One handler at a time.
                let handlers = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
                if matches!(here.last(), Some(Part::Field(f)) if f == "preStop") {
                    fields.clear();
                }
                if handlers.contains(&name.as_str()) {
                    fields.retain(|field, _| !handlers.contains(&field.as_str()));
                }
                match inner {
                    Some(inner) => fields.insert(name.clone(), inner),
                    None => fields.remove(name),
                };
                object
            }
        })
    }
    let mut spec = within(path, 0, value).unwrap();
    // What other rules ask for next to the value at its bound.
    let names: Vec<&str> =
        path.iter().filter_map(|p| if let Part::Field(f) = p { Some(f.as_str()) } else { None }).collect();
    match names.as_slice() {
        [.., "preStop", "sleep", "seconds"] => spec["shutdown"] = json!({"drainSeconds": 3600, "finishSeconds": 1}),
        [_, _, probe, "timeoutSeconds"] => spec["containers"][0]["probes"][*probe]["periodSeconds"] = json!(86_400),
        ["selector", "matchExpressions", "operator"] if value.is_some_and(|v| v != "In" && v != "NotIn") => {
            spec["selector"]["matchExpressions"][0].as_object_mut().unwrap().remove("values");
        }
        _ => {}
    }
    if names.first() == Some(&"request") {
        spec.as_object_mut().unwrap().remove("selector");
    }
    spec
}

fn last_field(path: &[Part]) -> &str {
    path.iter().rev().find_map(|p| if let Part::Field(f) = p { Some(f.as_str()) } else { None }).unwrap_or_default()
}

#[allow(clippy::cast_possible_truncation)] // bounds are whole and small
fn whole(number: f64) -> i64 {
    number.round() as i64
}

/// Numbers at the bounds that a CEL rule on the same field leaves.
fn allowed_numbers(path: &[Part], schema: &Value) -> Vec<Value> {
    let number = |name: &str| schema[name].as_f64().map(|n| json!(whole(n)));
    let not_zero = schema.to_string().contains("self != 0");
    let low = number("minimum").map(|n| if not_zero { json!(1) } else { n });
    let shown = path.iter().filter_map(|p| if let Part::Field(f) = p { Some(f.as_str()) } else { None });
    match shown.skip(2).collect::<Vec<_>>().as_slice() {
        ["startup" | "liveness", "successThreshold"] => vec![json!(1)],
        ["readiness", "terminationGracePeriodSeconds"] => vec![],
        // At the lower bound of the period, the default timeout of 1 still fits.
        _ => low.into_iter().chain(number("maximum")).collect(),
    }
}

/// A text of this length that the rules of its field allow.
fn text(path: &[Part], length: usize) -> Value {
    match last_field(path) {
        "objective" => json!(&"99.999999"[..length.min(9)]),
        "key" if length > 63 => json!(format!("{}/{}", "a".repeat(length - 64), "a".repeat(63))),
        _ => json!("a".repeat(length)),
    }
}

/// A list or map of this size that the rules of its field allow.
fn several(path: &[Part], size: usize) -> Value {
    let item_path = [path, &[Part::Item]].concat();
    let item = |index: usize| match last_field(path) {
        "containers" => json!({"name": format!("c{index}")}),
        "command" | "values" => json!("x"),
        _ => sample(&item_path),
    };
    (0..size).map(item).collect()
}

/// All bounds of a schema and what is below it.
fn bounds(schema: &Value, path: &[Part], found: &mut Vec<Bound>) {
    let type_ = schema["type"].as_str().unwrap_or_default();
    let int_or_string = schema["x-kubernetes-int-or-string"] == true;
    let put = |value: Value| place(path, Some(&value));
    let mut bound = |accepted: Vec<Value>, rejected: Value, says: String| {
        let accepted = accepted.into_iter().map(put).collect();
        found.push(Bound { path: path.to_vec(), accepted, rejected: put(rejected), says });
    };
    if let Some(least) = schema["minimum"].as_f64() {
        let says = format!("should be greater than or equal to {least}");
        bound(allowed_numbers(path, schema), json!(whole(least) - 1), says);
    }
    if let Some(most) = schema["maximum"].as_f64() {
        let says = format!("should be less than or equal to {most}");
        bound(allowed_numbers(path, schema), json!(whole(most) + 1), says);
    }
    if let Some(least) = schema["minLength"].as_u64() {
        let accepted = text(path, usize::try_from(least).unwrap().max(2));
        bound(vec![accepted], json!(""), format!("should be at least {least} chars long"));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        let most_size = usize::try_from(most).unwrap();
        let accepted =
            if int_or_string { json!("100%".chars().take(4).collect::<String>()) } else { text(path, most_size) };
        let accepted = if last_field(path) == "port" { json!("a".repeat(most_size)) } else { accepted };
        bound(vec![accepted], json!("a".repeat(most_size + 1)), format!("may not be more than {most} bytes"));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let accepted = if pattern.contains('%') { json!("7%") } else { json!("a1-b") };
        bound(vec![accepted], json!("_"), format!("should match '{pattern}'"));
    }
    if let Some(values) = schema["enum"].as_array() {
        let names: Vec<String> = values.iter().map(Value::to_string).collect();
        bound(values.clone(), json!("Nonsense"), format!("supported values: {}", names.join(", ")));
    }
    if let Some(least) = schema["minItems"].as_u64() {
        bound(vec![several(path, 1)], json!([]), format!("should have at least {least} items"));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let size = usize::try_from(most).unwrap();
        bound(vec![several(path, size)], several(path, size + 1), format!("must have at most {most} items"));
    }
    if let Some(most) = schema["maxProperties"].as_u64() {
        let map = |size| Value::Object((0..size).map(|i| (format!("k{i}"), json!("v"))).collect::<Map<_, _>>());
        bound(vec![map(most)], map(most + 1), format!("must have at most {most} items"));
    }
    if int_or_string {
        bound(vec![], json!(true), "must be of type integer,string".into());
    } else if type_ != "object" || !path.is_empty() {
        let wrong = if type_ == "string" { json!(5) } else { json!("wrong") };
        bound(vec![], wrong, format!("must be of type {type_}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let below = [path, &[Part::Field(name.into())]].concat();
        let (accepted, rejected) = (vec![place(path, Some(&sample(path)))], place(&below, None));
        // The sample of a probe or a hook is its handler.
        found.push(Bound { path: below, accepted, rejected, says: "Required value".into() });
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        bounds(property, &[path, &[Part::Field(name.clone())]].concat(), found);
    }
    if schema["items"].is_object() {
        bounds(&schema["items"], &[path, &[Part::Item]].concat(), found);
    }
    if schema["additionalProperties"].is_object() {
        bounds(&schema["additionalProperties"], &[path, &[Part::Entry]].concat(), found);
    }
}

#[tokio::test]
async fn every_bound_of_the_schema_is_kept_and_a_refusal_names_field_and_bound() {
    let ns = TestNamespace::permissive("bounds").await;
    let mut problems = Vec::new();
    let mut count = 0;
    for kind in ["HealthPolicy", "WorkloadHealth"] {
        let mut found = Vec::new();
        bounds(&spec_schema(kind), &[], &mut found);
        count += found.len();
        for bound in &found {
            let path = bound.shown();
            for accepted in &bound.accepted {
                if let Err(error) = dry_run(&ns, kind, accepted).await {
                    problems.push(format!("{kind} {path} ({}) is refused at its bound: {error}", bound.says));
                }
            }
            match dry_run(&ns, kind, &bound.rejected).await {
                Ok(_) => problems.push(format!("{kind} {path}: accepted although {}", bound.says)),
                Err(error) if error.contains(&path) && error.contains(&bound.says) => {}
                Err(error) => problems.push(format!("{kind} {path}: does not say {:?}: {error}", bound.says)),
            }
        }
    }
    assert!(problems.is_empty(), "{} of {count}:\n{}", problems.len(), problems.join("\n"));
    assert!(count > 300, "only {count} bounds were found");
    eprintln!("{count} bounds");
}

#[test]
fn every_number_text_list_and_map_of_a_spec_has_a_bound() {
    fn unbounded(schema: &Value, path: &str, found: &mut Vec<String>) {
        let has = |names: &[&str]| names.iter().all(|name| !schema[*name].is_null());
        let bounded = match schema["type"].as_str() {
            None => has(&["x-kubernetes-int-or-string", "minimum", "maximum", "maxLength"]),
            Some("integer" | "number") => has(&["minimum", "maximum"]),
            Some("string") => has(&["maxLength"]) || has(&["enum"]),
            Some("array") => has(&["maxItems", "x-kubernetes-list-type"]),
            Some("object") if schema["properties"].is_null() => has(&["maxProperties", "additionalProperties"]),
            Some(_) => true,
        };
        if !bounded {
            found.push(path.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            unbounded(property, &format!("{path}.{name}"), found);
        }
        for inner in ["items", "additionalProperties"].iter().filter(|inner| schema[**inner].is_object()) {
            unbounded(&schema[*inner], &format!("{path}.{inner}"), found);
        }
    }
    let mut found = Vec::new();
    for kind in ["HealthPolicy", "WorkloadHealth"] {
        unbounded(&spec_schema(kind), kind, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

// ---- CEL rules ------------------------------------------------------------------------------------------------------

/// A rule by its message, specs that it accepts, and specs that it refuses.
struct Rule {
    message: &'static str,
    accepted: Vec<Value>,
    rejected: Vec<Value>,
}

fn containers(list: Value) -> Value {
    json!({"selector": {}, "containers": list})
}

/// A spec with this probe in each of these places.
fn probe(places: &[&str], probe: &Value) -> Vec<Value> {
    places.iter().map(|place| containers(json!([{"probes": {*place: probe}}]))).collect()
}

fn tcp(more: Value) -> Value {
    let mut probe = json!({"tcpSocket": {"port": 80}});
    probe.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    probe
}

fn header(name: &str) -> Value {
    json!({"httpGet": {"port": 80, "httpHeaders": [{"name": name, "value": "x"}]}})
}

fn steps(pods: Value) -> Value {
    let steps: Vec<Value> = pods.as_array().unwrap().iter().map(|pods| json!({"pods": pods})).collect();
    json!({"selector": {}, "rollout": {"steps": steps}})
}

const PROBES: &[&str] = &["startup", "readiness", "liveness"];

fn rules() -> Vec<Rule> {
    let objective = |text: &str| json!({"selector": {}, "availability": {"objective": text}});
    let label = |key: &str, value: &str| json!({"selector": {"matchLabels": {key: value}}});
    let requirement = |more: Value| {
        let mut one = json!({"key": "tier"});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"selector": {"matchExpressions": [one]}})
    };
    let sleep = |seconds: i64, shutdown: Option<(i64, i64)>| {
        let mut spec = containers(json!([{"preStop": {"sleep": {"seconds": seconds}}}]));
        if let Some((drain, finish)) = shutdown {
            spec["shutdown"] = json!({"drainSeconds": drain, "finishSeconds": finish});
        }
        spec
    };
    let zero = |message, field: &str| Rule {
        message,
        accepted: probe(&["readiness"], &tcp(json!({field: 1})))
            .into_iter()
            .take(usize::from(!field.starts_with("term")))
            .collect(),
        rejected: probe(PROBES, &tcp(json!({field: 0}))),
    };
    vec![
        Rule {
            message: "preStop.sleep must not be longer than shutdown.drainSeconds + shutdown.finishSeconds (30 without \
                      shutdown): the pod would be killed while it still sleeps",
            accepted: vec![sleep(30, None), sleep(35, Some((10, 25))), sleep(5, Some((0, 5)))],
            rejected: vec![sleep(31, None), sleep(36, Some((10, 25)))],
        },
        Rule {
            message: "each container may appear only once, and only one entry may leave out the name",
            accepted: vec![containers(json!([{}, {"name": "a"}, {"name": "b"}])), containers(json!([]))],
            rejected: vec![containers(json!([{}, {}])), containers(json!([{"name": "a"}, {}, {"name": "a"}]))],
        },
        Rule {
            message: "terminationGracePeriodSeconds must not be set on a readiness probe: it never kills",
            accepted: probe(&["startup", "liveness"], &tcp(json!({"terminationGracePeriodSeconds": 5}))),
            rejected: probe(&["readiness"], &tcp(json!({"terminationGracePeriodSeconds": 5}))),
        },
        Rule {
            message: "successThreshold must be 1 for a startup probe",
            accepted: probe(&["startup"], &tcp(json!({"successThreshold": 1}))),
            rejected: probe(&["startup"], &tcp(json!({"successThreshold": 2}))),
        },
        Rule {
            message: "successThreshold must be 1 for a liveness probe",
            accepted: [
                probe(&["liveness"], &tcp(json!({"successThreshold": 1}))),
                probe(&["readiness"], &tcp(json!({"successThreshold": 2}))),
            ]
            .concat(),
            rejected: probe(&["liveness"], &tcp(json!({"successThreshold": 2}))),
        },
        Rule {
            message: "exactly one of sleep, exec or httpGet must be set",
            accepted: vec![
                containers(json!([{"preStop": {"sleep": {"seconds": 5}}}])),
                containers(json!([{"preStop": {"exec": {"command": ["x"]}}}])),
                containers(json!([{"preStop": {"httpGet": {"port": "http"}}}])),
            ],
            rejected: vec![
                containers(json!([{"preStop": {}}])),
                containers(json!([{"preStop": {"sleep": {"seconds": 5}, "exec": {"command": ["x"]}}}])),
            ],
        },
        Rule {
            message: "exactly one of exec, httpGet, tcpSocket or grpc must be set",
            accepted: ["exec", "httpGet", "tcpSocket", "grpc"]
                .iter()
                .flat_map(|handler| {
                    let value = if *handler == "exec" { json!({"command": ["x"]}) } else { json!({"port": 80}) };
                    probe(PROBES, &json!({*handler: value}))
                })
                .collect(),
            rejected: [
                probe(PROBES, &json!({})),
                probe(PROBES, &json!({"periodSeconds": 5})),
                probe(PROBES, &json!({"tcpSocket": {"port": 80}, "grpc": {"port": 80}})),
            ]
            .concat(),
        },
        Rule {
            message: "timeoutSeconds must not be greater than periodSeconds (defaults: 1 and 10): a slow probe would delay \
                      the next one",
            accepted: [
                probe(PROBES, &tcp(json!({"timeoutSeconds": 5, "periodSeconds": 5}))),
                probe(PROBES, &tcp(json!({"timeoutSeconds": 10}))),
                probe(PROBES, &tcp(json!({"periodSeconds": 1}))),
            ]
            .concat(),
            rejected: [
                probe(PROBES, &tcp(json!({"timeoutSeconds": 6, "periodSeconds": 5}))),
                probe(PROBES, &tcp(json!({"timeoutSeconds": 11}))),
            ]
            .concat(),
        },
        zero("periodSeconds must not be 0: Kubernetes would silently store its default, 10", "periodSeconds"),
        zero("timeoutSeconds must not be 0: Kubernetes would silently store its default, 1", "timeoutSeconds"),
        zero("successThreshold must not be 0: Kubernetes would silently store its default, 1", "successThreshold"),
        zero("failureThreshold must not be 0: Kubernetes would silently store its default, 3", "failureThreshold"),
        Rule {
            accepted: probe(&["startup", "liveness"], &tcp(json!({"terminationGracePeriodSeconds": 1}))),
            ..zero(
                "terminationGracePeriodSeconds must not be 0: Kubernetes refuses it",
                "terminationGracePeriodSeconds",
            )
        },
        Rule {
            message: "credentials do not belong in a probe: everyone who may read the policy or the Deployment could read them",
            accepted: probe(PROBES, &header("X-Probe")),
            rejected: ["Authorization", "AUTHORIZATION", "proxy-authorization", "Cookie", "X-Api-Key", "x-auth-token"]
                .iter()
                .flat_map(|name| probe(&["liveness"], &header(name)))
                .collect(),
        },
        Rule {
            message: "a header name has only letters, digits and '-'",
            accepted: probe(PROBES, &header("Accept-2")),
            rejected: ["X Y", "X:", "X_Y", "Grün"].iter().flat_map(|name| probe(&["startup"], &header(name))).collect(),
        },
        Rule {
            message: "objective must be a decimal greater than 0 and less than 100, such as \"99.9\"",
            accepted: ["99.9", "0.000001", "99.999999", "5"].map(objective).to_vec(),
            rejected: ["0", "0.0", "100", "100.0", "99,9", "99.9%", "-1", "1e1", ".5", "99.9999999"]
                .map(objective)
                .to_vec(),
        },
        Rule {
            message: "steps must not go down: each step has at least the pods of the one before",
            accepted: [
                json!([1]),
                json!([1, 1, 2]),
                json!(["5%", "50%", "100%"]),
                json!(["9%", "10%", "10%"]),
                json!([1, "50%", 3]),
                json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            ]
            .map(steps)
            .to_vec(),
            rejected: [
                json!([2, 1]),
                json!(["50%", "5%"]),
                json!(["100%", "99%"]),
                json!(["20%", "10%"]),
                json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 8]),
                json!([10, 9]),
            ]
            .map(steps)
            .to_vec(),
        },
        Rule {
            message: "a label value has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit",
            accepted: vec![label("tier", "web"), label("a.b/c", "A_b-9.z"), label("empty", "")],
            rejected: vec![
                label("tier", "-web"),
                label("tier", "web."),
                label("tier", "we b"),
                label("tier", "wéb"),
                requirement(json!({"operator": "In", "values": ["web", "-web"]})),
            ],
        },
        Rule {
            message: "a label key has at most 63 letters, digits, '-', '_' or '.', and may have a DNS name with '/' before it",
            accepted: vec![
                label("app.kubernetes.io/name", "x"),
                label("A_b.9-z", "x"),
                requirement(json!({"key": "a.b-c/d", "operator": "Exists"})),
            ],
            rejected: vec![
                label(&"k".repeat(318), "x"),
                label(&"k".repeat(64), "x"),
                label("we b", "x"),
                label("a/b/c", "x"),
                label("A.example/x", "x"),
                label("", "x"),
                requirement(json!({"key": "-x", "operator": "Exists"})),
                requirement(json!({"key": "x/", "operator": "Exists"})),
            ],
        },
        Rule {
            message: "In and NotIn need values, Exists and DoesNotExist take none",
            accepted: vec![
                requirement(json!({"operator": "In", "values": ["a"]})),
                requirement(json!({"operator": "NotIn", "values": ["a", "b"]})),
                requirement(json!({"operator": "Exists"})),
                requirement(json!({"operator": "DoesNotExist", "values": []})),
            ],
            rejected: vec![
                requirement(json!({"operator": "In"})),
                requirement(json!({"operator": "NotIn", "values": []})),
                requirement(json!({"operator": "Exists", "values": ["a"]})),
                requirement(json!({"operator": "DoesNotExist", "values": ["a"]})),
            ],
        },
    ]
}

fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str();
        found.insert(message.unwrap_or_else(|| panic!("a rule without a message: {rule}")).to_owned());
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|value| messages(value, found)),
        Value::Array(items) => items.iter().for_each(|value| messages(value, found)),
        _ => {}
    }
}

#[test]
fn every_rule_of_the_crds_has_a_case_that_is_refused() {
    let mut known = BTreeSet::new();
    for definition in crds::all() {
        messages(&serde_json::to_value(definition).unwrap(), &mut known);
    }
    let covered: BTreeSet<String> = rules()
        .iter()
        .filter(|r| !r.rejected.is_empty() && !r.accepted.is_empty())
        .map(|r| r.message.to_owned())
        .collect();
    assert_eq!(covered, known, "left: cases, right: rules of the CRDs");
}

#[tokio::test]
async fn every_rule_accepts_what_it_should_and_refuses_the_rest_in_its_own_words() {
    let ns = TestNamespace::permissive("rules").await;
    let mut problems = Vec::new();
    for rule in rules() {
        for spec in &rule.accepted {
            if let Err(error) = dry_run(&ns, "HealthPolicy", spec).await {
                problems.push(format!("{}: refuses {spec}: {error}", rule.message));
            }
        }
        for spec in &rule.rejected {
            match dry_run(&ns, "HealthPolicy", spec).await {
                Ok(_) => problems.push(format!("{}: accepts {spec}", rule.message)),
                Err(error) if error.contains(rule.message) => {}
                Err(error) => problems.push(format!("{}: for {spec} the words are: {error}", rule.message)),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

// ---- defaults, unknown fields, size ---------------------------------------------------------------------------------

#[tokio::test]
async fn defaults_are_filled_in() {
    let ns = TestNamespace::new("defaults").await;
    let sparse = json!({"selector": {}, "rollout": {"steps": [{"pods": 1}]}, "availability": {"objective": "99.9"}});
    let stored = dry_run(&ns, "HealthPolicy", &sparse).await.unwrap();
    assert_eq!(
        stored["spec"],
        json!({
            "selector": {}, "priority": 0, "mode": "Audit", "whenAlreadySet": "Keep",
            "rollout": {
                "onFailure": "Restore", "steps": [{"pods": 1, "bakeSeconds": 0, "approval": "Automatic"}],
                "tolerate": {"failedPods": 0, "restarts": 0},
                "patience": {"scheduleSeconds": 300, "pullSeconds": 300, "startSeconds": 0},
                "bakeAfterSeconds": 120, "whenBudgetSpent": "Proceed",
            },
            "availability": {"objective": "99.9", "windowDays": 30, "minAvailable": "50%"},
        })
    );
}

#[tokio::test]
async fn an_unknown_field_is_reported_by_strict_validation_and_pruned_without() {
    let ns = TestNamespace::new("unknown").await;
    let spec = json!({"selector": {}, "shutdown": {"drainSeconds": 1, "finishSeconds": 1, "drainSecond": 2}});
    let error = dry_run(&ns, "HealthPolicy", &spec).await.unwrap_err();
    assert!(error.contains(r#"unknown field "spec.shutdown.drainSecond""#), "{error}");
    let stored = create(&ns, "HealthPolicy", &spec, "dryRun=All&fieldValidation=Ignore").await.unwrap();
    assert_eq!(stored["spec"]["shutdown"], json!({"drainSeconds": 1, "finishSeconds": 1}));

    // `host` of a probe is left out on purpose: it is unknown, not silently dropped.
    let host = containers(json!([{"probes": {"liveness": {"httpGet": {"port": 80, "host": "10.0.0.1"}}}}]));
    let error = dry_run(&ns, "HealthPolicy", &host).await.unwrap_err();
    assert!(error.contains(r#"unknown field "spec.containers[0].probes.liveness.httpGet.host""#), "{error}");
    // So does kubectl, which asks for strict validation by itself.
    let object = json!({"apiVersion": GROUP, "kind": "HealthPolicy", "metadata": {"name": "x"}, "spec": host});
    let error = ns.cluster.try_kubectl(&["apply", "-n", &ns.name, "-f", "-"], &object.to_string()).unwrap_err();
    assert!(error.contains("unknown field"), "{error}");

    // No field is nullable: a null is not stored, the field is left out.
    let stored = dry_run(&ns, "HealthPolicy", &json!({"selector": {}, "shutdown": null})).await.unwrap();
    assert_eq!(stored["spec"].get("shutdown"), None);
}

/// All lists and maps at their greatest size, and texts as long as a request to the API server can carry them.
fn biggest() -> Value {
    let key = |index: usize| format!("{index:03}{}/{}", "a".repeat(250), "a".repeat(63));
    let text = |length: usize, index: usize| format!("{index:03}{}", "a".repeat(length - 3));
    let headers: Vec<Value> = (0..16).map(|i| json!({"name": text(128, i), "value": "v".repeat(900)})).collect();
    let http = json!({"path": "/p".repeat(1024), "port": "a".repeat(15), "scheme": "HTTPS", "httpHeaders": headers});
    let exec = json!({"command": (0..64).map(|i| text(100, i)).collect::<Vec<_>>()});
    let numbers = json!({"initialDelaySeconds": 86_400, "periodSeconds": 86_400, "timeoutSeconds": 86_400,
                         "successThreshold": 1, "failureThreshold": 10_000});
    let probe = |handler: &str, value: &Value| {
        let mut probe = numbers.clone();
        probe[handler] = value.clone();
        probe
    };
    let containers: Vec<Value> = (0..16)
        .map(|i| {
            json!({
                "name": text(63, i),
                "probes": {"startup": probe("httpGet", &http), "readiness": probe("httpGet", &http), "liveness": probe("exec", &exec)},
                "preStop": {"httpGet": http},
            })
        })
        .collect();
    let labels: Map<String, Value> = (0..32).map(|i| (key(i), json!("v".repeat(63)))).collect();
    let expressions: Vec<Value> =
        (0..32).map(|i| json!({"key": key(i), "operator": "NotIn", "values": vec!["v".repeat(63); 64]})).collect();
    let steps: Vec<Value> =
        (90..100).map(|i| json!({"pods": format!("{i}%"), "bakeSeconds": 86_400, "approval": "Manual"})).collect();
    json!({
        "selector": {"matchLabels": labels, "matchExpressions": expressions},
        "priority": 1_000_000, "containers": containers,
        "shutdown": {"drainSeconds": 3600, "finishSeconds": 86_400},
        "rollout": {"minReadySeconds": 3600, "steps": steps},
        "availability": {"objective": "99.999999", "windowDays": 90, "minAvailable": "100%"},
    })
}

#[tokio::test]
async fn the_biggest_legal_policy_fits_into_the_cost_limits_of_the_api_server() {
    let ns = TestNamespace::permissive("biggest").await;
    let spec = biggest();
    let size = spec.to_string().len();
    eprintln!("the biggest legal policy: {size} bytes");
    assert!(size > 1_000_000, "{size} bytes");
    create(&ns, "HealthPolicy", &spec, "fieldValidation=Strict").await.unwrap();
    // Nothing but the size limits it, and the words for that are the API server's own.
    let mut too_big = spec;
    let long = json!({"command": vec!["a".repeat(4096); 64]});
    for container in too_big["containers"].as_array_mut().unwrap() {
        container["probes"]["liveness"]["exec"] = long.clone();
    }
    let error = dry_run(&ns, "HealthPolicy", &too_big).await.unwrap_err();
    assert!(error.contains("too large") || error.contains("limit"), "{error}");
}

// ---- kubectl --------------------------------------------------------------------------------------------------------

async fn create_with_status(ns: &TestNamespace, kind: &str, plural: &str, spec: &Value, status: &Value) {
    create(ns, kind, spec, "fieldValidation=Strict").await.unwrap();
    let uri = format!("/apis/{GROUP}/namespaces/{}/{plural}/case/status?fieldValidation=Strict", ns.name);
    let request = Request::patch(uri).header("Content-Type", "application/merge-patch+json");
    let body = json!({"status": status}).to_string().into_bytes();
    let stored = ns.client.request::<Value>(request.body(body).unwrap()).await.unwrap();
    assert_eq!(condition(&stored, "Ready")["status"], "False");
}

fn words(line: Option<&str>) -> Vec<&str> {
    line.unwrap_or_default().split_whitespace().collect()
}

#[tokio::test]
async fn kubectl_shows_the_columns_that_the_design_promises() {
    let ns = TestNamespace::new("columns").await;
    let ready = |reason: &str| json!({"type": "Ready", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let compliant = json!({"type": "Compliant", "status": "True", "reason": "InSync", "message": "m",
                           "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let policy_status = json!({
        "conditions": [ready("NotCompliant")],
        "workloads": {"matched": 9, "governed": 7, "compliant": 6, "held": 2},
        "availability": {"mean": "99.95", "worst": "99.1", "budget": "41.5"},
    });
    create_with_status(&ns, "HealthPolicy", "healthpolicies", &json!({"selector": {}}), &policy_status).await;
    let health_status = json!({
        "conditions": [compliant, ready("Held")],
        "policy": {"name": "web", "uid": "u", "generation": 1, "mode": "Audit"},
        "gate": {"state": "Held", "reason": "Crash"},
        "availability": {"replicaWeighted": "99.97", "budget": "70.1"},
    });
    create_with_status(&ns, "WorkloadHealth", "workloadhealths", &json!({}), &health_status).await;

    let get = |what: &str| ns.cluster.kubectl(&["get", what, "-n", &ns.name]);
    for name in ["hp", "healthpolicies", "healthpolicy"] {
        let shown = get(name);
        let mut lines = shown.lines();
        let header = ["NAME", "MODE", "WORKLOADS", "COMPLIANT", "HELD", "AVAILABILITY", "BUDGET", "READY", "AGE"];
        assert_eq!(words(lines.next()), header, "{shown}");
        assert_eq!(words(lines.next())[..8], ["case", "Audit", "7", "6", "2", "99.95", "41.5", "False"], "{shown}");
    }
    for name in ["wh", "workloadhealths", "workloadhealth"] {
        let shown = get(name);
        let mut lines = shown.lines();
        let header = ["NAME", "POLICY", "GATE", "REASON", "AVAILABILITY", "BUDGET", "COMPLIANT", "AGE"];
        assert_eq!(words(lines.next()), header, "{shown}");
        assert_eq!(words(lines.next())[..7], ["case", "web", "Held", "Held", "99.97", "70.1", "True"], "{shown}");
    }
    let both = get("gracekeeper");
    assert!(
        both.contains("healthpolicy.gracekeeper.dev/case") && both.contains("workloadhealth.gracekeeper.dev/case"),
        "{both}"
    );
    let wide = ns.cluster.kubectl(&["get", "hp", "-n", &ns.name, "-o", "wide"]);
    assert!(wide.contains("REASON") && wide.contains("NotCompliant"), "{wide}");
    let one =
        ns.cluster.kubectl(&["get", "wh", "-n", &ns.name, "--field-selector", "status.policy.name=web", "-o", "name"]);
    assert_eq!(one.trim(), "workloadhealth.gracekeeper.dev/case");
}

#[tokio::test]
async fn kubectl_explain_tells_what_a_field_does() {
    let ns = TestNamespace::new("explain").await;
    // The API server publishes the schema a moment after the CRD is established.
    let shutdown = eventually("the schema is published", || async {
        ns.cluster.try_kubectl(&["explain", "healthpolicy.spec.shutdown"], "").ok()
    })
    .await;
    for text in ["drainSeconds", "finishSeconds", "-required-", "endpoints", "SIGTERM", "never lowered"] {
        assert!(shutdown.replace("\n    ", " ").contains(text), "no {text:?} in:\n{shutdown}");
    }
    let mode = ns.cluster.kubectl(&["explain", "hp.spec.mode"]);
    assert!(mode.contains("Audit") && mode.contains("Enforce") && mode.contains("Suspended"), "{mode}");
    let kind = ns.cluster.kubectl(&["explain", "healthpolicy"]);
    assert!(kind.contains("keeps probes, preStop hooks and grace periods right"), "{kind}");
    let health = ns.cluster.kubectl(&["explain", "wh.spec.request"]);
    assert!(health.contains("templateHash"), "{health}");
}

#[tokio::test]
async fn policies_are_found_by_their_mode() {
    let ns = TestNamespace::new("selectable").await;
    for (name, mode) in [("a", "Enforce"), ("b", "Audit"), ("c", "Enforce")] {
        ns.policy(name, json!({"selector": {}, "mode": mode})).await;
    }
    let found =
        ns.cluster.kubectl(&["get", "hp", "-n", &ns.name, "--field-selector", "spec.mode=Enforce", "-o", "name"]);
    let names: Vec<&str> = found.lines().collect();
    assert_eq!(names, ["healthpolicy.gracekeeper.dev/a", "healthpolicy.gracekeeper.dev/c"]);
}
