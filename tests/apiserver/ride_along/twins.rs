//! What people and tools do, beside the same done without riding along: there the planner writes afterwards, as the operator
//! does. Both must come to the same.

use gracekeeper::api::workload_health::HeldField;
use gracekeeper::api::{FIELD_MANAGER, HealthPolicySpec};
use gracekeeper::core::plan::{Input, Plan, Surroundings, plan};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::same_as_planned::essence;
use super::{Ridden, app, kubectl, spec_of};
use crate::support::namespace::{deployment, pod};
use crate::support::{TestNamespace, eventually};

/// Two namespaces that live through the same.
pub(super) struct Twins {
    pub(super) ridden: Ridden,
    pub(super) plain: TestNamespace,
    pub(super) policy: HealthPolicySpec,
    pub(super) held: Vec<HeldField>,
}

impl Twins {
    pub(super) async fn new(topic: &str, policy: Value) -> Option<Self> {
        let ridden = Ridden::new(topic).await?;
        let plain = TestNamespace::new(&format!("{topic}-plain")).await;
        let mut twins = Self { ridden, plain, policy: spec_of(&policy), held: Vec::new() };
        twins.policy(&policy).await;
        Some(twins)
    }

    /// Another policy, and the API server has seen it.
    pub(super) async fn policy(&mut self, spec: &Value) {
        self.policy = spec_of(spec);
        self.ridden.policy("web", spec.clone()).await;
        self.ridden.informed().await;
    }

    /// Does the same in both; where nothing rides along, the planner writes afterwards.
    pub(super) async fn both(&mut self, what: &str, does: impl AsyncFn(&TestNamespace) -> Result<(), String>) -> Value {
        self.each(what, &does, &does).await
    }

    /// Does what comes to the same: where nothing rides along, a user has to make way for the own handler first, and to force it.
    pub(super) async fn each(
        &mut self,
        what: &str,
        ridden: impl AsyncFn(&TestNamespace) -> Result<(), String>,
        plain: impl AsyncFn(&TestNamespace) -> Result<(), String>,
    ) -> Value {
        ridden(&self.ridden.ns).await.unwrap_or_else(|error| panic!("{what}, ridden: {error}"));
        plain(&self.plain).await.unwrap_or_else(|error| panic!("{what}, plain: {error}"));
        self.operate().await;
        let (got, expected) = (self.ridden.ns.get("web").await, self.plain.get("web").await);
        assert_eq!(essence(&got), essence(&expected), "{what}\ngot {got}\nexpected {expected}");
        let again = plan(&Input {
            policy: Some(&self.policy),
            deployment: &got,
            held: &self.held,
            surroundings: &Surroundings::default(),
        });
        assert!(again.is_empty(), "{what}: the operator would still write {}", again.summary());
        got
    }

    /// The same, of a Deployment that is not there before.
    pub(super) async fn anew(&mut self, what: &str, does: impl AsyncFn(&TestNamespace) -> Result<(), String>) -> Value {
        for ns in [&self.ridden.ns, &self.plain] {
            kubectl(ns, &["delete", "deploy", "web", "--ignore-not-found"], "").unwrap();
        }
        self.held.clear();
        self.both(what, does).await
    }

    /// What the operator would write.
    pub(super) async fn operate(&mut self) {
        self.held = write_plan(&self.plain, "web", |deployment| {
            let (policy, held) = (Some(&self.policy), self.held.as_slice());
            plan(&Input { policy, deployment, held, surroundings: &Surroundings::default() })
        })
        .await;
    }
}

/// Writes what is planned for this Deployment, as the operator does; answers with what is held then.
pub(super) async fn write_plan(ns: &TestNamespace, name: &str, planned: impl Fn(&Value) -> Plan) -> Vec<HeldField> {
    // The Deployment controller may write an annotation in between; then the guards of the patch refuse it.
    eventually("the plan is written", || async {
        let plan = planned(&ns.get(name).await);
        if plan.is_empty() {
            return Some(plan.held);
        }
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let written = ns.deployments().patch(name, &params, &Patch::Json::<()>(plan.patch())).await;
        written.ok().map(|_| plan.held)
    })
    .await
}

pub(super) fn web(image: &str) -> Value {
    with(image, json!({}))
}

/// A manifest whose container has these fields too.
pub(super) fn with(image: &str, mut fields: Value) -> Value {
    fields["image"] = json!(image);
    deployment("web", 1, vec![app(&fields)])
}

pub(super) fn apply_client_side(ns: &TestNamespace, manifest: &Value) -> Result<(), String> {
    kubectl(ns, &["apply", "-f", "-"], &manifest.to_string())
}

pub(super) fn probes(object: &Value) -> Vec<&str> {
    let app = &pod(object)["containers"][0];
    ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|probe| app.get(probe).is_some()).collect()
}
