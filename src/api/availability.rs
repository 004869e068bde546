//! Which availability is promised, and how it is measured.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Objective and window of the availability report.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Objective in per cent, as a decimal string such as "99.9"; greater than 0 and less than 100.
    #[schemars(length(min = 1, max = 12))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[0-9]{1,2}([.][0-9]{1,6})?$') && double(self) > 0.0 && double(self) < 100.0"
    ).message("objective must be a decimal greater than 0 and less than 100, such as \"99.9\""))]
    pub objective: String,

    /// Days of the window.
    #[serde(default = "default_window_days")]
    #[schemars(range(min = 1, max = 90))]
    pub window_days: i32,

    /// Available replicas at which the time-based figure counts a moment as good: a number, or a percentage of the
    /// replicas (rounded up).
    #[serde(default = "default_min_available")]
    #[schemars(extend("minimum" = 1, "maximum" = 100_000, "maxLength" = 4, "pattern" = "^(100|[1-9][0-9]?)%$"))]
    pub min_available: IntOrString,
}

fn default_window_days() -> i32 {
    30
}

fn default_min_available() -> IntOrString {
    IntOrString::String("50%".into())
}
