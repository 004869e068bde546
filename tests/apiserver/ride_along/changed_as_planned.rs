//! The same for changes: what generated Deployments become when another one takes their place, by each kind of request.

use std::collections::{BTreeMap, BTreeSet};

use gracekeeper::api::workload_health::HeldField;
use gracekeeper::api::{HealthPolicySpec, MARKER_ANNOTATION, WhenAlreadySet};
use gracekeeper::core::plan::{Input, Plan, Surroundings, plan};
use kube::api::{Patch, PatchParams, PostParams};
use proptest::strategy::{Strategy, ValueTree};
use serde_json::{Value, json};

use super::same_as_planned::{as_stored, complete, enforcing, essence, is_taken, of_case, same_each_time};
use super::twins::write_plan;
use super::{Ridden, generate, marker, spec_of, would_create};
use crate::support::TestNamespace;

/// How the new one takes the place of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    /// `kubectl replace`: as if nothing had been there.
    Put,
    /// A list of containers is replaced whole, the rest is merged.
    MergePatch,
    /// Containers, ports and handlers are merged.
    StrategicPatch,
    /// By who created it.
    Apply,
    /// By somebody else.
    OtherApply,
}

use Request::{Apply, MergePatch, OtherApply, Put, StrategicPatch};

impl Request {
    /// What the API server would store.
    async fn send(self, ns: &TestNamespace, name: &str, new: &Value) -> Result<Value, kube::Error> {
        let mut new = new.clone();
        new["metadata"]["name"] = json!(name);
        let (deployments, dry) = (ns.deployments(), PatchParams { dry_run: true, ..PatchParams::default() });
        let stored = match self {
            Put => {
                let params = PostParams { dry_run: true, field_manager: Some("a-person".into()) };
                deployments.replace(name, &params, &serde_json::from_value(new).unwrap()).await
            }
            MergePatch => deployments.patch(name, &dry, &Patch::Merge(new)).await,
            StrategicPatch => deployments.patch(name, &dry, &Patch::Strategic(new)).await,
            Apply | OtherApply => {
                let manager = if self == Apply { "git" } else { "other" };
                let params = PatchParams { dry_run: true, ..PatchParams::apply(manager).force() };
                deployments.patch(name, &params, &Patch::Apply(new)).await
            }
        };
        Ok(serde_json::to_value(stored?).unwrap())
    }
}

/// A Deployment in both namespaces: with the policy that rode along, and without, where the operator wrote afterwards.
struct Twin<'a> {
    ridden: &'a TestNamespace,
    plain: &'a TestNamespace,
    policy: &'a HealthPolicySpec,
    name: String,
    before: Value,
    held: [Vec<HeldField>; 2],
}

impl<'a> Twin<'a> {
    async fn make(
        ridden: &'a TestNamespace,
        plain: &'a TestNamespace,
        policy: &'a HealthPolicySpec,
        name: String,
        old: &Value,
    ) -> Self {
        let mut old = old.clone();
        old["metadata"]["name"] = json!(name);
        old["spec"]["replicas"] = json!(0);
        for ns in [ridden, plain] {
            ns.apply(&old).await;
        }
        old["metadata"]["name"] = json!(bare(&name));
        plain.apply(&old).await;
        let before = ridden.get(&name).await;
        let mut twin = Self { ridden, plain, policy, name, before, held: [vec![], vec![]] };
        twin.held[0] = twin.planned(&twin.before, 0).held;
        twin.held[1] = write_plan(plain, &twin.name, |deployment| twin.planned(deployment, 1)).await;
        twin
    }

    fn planned(&self, deployment: &Value, side: usize) -> Plan {
        let surroundings = Surroundings { rides_along: side == 0, ..Surroundings::default() };
        let (policy, held) = (Some(self.policy), self.held[side].as_slice());
        plan(&Input { policy, deployment, held, surroundings: &surroundings })
    }

    /// What is wrong with how this change rides along; `None` where the two need not come to the same.
    async fn compare(&self, request: Request, old: &Value, new: &Value) -> Option<Result<(), String>> {
        let got = match request.send(self.ridden, &self.name, new).await {
            Ok(got) => got,
            Err(error) => {
                let fits = request.send(self.plain, &bare(&self.name), new).await.is_ok();
                return fits.then(|| Err(format!("refused: {error}")));
            }
        };
        let stored = match request.send(self.plain, &self.name, new).await {
            Ok(stored) => stored,
            // Two handlers are refused where nothing rides along. There ours has to be taken out in the same request.
            Err(_) => self.send_without_ours(request, new).await?,
        };
        let again = self.planned(&got, 0);
        let plan = self.planned(&stored, 1);
        if got["spec"]["template"] == self.before["spec"]["template"] || self.is_another_story(request, old, new, &plan)
        {
            return None;
        }
        let waiting = self.let_go(&got, &plan);
        if !waiting.is_empty() {
            let listed = marker(&got).unwrap_or_default();
            let wait = waiting.iter().all(|name| listed.split(',').any(|each| each == name));
            return (!wait).then(|| Err(format!("of {waiting:?} only {listed} waits for the operator")));
        }
        let mut planned = plan.apply_to(&stored).unwrap();
        planned["metadata"]["name"] = json!("planned");
        let expected = self.comparable(&as_stored(self.plain, planned).await, &got);
        let got = self.comparable(&got, &got);
        let mut wrong = String::new();
        if !again.is_empty() {
            wrong = format!("the operator would still write {}", again.summary());
        }
        if got != expected {
            wrong = format!("{wrong}\ngot      {got}\nexpected {expected}");
        }
        Some(if wrong.is_empty() { Ok(()) } else { Err(wrong) })
    }

    /// The same as a merge in which our handlers make way for the new ones. `None` where that is no such request.
    async fn send_without_ours(&self, request: Request, new: &Value) -> Option<Value> {
        if request != StrategicPatch {
            return None;
        }
        let (live, mut new) = (self.plain.get(&self.name).await, new.clone());
        let ours = marker(&live).unwrap_or_default();
        for list in ["containers", "initContainers"] {
            let containers = new["spec"]["template"]["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let name = container["name"].as_str().unwrap().to_owned();
                let there = live["spec"]["template"]["spec"][list].as_array().into_iter().flatten();
                let Some(there) = there.into_iter().find(|there| there["name"] == name.as_str()) else { continue };
                for field in FIELDS {
                    let path = path_of(field);
                    let (Some(was), Some(is)) = (there.pointer(&path), container.pointer_mut(&path)) else { continue };
                    for handler in HANDLERS {
                        let makes_way = was.get(handler).is_some() && is.get(handler).is_none();
                        if makes_way && ours.split(',').any(|each| each == format!("{name}/{field}")) {
                            is[handler] = Value::Null;
                        }
                    }
                }
            }
        }
        StrategicPatch.send(self.plain, &self.name, &new).await.ok()
    }

    /// Fields that the policy lets go of and that may have an original: they are left to the operator.
    fn let_go(&self, got: &Value, plan: &Plan) -> Vec<String> {
        let replaces = self.policy.when_already_set == WhenAlreadySet::Replace;
        let is_held = |name: &str| plan.held.iter().any(|held| format!("{}/{}", held.container, held.field) == name);
        let before = marker(&self.before).unwrap_or_default();
        let may_have_original = |name: &str| replaces || name == "/terminationGracePeriodSeconds";
        let stays = |name: &&str| value_of(got, name).is_some_and(|value| Some(value) == value_of(&self.before, name));
        let there = before.split(',').filter(stays);
        there.filter(|name| may_have_original(name) && !is_held(name)).map(str::to_owned).collect()
    }

    /// What cannot be written as JSON in CEL, and a difference that comes of who wrote before: what the workload drops of its own
    /// stays where the operator has written it.
    fn is_another_story(&self, request: Request, old: &Value, new: &Value, plan: &Plan) -> bool {
        let before = marker(&self.before).unwrap_or_default();
        let drops = before.split(',').any(|name| value_of(old, name).is_some() && value_of(new, name).is_none());
        let replaces = self.policy.when_already_set == WhenAlreadySet::Replace;
        let odd = plan.held.iter().any(|held| held.original.as_deref().is_some_and(|text| text.contains("\\u")));
        odd || drops && replaces && request == Apply
    }

    /// Without what the marker lists though it is gone, and without how much higher a number stays that rode along before.
    fn comparable(&self, object: &Value, got: &Value) -> Value {
        let mut object = object.clone();
        let listed =
            |object: &Value| marker(object).unwrap_or_default().split(',').map(str::to_owned).collect::<Vec<_>>();
        for number in NUMBERS.map(|number| format!("/{number}")) {
            let [was, is, other] =
                [&self.before, got, &object].map(|object| value_of(object, &number).and_then(Value::as_i64));
            if listed(got).contains(&number) && was == is && other < is {
                *object.pointer_mut(&pointer_of(&number)).unwrap() = json!(is);
                let all = listed(&object).into_iter().chain([number.clone()]).collect::<BTreeSet<_>>();
                object["metadata"]["annotations"][MARKER_ANNOTATION] =
                    json!(all.into_iter().collect::<Vec<_>>().join(","));
            }
        }
        let there: Vec<_> = listed(&object).into_iter().filter(|name| value_of(&object, name).is_some()).collect();
        let mut essence = essence(&object);
        essence["marker"] = json!(there);
        essence
    }
}

/// Its name where nobody ever adds anything: what fits there fits everywhere.
fn bare(name: &str) -> String {
    format!("bare-{name}")
}

const FIELDS: [&str; 4] = ["livenessProbe", "preStop", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 5] = ["httpGet", "tcpSocket", "exec", "grpc", "sleep"];
const NUMBERS: [&str; 3] = ["minReadySeconds", "progressDeadlineSeconds", "terminationGracePeriodSeconds"];

fn path_of(field: &str) -> String {
    if field == "preStop" { "/lifecycle/preStop".into() } else { format!("/{field}") }
}

fn pointer_of(number: &str) -> String {
    if number == "/terminationGracePeriodSeconds" {
        format!("/spec/template/spec{number}")
    } else {
        format!("/spec{number}")
    }
}

/// The value of a field as the marker names it.
fn value_of<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let (container, field) = name.split_once('/')?;
    if container.is_empty() {
        return object.pointer(&pointer_of(name));
    }
    let lists = ["containers", "initContainers"].map(|list| object["spec"]["template"]["spec"][list].as_array());
    let container = lists.into_iter().flatten().flatten().find(|each| each["name"] == container)?;
    container.pointer(&path_of(field))
}

/// One thing of another Deployment in the place of what there was.
fn mixed(old: &Value, other: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let app = |object: &Value| {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        containers.iter().position(|container| container["name"] == "app").unwrap()
    };
    let fields = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];
    let paths = fields.map(|field| {
        (
            format!("/spec/template/spec/containers/{}", app(old)),
            format!("/spec/template/spec/containers/{}", app(other)),
            field,
        )
    });
    let numbers = NUMBERS.map(|number| pointer_of(&format!("/{number}")).rsplit_once('/').unwrap().0.to_owned());
    let numbers = numbers.iter().zip(NUMBERS).map(|(path, number)| (path.clone(), path.clone(), number));
    for (to, from, field) in paths.into_iter().chain(numbers) {
        let mut new = old.clone();
        new["spec"]["template"]["metadata"]["labels"]["version"] = json!("2");
        let value = other.pointer(&from).and_then(|parent| parent.get(field)).cloned();
        let parent = new.pointer_mut(&to).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(field.into(), value),
            None => parent.remove(field),
        };
        all.push(new);
    }
    all
}

#[tokio::test]
async fn generated_changes_are_stored_as_they_are_planned() {
    const CASES: usize = 24;
    let Some(ridden) = Ridden::new("changed").await else { return };
    let plain = TestNamespace::new("changed-plain").await;
    let mut runner = same_each_time(11);
    let mut cases = Vec::new();
    for case in 0..CASES {
        let spec = json!(generate::policy().new_tree(&mut runner).unwrap().current());
        let spec = enforcing(&spec, case);
        let mut objects = Vec::new();
        while objects.len() < 3 {
            let mut object = of_case(&complete(generate::deployment().new_tree(&mut runner).unwrap().current()), case);
            // Server-side apply refuses what the API server does not know.
            for list in ["containers", "initContainers"] {
                let containers = object["spec"]["template"]["spec"].get_mut(list).and_then(Value::as_array_mut);
                for container in containers.into_iter().flatten() {
                    container.as_object_mut().unwrap().remove("fieldOfTheFuture");
                }
            }
            if would_create(&plain, object.clone()).await.is_ok() {
                objects.push(object);
            }
        }
        if is_taken(&ridden, case, &spec) {
            ridden.policy(&format!("p{case}"), spec.clone()).await;
            cases.push((case, spec_of(&spec), objects));
        }
    }
    ridden.informed().await;
    let (mut compared, mut wrong) = (BTreeMap::<_, usize>::new(), Vec::new());
    for (case, policy, objects) in &cases {
        let [old, new, other] = objects.as_slice() else { unreachable!() };
        // Another one altogether, and three of the things that people change one at a time.
        let mixed = mixed(old, other).into_iter().cycle().skip(case * 3).take(3);
        let rest = std::iter::once(new.clone()).chain(mixed);
        let twin = Twin::make(&ridden.ns, &plain, policy, format!("web-{case}"), old).await;
        for (nth, new) in rest.enumerate() {
            let new = &new;
            for request in [Put, MergePatch, StrategicPatch, Apply, OtherApply] {
                match twin.compare(request, old, new).await {
                    Some(Ok(())) => *compared.entry(format!("{request:?} under {:?}", policy.when_already_set)).or_default() += 1,
                    Some(Err(error)) => wrong.push(format!(
                        "case {case}, new {nth}, {request:?}: {error}\npolicy {}\nold {old}\nnew {new}\nbefore {}\nmarker before {:?}\n",
                        json!(policy),
                        essence(&twin.before),
                        marker(&twin.before)
                    )),
                    None => {}
                }
            }
        }
    }
    println!("compared: {compared:?}");
    assert!(wrong.is_empty(), "{} are wrong, such as\n{}", wrong.len(), wrong[0]);
    assert!(compared.len() == 10 && compared.values().all(|compared| *compared > 20), "{compared:?}");
}
