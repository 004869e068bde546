//! Builders and laws for the tests of whole plans.

use serde_json::Value;

use crate::api::HealthPolicySpec;
use crate::api::workload_health::HeldField;
use crate::core::plan::{Input, Plan, Surroundings, plan};

pub(super) fn policy(yaml: &str) -> HealthPolicySpec {
    let text = format!("selector: {{}}\n{yaml}");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) fn plan_for(policy: Option<&HealthPolicySpec>, deployment: &Value, held: &[HeldField]) -> Plan {
    plan(&Input { policy, deployment, held, surroundings: &Surroundings::default() })
}

pub(super) fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.findings.iter().map(|finding| finding.reason.as_str()).collect()
}
