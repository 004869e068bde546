//! TEMP
use crate::api::HealthPolicySpec;
pub fn validate(_: &HealthPolicySpec) -> Vec<String> { Vec::new() }
