//! What a policy's status says of all its Deployments: counts and one telling example, never a list.

use jiff::Timestamp;

use super::availability::rounded_down;
use crate::api::availability::Availability;
use crate::api::availability_status::AvailabilityStatus;
use crate::api::conditions::{ConditionStatus, ConditionType, Verdict, merge_conditions};
use crate::api::gate::GateState;
use crate::api::policy_status::{FleetAvailability, RideAlongStatus, WorkloadCounts};
use crate::api::{HealthPolicySpec, HealthPolicyStatus, Mode};
use crate::core::ride_along::RideAlong;
use crate::core::rollout::table::is_held;

/// One Deployment that the policy selects.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// Name of the Deployment.
    pub name: &'a str,
    /// The policy that owns it, by its WorkloadHealth: this one, another one, or none yet.
    pub owner: Owner<'a>,
    /// State of its rollout gate.
    pub gate: GateState,
    /// Its condition `Compliant`: status, reason, message.
    pub compliant: Option<(&'a str, &'a str, &'a str)>,
    /// Its measured availability.
    pub availability: Option<&'a AvailabilityStatus>,
}

/// Who owns a Deployment that the policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// This policy.
    This,
    /// A stronger one.
    Other(&'a str),
    /// Not looked at yet.
    NotYet,
}

/// What is known of a policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFacts<'a> {
    /// Now.
    pub now: Timestamp,
    /// Generation of the spec.
    pub generation: i64,
    /// Whether it is being deleted: its Deployments are being released.
    pub deleting: bool,
    /// The spec, or why it cannot be understood.
    pub spec: Result<&'a HealthPolicySpec, &'a str>,
    /// The stored status.
    pub stored: &'a HealthPolicyStatus,
    /// Whether the cluster lets policies ride along.
    pub ride_along: RideAlong,
    /// When this one may.
    pub may_ride_along: Option<&'a RideAlongStatus>,
}

/// Sums up. A status that says the same as the stored one is equal to it.
pub fn summarize<'a>(facts: &PolicyFacts<'_>, selected: impl Iterator<Item = Selected<'a>>) -> HealthPolicyStatus {
    let mut counts = WorkloadCounts::default();
    let (mut example, mut conflict): (Option<Selected<'_>>, Option<Selected<'_>>) = (None, None);
    let mut fleet = Fleet::default();
    for one in selected {
        counts.matched = counts.matched.saturating_add(1);
        match one.owner {
            Owner::NotYet => {}
            Owner::Other(_) => {
                counts.conflicting = counts.conflicting.saturating_add(1);
                conflict = conflict.or(Some(one));
            }
            Owner::This => {
                counts.governed = counts.governed.saturating_add(1);
                fleet.add(&one);
                match one.gate {
                    state if is_held(state) => {
                        counts.held = counts.held.saturating_add(1);
                    }
                    GateState::NotGated => counts.not_gated = counts.not_gated.saturating_add(1),
                    _ => {}
                }
                match one.compliant {
                    Some(("True", ..)) => counts.compliant = counts.compliant.saturating_add(1),
                    Some((_, "Suspended" | "PolicyInvalid", _)) => {}
                    state => {
                        counts.drifted = counts.drifted.saturating_add(1);
                        if state.is_some_and(|(_, reason, _)| reason == "Contended") {
                            counts.contended = counts.contended.saturating_add(1);
                        }
                        example = Some(more_telling(example, one));
                    }
                }
            }
        }
    }
    let verdicts = match facts.spec {
        _ if facts.deleting => releasing(&counts, example),
        Err(error) => invalid(error),
        Ok(spec) => valid(spec, facts.ride_along, &counts, example, conflict, &fleet),
    };
    HealthPolicyStatus {
        observed_generation: Some(facts.generation),
        conditions: merge_conditions(&facts.stored.conditions, &verdicts, facts.generation, facts.now),
        workloads: Some(counts),
        availability: facts.spec.ok().filter(|spec| spec.availability.is_some()).and_then(|_| fleet.status()),
        ride_along: facts.may_ride_along.cloned(),
    }
}

/// Availability of the owned Deployments, as far as it is measured.
#[derive(Default)]
struct Fleet<'a> {
    measured: u32,
    sum: f64,
    worst: Option<(f64, &'a str)>,
    budget: Option<f64>,
}

impl<'a> Fleet<'a> {
    fn add(&mut self, one: &Selected<'a>) {
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<f64>().ok());
        let Some(measured) = one.availability else { return };
        if let Some(share) = number(measured.replica_weighted.as_ref()) {
            self.measured = self.measured.saturating_add(1);
            self.sum += share;
            self.worst = self.worst.filter(|worst| worst.0 <= share).or(Some((share, one.name)));
        }
        if let Some(left) = number(measured.budget.as_ref()) {
            self.budget = Some(self.budget.map_or(left, |least| least.min(left)));
        }
    }

    fn status(&self) -> Option<FleetAvailability> {
        let (worst, _) = self.worst?;
        Some(FleetAvailability {
            worst: Some(rounded_down(worst, 3)),
            mean: Some(rounded_down(self.sum / f64::from(self.measured), 3)),
            budget: self.budget.map(|left| rounded_down(left, 3)),
        })
    }
}

/// Waiting and writing pass by themselves; anything else is more worth telling.
fn more_telling<'a>(known: Option<Selected<'a>>, new: Selected<'a>) -> Selected<'a> {
    let passes = |one: &Selected<'_>| {
        let reason = one.compliant.map_or("", |(_, reason, _)| reason);
        ["", "Enforcing", "Coalescing", "WaitingForRollout", "WaitingForTurn", "Planned"].contains(&reason)
    };
    known.filter(|known| !passes(known) || passes(&new)).unwrap_or(new)
}

/// The policy goes as soon as nothing holds a value of it.
fn releasing(counts: &WorkloadCounts, example: Option<Selected<'_>>) -> Vec<Verdict> {
    let message = format!("Being deleted: {} to be released first.{}", deployments(counts.governed), told(example));
    let of = |type_, status| Verdict::new(type_, status, "Releasing", message.clone());
    vec![
        of(ConditionType::Accepted, ConditionStatus::True),
        of(ConditionType::Enforced, ConditionStatus::False),
        of(ConditionType::Ready, ConditionStatus::False),
    ]
}

/// The example, as the end of a message.
fn told(example: Option<Selected<'_>>) -> String {
    let of = |one: Selected<'_>| {
        let message = one.compliant.map_or("not looked at yet", |(_, _, message)| message);
        format!(" {}: {message}", one.name)
    };
    example.map(of).unwrap_or_default()
}

fn invalid(error: &str) -> Vec<Verdict> {
    let message =
        format!("The stored policy cannot be understood, and nothing is touched until it is corrected: {error}");
    let of = |type_, status| Verdict::new(type_, status, "PolicyInvalid", message.clone());
    vec![
        of(ConditionType::Accepted, ConditionStatus::False),
        of(ConditionType::Enforced, ConditionStatus::Unknown),
        of(ConditionType::Ready, ConditionStatus::False),
    ]
}

fn valid(
    spec: &HealthPolicySpec,
    ride_along: RideAlong,
    counts: &WorkloadCounts,
    example: Option<Selected<'_>>,
    conflict: Option<Selected<'_>>,
    fleet: &Fleet<'_>,
) -> Vec<Verdict> {
    let conflict = conflict.map(|one| match one.owner {
        Owner::Other(policy) => format!(
            " {} owned by stronger policies, for example {} by {policy}.",
            of_those(counts.conflicting),
            one.name
        ),
        _ => String::new(),
    });
    let conflict = conflict.unwrap_or_default();
    let accepted = Verdict::new(
        ConditionType::Accepted,
        ConditionStatus::True,
        "Accepted",
        format!("The policy is understood.{conflict}"),
    );
    let mut enforced = enforced(spec, counts, example);
    enforced.message.push_str(&conflict);
    // An audit and a suspension do what they say: they are ready as soon as they are understood.
    let is_ready = spec.mode != Mode::Enforce || enforced.status == ConditionStatus::True || counts.matched == 0;
    let ready_status = if is_ready { ConditionStatus::True } else { ConditionStatus::False };
    let ready = Verdict::new(ConditionType::Ready, ready_status, enforced.reason.clone(), enforced.message.clone());
    let mut verdicts = vec![accepted, enforced];
    if spec.rollout.is_some() {
        verdicts.push(gated(spec.mode, counts));
    }
    if let Some(promised) = &spec.availability {
        verdicts.push(measured(promised, counts, fleet));
    }
    if spec.mode == Mode::Enforce {
        verdicts.extend(rides_along(ride_along));
    }
    verdicts.push(ready);
    verdicts
}

fn rides_along(ride_along: RideAlong) -> Option<Verdict> {
    let (reason, sentence) = ride_along.told()?;
    let is_so = match ride_along {
        RideAlong::Installed => ConditionStatus::True,
        RideAlong::Unseen => ConditionStatus::Unknown,
        _ => ConditionStatus::False,
    };
    Some(Verdict::new(ConditionType::RidesAlong, is_so, reason, sentence))
}

fn enforced(spec: &HealthPolicySpec, counts: &WorkloadCounts, example: Option<Selected<'_>>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict::new(ConditionType::Enforced, status, reason, message);
    let told = told(example);
    let of = deployments(counts.governed);
    match spec.mode {
        _ if counts.matched == 0 => {
            let message = "The selector matches no Deployment in this namespace.";
            verdict(ConditionStatus::Unknown, "NothingSelected", message.into())
        }
        Mode::Suspended => verdict(ConditionStatus::False, "Suspended", format!("Suspended: {of} left as they are.")),
        Mode::Audit if counts.drifted == 0 => {
            verdict(ConditionStatus::False, "Audit", format!("Audit only: enforcing would change none of {of}."))
        }
        Mode::Audit => {
            let message = format!("Audit only: {} of {of} would change.{told}", counts.drifted);
            verdict(ConditionStatus::False, "Audit", message)
        }
        Mode::Enforce if counts.governed == 0 && counts.conflicting > 0 => verdict(
            ConditionStatus::False,
            "Conflict",
            "Every selected Deployment is owned by a stronger policy.".into(),
        ),
        Mode::Enforce if counts.governed == 0 => {
            verdict(ConditionStatus::False, "Progressing", "The selected Deployments are being looked at.".into())
        }
        Mode::Enforce if counts.drifted == 0 && counts.matched > counts.governed.saturating_add(counts.conflicting) => {
            let left = counts.matched.saturating_sub(counts.governed).saturating_sub(counts.conflicting);
            let message = format!("{} still to be looked at.", of_those(left));
            verdict(ConditionStatus::False, "Progressing", message)
        }
        Mode::Enforce if counts.drifted == 0 => {
            verdict(ConditionStatus::True, "AllCompliant", format!("All of {of} carry what the policy asks for."))
        }
        Mode::Enforce => {
            let message = format!("{} of {of} carry what the policy asks for.{told}", counts.compliant);
            let reason = example.and_then(|one| one.compliant).map_or("Progressing", |(_, reason, _)| kept(reason));
            verdict(ConditionStatus::False, reason, message)
        }
    }
}

/// A stored reason as one of the fixed set.
fn kept(reason: &str) -> &'static str {
    match reason {
        "Contended" => "Contended",
        "Enforcing" | "Coalescing" | "WaitingForRollout" | "WaitingForTurn" | "Planned" => "Progressing",
        _ => "NotCompliant",
    }
}

fn gated(mode: Mode, counts: &WorkloadCounts) -> Verdict {
    let verdict = |status, reason: &'static str, message: String| {
        Verdict::new(ConditionType::RolloutGated, status, reason, message)
    };
    let count = deployments(counts.governed);
    match mode {
        Mode::Audit => verdict(ConditionStatus::False, "Audit", "Audit only: no rollout is gated.".into()),
        Mode::Suspended => verdict(ConditionStatus::False, "Suspended", "Suspended: no rollout is gated.".into()),
        Mode::Enforce => {
            let (held, not_gated) = (counts.held, counts.not_gated);
            let message = format!("Rollouts of {count} are watched: {held} held or restored, {not_gated} not gated.");
            verdict(ConditionStatus::True, "Gating", message)
        }
    }
}

fn measured(promised: &Availability, counts: &WorkloadCounts, fleet: &Fleet<'_>) -> Verdict {
    let verdict = |status, reason: &'static str, message: String| {
        Verdict::new(ConditionType::AvailabilityMeasured, status, reason, message)
    };
    let of = deployments(counts.governed);
    let promise = format!("{} % over {} d", promised.objective, promised.window_days);
    match fleet.worst {
        None => verdict(ConditionStatus::Unknown, "NotYetMeasured", format!("Nothing is measured yet of {of}.")),
        Some((worst, name)) => {
            let worst = rounded_down(worst, 3);
            let message =
                format!("{} of {of} measured against {promise}; the worst is {name} with {worst} %.", fleet.measured);
            verdict(ConditionStatus::True, "Measuring", message)
        }
    }
}

fn deployments(count: i32) -> String {
    if count == 1 { "1 Deployment".into() } else { format!("{count} Deployments") }
}

fn of_those(count: i32) -> String {
    if count == 1 { "1 selected Deployment is".into() } else { format!("{count} selected Deployments are") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts<'a>(spec: &'a HealthPolicySpec, stored: &'a HealthPolicyStatus) -> PolicyFacts<'a> {
        PolicyFacts {
            now: Timestamp::UNIX_EPOCH,
            generation: 3,
            deleting: false,
            spec: Ok(spec),
            stored,
            ride_along: RideAlong::Off,
            may_ride_along: None,
        }
    }

    fn summary(spec: serde_json::Value, selected: &[Selected<'_>]) -> HealthPolicyStatus {
        let spec: HealthPolicySpec = serde_json::from_value(spec).unwrap();
        let stored = HealthPolicyStatus::default();
        let facts = facts(&spec, &stored);
        summarize(&facts, selected.iter().copied())
    }

    fn one<'a>(name: &'a str, owner: Owner<'a>, compliant: Option<(&'a str, &'a str, &'a str)>) -> Selected<'a> {
        Selected { name, owner, gate: GateState::Stable, compliant, availability: None }
    }

    fn says(status: &HealthPolicyStatus, type_: &str) -> (String, String, String) {
        let found = status.conditions.iter().find(|c| c.type_ == type_).unwrap_or_else(|| panic!("no {type_}"));
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    const FINE: Option<(&str, &str, &str)> = Some(("True", "InSync", "fine"));

    #[test]
    fn the_most_telling_deployment_is_the_example() {
        let waits = Some(("False", "WaitingForTurn", "waits."));
        let fights = Some(("False", "Contended", "helm keeps setting it back."));
        let all = [
            one("a", Owner::This, FINE),
            one("b", Owner::This, waits),
            one("c", Owner::This, fights),
            one("d", Owner::This, waits),
        ];
        let status = summary(json!({"selector": {}, "mode": "Enforce"}), &all);
        let (ready, reason, message) = says(&status, "Ready");
        assert_eq!((ready.as_str(), reason.as_str()), ("False", "Contended"));
        assert_eq!(message, "1 of 4 Deployments carry what the policy asks for. c: helm keeps setting it back.");
        let counts = status.workloads.unwrap();
        assert_eq!((counts.matched, counts.compliant, counts.drifted, counts.contended), (4, 1, 3, 1));
    }

    #[test]
    fn each_mode_and_each_emptiness_has_its_reason() {
        let of = |mode: &str, selected: &[Selected<'_>]| {
            let status = summary(json!({"selector": {}, "mode": mode}), selected);
            (says(&status, "Enforced").1, says(&status, "Ready").0)
        };
        let ready = |reason: &str| (reason.to_owned(), "True".to_owned());
        let not_ready = |reason: &str| (reason.to_owned(), "False".to_owned());
        let [mine, theirs, nobodys] =
            [one("a", Owner::This, FINE), one("b", Owner::Other("gold"), FINE), one("c", Owner::NotYet, None)];
        assert_eq!(of("Enforce", &[]), ready("NothingSelected"));
        assert_eq!(of("Enforce", &[mine]), ready("AllCompliant"));
        assert_eq!(of("Enforce", &[theirs]), not_ready("Conflict"));
        assert_eq!(of("Enforce", &[nobodys]), not_ready("Progressing"));
        assert_eq!(of("Audit", &[mine]), ready("Audit"));
        assert_eq!(of("Suspended", &[mine]), ready("Suspended"));
    }

    #[test]
    fn a_fleet_is_as_good_as_its_worst_and_its_mean() {
        let of = |share: &str, left: &str| AvailabilityStatus {
            replica_weighted: Some(share.into()),
            budget: Some(left.into()),
            ..AvailabilityStatus::default()
        };
        let (good, bad) = (of("100", "100"), of("98.5", "-40"));
        let spec = json!({"selector": {}, "mode": "Enforce", "rollout": {}, "availability": {"objective": "99.9"}});
        let with = |name, availability| Selected { availability, ..one(name, Owner::This, FINE) };
        let status = summary(spec.clone(), &[with("a", Some(&good)), with("b", Some(&bad)), with("c", None)]);
        let fleet = status.availability.clone().unwrap();
        assert_eq!(
            (fleet.worst.as_deref(), fleet.mean.as_deref(), fleet.budget.as_deref()),
            (Some("98.5"), Some("99.25"), Some("-40"))
        );
        let (is, reason, message) = says(&status, "AvailabilityMeasured");
        assert_eq!((is.as_str(), reason.as_str()), ("True", "Measuring"));
        assert_eq!(message, "2 of 3 Deployments measured against 99.9 % over 30 d; the worst is b with 98.5 %.");
        let status = summary(spec, &[with("c", None)]);
        assert_eq!(says(&status, "AvailabilityMeasured").1, "NotYetMeasured");
        assert_eq!(says(&status, "RolloutGated").1, "Gating");
        assert_eq!(status.availability, None);
    }

    #[test]
    fn whether_it_rides_along_is_said_of_what_is_enforced() {
        let of = |mode: &str, ride_along| {
            let spec: HealthPolicySpec = serde_json::from_value(json!({"selector": {}, "mode": mode})).unwrap();
            let stored = HealthPolicyStatus::default();
            let status = summarize(&PolicyFacts { ride_along, ..facts(&spec, &stored) }, std::iter::empty());
            let found = status.conditions.iter().find(|c| c.type_ == "RidesAlong");
            found.map(|c| format!("{} {}", c.status, c.reason))
        };
        assert_eq!(of("Enforce", RideAlong::Off), None);
        assert_eq!(of("Audit", RideAlong::Installed), None);
        assert_eq!(of("Enforce", RideAlong::Installed).as_deref(), Some("True Installed"));
        assert_eq!(of("Enforce", RideAlong::NotServed).as_deref(), Some("False NotServed"));
        assert_eq!(of("Enforce", RideAlong::NotInstalled).as_deref(), Some("False NotInstalled"));
        assert_eq!(of("Enforce", RideAlong::Exempt).as_deref(), Some("False Exempt"));
        assert_eq!(of("Enforce", RideAlong::Unseen).as_deref(), Some("Unknown Unseen"));
    }

    #[test]
    fn a_summary_that_says_the_same_is_equal() {
        let spec: HealthPolicySpec = serde_json::from_value(json!({"selector": {}, "mode": "Enforce"})).unwrap();
        let stored = HealthPolicyStatus::default();
        let facts = facts(&spec, &stored);
        let first = summarize(&facts, [one("a", Owner::This, FINE)].into_iter());
        let later = Timestamp::from_second(1000).unwrap();
        let second = PolicyFacts { now: later, stored: &first, ..facts };
        assert_eq!(summarize(&second, [one("a", Owner::This, FINE)].into_iter()), first);
    }
}
