//! What a plan finds, as a table: reason, severity, what it means, remedy. `docs/reference/findings.md` is made from it.

use std::cmp::Reverse;
use std::fmt::Write;

use super::field::Field;
use crate::api::workload_health::Severity;

/// Something that a plan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One CamelCase word from a fixed set.
    pub reason: Reason,
    /// Container, empty for the pod or the Deployment.
    pub container: String,
    /// One sentence: what is wrong. Never shows commands or header values.
    pub message: String,
}

impl Finding {
    /// A finding; the container is empty for the pod or the Deployment.
    pub fn new(reason: Reason, container: &str, message: impl Into<String>) -> Self {
        Self { reason, container: container.into(), message: message.into() }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.reason.severity()
    }

    /// One sentence: what to do about it.
    pub fn remedy(&self) -> &'static str {
        self.reason.remedy()
    }
}

/// The most severe first, then by container, reason and text; the same finding only once.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|one, two| {
        let key = |finding: &Finding| (Reverse(finding.severity()), finding.container.clone(), finding.reason.as_str());
        key(one).cmp(&key(two)).then_with(|| one.message.cmp(&two.message))
    });
    findings.dedup();
}

macro_rules! reasons {
    ($($name:ident $severity:ident $meaning:literal $remedy:literal)*) => {
        /// Reasons of findings. They are stable: scripts and alerts may depend on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in `status.plan.findings[].reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What it means, in general.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    // Something that was asked for is not written.
    MissingContainer Error
        "The policy speaks of a container that the pod does not have."
        "Correct the name in the policy, or leave it out to mean the main container."
    InitContainer Error
        "The policy speaks of an ordinary init container, which may have neither probes nor hooks."
        "Name a regular container or a native sidecar (an init container with restartPolicy: Always)."
    AmbiguousContainer Error
        "The pod has several containers and does not say which one is the main one."
        "Name the container in the policy, or set the annotation kubectl.kubernetes.io/default-container on the pod template."
    UnknownPort Error
        "A probe or hook uses a port name that the container does not have. The kubelet throws the result of such a probe away: readiness stays false for ever, liveness never fires."
        "Add the name to the container's ports, or use the port number."
    PsaRefuses Error
        "Pod Security admission would refuse the pods with this change."
        "Change the field that Pod Security names, or the security level of the namespace."
    Denied Error
        "An admission policy, a webhook or a missing permission refuses the change."
        "Ask the owner of the policy that is named in the message, or change the HealthPolicy so that it complies."
    Unsupported Error
        "The API server drops this value: it does not know the field, or the feature is switched off."
        "Leave the field out of the policy, or upgrade the cluster."
    OriginalTooLong Error
        "The workload's own value is too long to be remembered, so that it is not replaced."
        "Shorten the value (a script belongs into the image), or use whenAlreadySet: Keep."
    DrainDoesNotFit Error
        "The drain time does not fit into a grace period that the workload declares, so that no preStop sleep is written."
        "Raise or remove terminationGracePeriodSeconds in the workload, lower drainSeconds, or use whenAlreadySet: Replace."
    PreStopLongerThanGrace Error
        "The preStop hook takes longer than the grace period, or there is no grace period: the container is killed before it sees SIGTERM, or the API server refuses the pod."
        "Raise terminationGracePeriodSeconds above the sleep, or let shutdown in a policy set both."
    // Likely to hurt one day.
    DuplicateEntry Warning
        "Two entries of the policy reach the same container; the one that names it is used, the other is not."
        "Merge the two entries, or name another container."
    ShutdownNotApplied Warning
        "The policy has a shutdown section, but speaks of sidecars only, which stop after the main containers."
        "Add an entry for the main container (it may be empty but for its name)."
    HandlerConflict Warning
        "The policy replaces a probe or hook by one with a handler of another type. A merging apply of the workload's own manifest puts the two together, and the API server refuses that."
        "Remove the probe or hook from the manifest, use the same type of handler in the policy, or whenAlreadySet: Keep."
    GraceTooShort Warning
        "The workload declares a grace period that is shorter than drain and finish together: the application may be killed before it is done. It is not raised, because the next apply of the declarer would conflict."
        "Raise or remove terminationGracePeriodSeconds in the workload, or use whenAlreadySet: Replace."
    DrainCutByLiveness Warning
        "A probe has a terminationGracePeriodSeconds of its own that is shorter than the preStop sleep: when it kills the container, the sleep is cut off."
        "Raise the probe's terminationGracePeriodSeconds above the sleep, or accept that a hung container drains less."
    LivenessEqualsReadiness Warning
        "Liveness and readiness ask the same question and answer it at the same time: whatever makes a pod unready also restarts it."
        "Give liveness a cheaper endpoint, or at least a higher failureThreshold than readiness."
    LivenessFasterThanReadiness Warning
        "Liveness notices a fault before readiness does: the container is restarted while it still gets traffic."
        "Raise the failureThreshold or the period of liveness, or lower those of readiness."
    StartupBudgetBelowObserved Warning
        "Starts were observed that took longer than the probes surely allow: such a start is killed and tried again."
        "Raise failureThreshold or periodSeconds of the startup probe until (failureThreshold - 1) x periodSeconds exceeds the observed time."
    DrainBelowObserved Warning
        "Pods were seen to stand in their EndpointSlices for longer after their deletion than the preStop sleep lasts: proxies still send them requests when they have been told to end."
        "Set shutdown.drainSeconds to what the message advises (status.shutdown.advisedDrainSeconds), or lengthen the workload's own preStop sleep."
    FinishBelowObserved Warning
        "Pods were seen to need more time after SIGTERM than the template gives them: they were killed before they had finished, or would be."
        "Set shutdown.finishSeconds to what the message advises (status.shutdown.advisedFinishSeconds), or make the application finish sooner."
    SigtermIgnored Warning
        "No pod was seen to end by itself: each one was killed when its grace period was over. More time does not help."
        "Make sure that SIGTERM reaches the application (exec form of the command, no shell in between, or an init such as tini as process 1) and that it ends on it."
    GrpcToTlsPort Warning
        "A gRPC probe speaks plaintext, and the port looks like a TLS port: the probe would always fail."
        "Serve the health service on a plaintext port, or probe with exec or tcpSocket."
    GraceVersusRecreate Warning
        "With strategy Recreate nothing serves while the old pods stop, and the grace period allows that to take long."
        "Use RollingUpdate, or lower the grace period to what the application needs."
    MaxUnavailableAll Warning
        "A rollout may take all replicas down at the same time."
        "Lower strategy.rollingUpdate.maxUnavailable, or add replicas."
    PdbBlocksDrain Warning
        "A PodDisruptionBudget allows no eviction at all: nodes cannot be drained."
        "Let the budget allow at least one pod (maxUnavailable: 1), or add replicas."
    PdbVersusHpaMin Warning
        "When the autoscaler is at its minimum, a PodDisruptionBudget allows no eviction."
        "Raise minReplicas above the budget's minAvailable, or express the budget as maxUnavailable."
    DeadlineBelowStep Warning
        "A new pod may rightly take longer to become available than the progress deadline allows: a healthy rollout would be reported as failed."
        "Raise progressDeadlineSeconds, or let rollout in a policy set it."
    BakeBelowLivenessDetection Warning
        "The rollout gate watches a new version for less time than liveness takes to notice a hang and to kill the container: a version that hangs after it got ready is let in, unless readiness notices it too."
        "Raise bakeAfterSeconds, and bakeSeconds of the steps, above that time, or make liveness quicker: a lower period or failureThreshold, and a terminationGracePeriodSeconds of its own."
    MeshOrdering Warning
        "A proxy container beside the main one has no preStop hook: it stops at once, and the draining main container loses its network."
        "Give the proxy a preStop sleep of at least the drain time, or run it as a native sidecar."
    // Good to know.
    KeptExisting Info
        "The workload sets this field itself, and its value stays (whenAlreadySet: Keep, or a preStop hook against drainSeconds)."
        "Remove the field from the workload to get the policy's value, or use whenAlreadySet: Replace."
    NoStartupProbe Info
        "Liveness is stretched to cover the start of the container, so that a hang is noticed late ever after."
        "Add a startup probe with the long budget, and make liveness quick."
    TimeoutTooTight Info
        "A probe that can restart the container gives up after 1 second, although the container can be throttled (CPU limit) or has to start a process."
        "Set timeoutSeconds to several times the slowest answer that is seen under load."
    ExecProbeHeavy Info
        "A probe starts a process in the container at short intervals."
        "Use httpGet, grpc or tcpSocket, or a period of at least 10 seconds."
    TcpOnlyProvesPort Info
        "Readiness only proves that a port is open, not that requests are answered; with a mesh it may prove the proxy."
        "Use httpGet or grpc."
    SingleReplica Info
        "There is one replica: each restart, eviction or node loss is an outage."
        "Run at least two replicas if the application allows it."
    HpaMinOne Info
        "The autoscaler may go down to one replica: each restart, eviction or node loss is then an outage."
        "Set minReplicas to at least 2."
    ReadinessGateOwner Info
        "The pod has readiness gates: if the controller that sets these conditions is down, no new pod becomes ready."
        "Make sure that the named conditions have a running owner, or remove the gates."
}

/// `docs/reference/findings.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Findings\n\n<!-- Generated from src/core/plan/findings.rs by `make generate`; do not edit. -->\n\n\
        A finding says what is wrong with a Deployment, or with what a policy asks of it. `gracekeeper plan` prints findings, \
        and `kubectl get workloadhealth -o yaml` shows them in `status.plan.findings`. They are computed on the pod template as \
        it will be after the plan. Reasons are stable.\n\n\
        - **Error**: something asked for was not written, or the Deployment cannot work as written.\n\
        - **Warning**: likely to hurt one day.\n\
        - **Info**: good to know.\n",
    );
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        // Writing into a String cannot fail.
        let _ = write!(text, "\n## {severity:?}\n\n| Reason | What it means | What to do |\n|---|---|---|\n");
        for reason in Reason::ALL.iter().filter(|reason| reason.severity() == severity) {
            let _ = writeln!(text, "| `{}` | {} | {} |", reason.as_str(), reason.meaning(), reason.remedy());
        }
    }
    text
}

/// The finding that says that the workload's own value stays.
pub(super) fn kept_existing(container: &str, field: Field, own: &str, wanted: &str) -> Finding {
    let message = format!("{field} is set by the workload and stays ({own}); the policy asks for {wanted}.");
    Finding::new(Reason::KeptExisting, container, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_one_word_with_sentences_that_fit_the_status() {
        for reason in Reason::ALL {
            assert!(reason.as_str().len() <= 64 && reason.as_str().chars().all(char::is_alphanumeric));
            for sentence in [reason.meaning(), reason.remedy()] {
                assert!(sentence.ends_with('.') && sentence.chars().count() <= 512, "{sentence}");
            }
        }
    }

    #[test]
    fn the_most_severe_comes_first() {
        let mut findings = vec![
            Finding::new(Reason::KeptExisting, "a", "1"),
            Finding::new(Reason::UnknownPort, "b", "2"),
            Finding::new(Reason::UnknownPort, "a", "3"),
            Finding::new(Reason::MeshOrdering, "", "4"),
            Finding::new(Reason::UnknownPort, "a", "3"),
        ];
        sort(&mut findings);
        assert_eq!(findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>(), ["3", "2", "4", "1"]);
    }
}
