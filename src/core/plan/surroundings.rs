//! What is known around a Deployment: disruption budgets, autoscalers, how long its starts took, and how its pods went.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::selector::Selector;
use crate::api::shutdown_status::ShutdownStatus;
use crate::core::selector;

/// What is known around a Deployment. The default is that nothing is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// PodDisruptionBudgets that select its pods.
    pub budgets: Vec<DisruptionBudget>,
    /// HorizontalPodAutoscalers that scale it.
    pub autoscalers: Vec<Autoscaler>,
    /// The longest start that was seen, from container start to ready.
    pub longest_start_seconds: Option<i64>,
    /// How its pods went, and what that advises.
    pub shutdown: Option<ShutdownStatus>,
    /// Whether the policy rides along in others' writes of this Deployment (docs/ride-along.md).
    pub rides_along: bool,
}

/// What matters of a PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DisruptionBudget {
    /// Name.
    pub name: String,
    /// `spec.minAvailable`: a number, or a percentage as text.
    pub min_available: Option<Value>,
    /// `spec.maxUnavailable`: a number, or a percentage as text.
    pub max_unavailable: Option<Value>,
}

/// What matters of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autoscaler {
    /// Name.
    pub name: String,
    /// `spec.minReplicas`; the API server's default is 1.
    pub min_replicas: i64,
}

impl Surroundings {
    /// Adds the object when it is a PodDisruptionBudget that selects the Deployment's pods, or a
    /// HorizontalPodAutoscaler that scales it, in the same namespace. `namespace_of` gives the namespace of an object.
    pub fn add(&mut self, deployment: &Value, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or_default().to_owned();
        match text("/kind") {
            Some("PodDisruptionBudget") if selects(object, deployment) => {
                self.budgets.push(DisruptionBudget {
                    name,
                    min_available: object.pointer("/spec/minAvailable").cloned(),
                    max_unavailable: object.pointer("/spec/maxUnavailable").cloned(),
                });
            }
            Some("HorizontalPodAutoscaler")
                if text("/spec/scaleTargetRef/kind") == Some("Deployment")
                    && object.pointer("/spec/scaleTargetRef/name") == deployment.pointer("/metadata/name") =>
            {
                let min_replicas = object.pointer("/spec/minReplicas").and_then(Value::as_i64).unwrap_or(1);
                self.autoscalers.push(Autoscaler { name, min_replicas });
            }
            _ => {}
        }
    }
}

/// A missing selector selects nothing, an empty one every pod of the namespace.
fn selects(budget: &Value, deployment: &Value) -> bool {
    let Some(selector) = budget.pointer("/spec/selector").filter(|selector| selector.is_object()) else { return false };
    let labels = deployment.pointer("/spec/template/metadata/labels");
    serde_json::from_value::<Selector>(selector.clone())
        .is_ok_and(|selector| selector::matches(&selector, &labels_of(labels)))
}

/// Labels of raw JSON; what is not text is left out.
pub fn labels_of(labels: Option<&Value>) -> BTreeMap<String, String> {
    let labels = labels.and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs.filter_map(|(key, value)| value.as_str().map(|value| (key.clone(), value.to_owned()))).collect()
}
