//! The fields that a policy can set. Nothing else in a Deployment is ever written by a plan.

use std::fmt;

/// A field that a policy can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `livenessProbe` of a container.
    LivenessProbe,
    /// `readinessProbe` of a container.
    ReadinessProbe,
    /// `startupProbe` of a container.
    StartupProbe,
    /// `lifecycle.preStop` of a container.
    PreStop,
    /// `terminationGracePeriodSeconds` of the pod.
    TerminationGracePeriodSeconds,
    /// `minReadySeconds` of the Deployment.
    MinReadySeconds,
    /// `progressDeadlineSeconds` of the Deployment.
    ProgressDeadlineSeconds,
}

impl Field {
    /// The fields of a container.
    pub const OF_CONTAINER: [Self; 4] = [Self::LivenessProbe, Self::ReadinessProbe, Self::StartupProbe, Self::PreStop];
    /// The probes of a container.
    pub const PROBES: [Self; 3] = [Self::LivenessProbe, Self::ReadinessProbe, Self::StartupProbe];
    /// The fields of the pod and of the Deployment.
    pub const OF_WORKLOAD: [Self; 3] =
        [Self::TerminationGracePeriodSeconds, Self::MinReadySeconds, Self::ProgressDeadlineSeconds];

    /// The name in marker, ledger and status: the Kubernetes field name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LivenessProbe => "livenessProbe",
            Self::ReadinessProbe => "readinessProbe",
            Self::StartupProbe => "startupProbe",
            Self::PreStop => "preStop",
            Self::TerminationGracePeriodSeconds => "terminationGracePeriodSeconds",
            Self::MinReadySeconds => "minReadySeconds",
            Self::ProgressDeadlineSeconds => "progressDeadlineSeconds",
        }
    }

    /// The field of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::OF_CONTAINER.into_iter().chain(Self::OF_WORKLOAD).find(|field| field.as_str() == name)
    }

    /// Whether the field lies in the pod template, so that a change of it restarts the pods.
    pub fn is_in_template(self) -> bool {
        !matches!(self, Self::MinReadySeconds | Self::ProgressDeadlineSeconds)
    }

    pub(super) fn is_of_container(self) -> bool {
        Self::OF_CONTAINER.contains(&self)
    }

    /// Where the field lies under its owner: the container, or the whole Deployment.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::LivenessProbe => "/livenessProbe",
            Self::ReadinessProbe => "/readinessProbe",
            Self::StartupProbe => "/startupProbe",
            Self::PreStop => "/lifecycle/preStop",
            Self::TerminationGracePeriodSeconds => "/spec/template/spec/terminationGracePeriodSeconds",
            Self::MinReadySeconds => "/spec/minReadySeconds",
            Self::ProgressDeadlineSeconds => "/spec/progressDeadlineSeconds",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
