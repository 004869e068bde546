//! A plan in the making: settles one field after the other and keeps the books.

use serde_json::Value;

use super::field::Field;
use super::findings::{self, Finding, Reason};
use super::ledger::{self, Ledger, Owner};
use super::settle::{self, Settled, Slot, Want, Write};
use super::targets::Targets;
use super::workload::Workload;
use super::{Change, Plan, Span, describe, normal, shutdown, unsupported, wants};
use crate::api::HealthPolicySpec;
use crate::api::workload_health::HeldField;
use crate::core::managers;

/// What a field will be.
pub(super) enum After {
    /// What it is.
    AsIs,
    /// This, or absent.
    Becomes(Option<Value>),
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) ledger: Ledger<'a>,
    pub(super) plan: Plan,
    /// The marker lists a value that is there and not ours.
    pub(super) stale_marker: bool,
    /// Values that the API server was seen not to store.
    unsupported: &'a [HeldField],
    /// Entries of fields that somebody else took over in part: the rest is ours still, and the whole is again once they
    /// let go. They stay in the ledger and are not in the marker.
    pub(super) ceded: Vec<HeldField>,
    rides_along: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(ledger: Ledger<'a>, unsupported: &'a [HeldField], rides_along: bool) -> Self {
        Self { ledger, plan: Plan::default(), stale_marker: false, unsupported, ceded: Vec::new(), rides_along }
    }

    /// Settles the probes and hooks of all containers.
    pub(super) fn containers(
        &mut self,
        policy: Option<&HealthPolicySpec>,
        targets: &Targets<'_>,
        workload: &mut Workload<'_>,
    ) {
        let declared_grace = shutdown::declared(policy, workload, self);
        for container in &mut workload.containers {
            let target = targets.of(container.name);
            // A hook cannot be written into a lifecycle that is not a map.
            let lifecycle = container.lifecycle();
            let writable = lifecycle.is_none_or(Value::is_object);
            for field in Field::OF_CONTAINER {
                if field == Field::PreStop && !writable {
                    continue;
                }
                let mut want = policy.map_or(Want::Nothing, |policy| {
                    wants::of(policy, target, container, field, &mut self.plan.findings)
                });
                let current = container.current(field);
                let claimed = managers::is_claimed(workload.root, container.name, field.path());
                let owner = self.ledger.owner((container.name, field), current, claimed);
                // A hook of the workload that is kept anyway needs no room for ours.
                let kept = owner == Owner::Foreign && matches!(want, Want::Fill(_));
                if field == Field::PreStop && !kept {
                    want = self.fit_sleep(want, container.name, declared_grace.as_ref());
                }
                if owner == Owner::Foreign {
                    let partly_ours = managers::is_partly_ours(workload.root, container.name, field.path());
                    self.ceded.extend(self.ledger.first((container.name, field)).filter(|_| partly_ours).cloned());
                    want = self.spare_long_original(want, container.name, field, current);
                }
                if want == Want::Nothing && !matches!(owner, Owner::Ours { .. }) {
                    self.note_marker(container.name, field, &owner, false);
                    continue;
                }
                let kept_in =
                    if let Want::Fill(value) | Want::Replace(value) = &want { Some(value.clone()) } else { None };
                let absence = (field == Field::PreStop && lifecycle.is_some()).then_some(Value::Null);
                let settled = settle::settle(Slot { field, current, absence, owner: owner.clone() }, want);
                if let Some((value, Some(original))) = &settled.held
                    && let Some((own, ours)) = handlers_differ(original, value)
                {
                    let message = format!(
                        "{field} of the workload has a handler of type {own} and the policy replaces it by {ours}: \
                         the next apply of the workload's manifest may be refused."
                    );
                    self.plan.findings.push(Finding::new(Reason::HandlerConflict, container.name, message));
                }
                if let (true, Some(wanted)) = (settled.kept, &kept_in) {
                    // What stays may also be an original that is given back.
                    let own = match &settled.write {
                        Write::Value(value) => Some(value),
                        _ => current,
                    };
                    let [own, wanted] = [own, Some(wanted)].map(|value| describe::describe(field, value));
                    self.plan.findings.push(findings::kept_existing(container.name, field, &own, &wanted));
                }
                self.note_marker(container.name, field, &owner, settled.held.is_some());
                let alone =
                    lifecycle.and_then(Value::as_object).is_none_or(|hooks| hooks.keys().all(|key| key == "preStop"));
                let span = match (&settled.write, field) {
                    (Write::Value(_), Field::PreStop) if lifecycle.is_none() => Span::WithParent,
                    (Write::Removal { keep_parent: false }, Field::PreStop) if alone => Span::WithParent,
                    _ => Span::Field,
                };
                let path = format!("{}{}", container.path(), field.path());
                let name = container.name;
                if let After::Becomes(after) = self.record((name, field), path, current, settled, span) {
                    container.set_after(field, after);
                }
            }
        }
    }

    /// The API server refuses a sleep that is longer than the grace period, and a declared grace period stays.
    fn fit_sleep(&mut self, want: Want, container: &str, declared_grace: Option<&(i64, String)>) -> Want {
        let (Want::Fill(hook) | Want::Replace(hook), Some((grace, declarer))) = (&want, declared_grace) else {
            return want;
        };
        let sleep = hook.pointer("/sleep/seconds").and_then(Value::as_i64).unwrap_or(0);
        if sleep <= *grace {
            return want;
        }
        let message = format!(
            "A preStop sleep of {sleep} seconds does not fit into terminationGracePeriodSeconds, \
             which is declared as {grace} by {declarer}; it is not written."
        );
        self.plan.findings.push(Finding::new(Reason::DrainDoesNotFit, container, message));
        Want::Nothing
    }

    /// Settles a number of the pod or the Deployment; returns what it will be.
    pub(super) fn number(&mut self, field: Field, current: Option<&Value>, settled: Settled, owner: &Owner) -> After {
        self.note_marker("", field, owner, settled.held.is_some());
        self.record(("", field), field.path().into(), current, settled, Span::Field)
    }

    pub(super) fn owner(&self, field: Field, current: Option<&Value>) -> Owner {
        self.ledger.owner(("", field), current, true)
    }

    /// The same where the policy needs this number, and may have brought it in somebody else's write.
    pub(super) fn owner_of_needed(&self, field: Field, current: Option<&Value>, need: Option<i64>) -> Owner {
        let owner = self.owner(field, current);
        let is_needed = self.rides_along && need.is_some() && current.and_then(Value::as_i64) == need;
        if is_needed { self.ledger.owner_of_needed(("", field), owner) } else { owner }
    }

    fn note_marker(&mut self, container: &str, field: Field, owner: &Owner, held: bool) {
        if *owner == Owner::Foreign && !held && self.ledger.is_marked((container, field)) {
            self.stale_marker = true;
        }
    }

    /// Notes the change and the ledger entry.
    fn record(
        &mut self,
        (container, field): ledger::Key<'_>,
        path: String,
        current: Option<&Value>,
        settled: Settled,
        span: Span,
    ) -> After {
        if let Write::Value(value) = &settled.write
            && unsupported::lists(self.unsupported, (container, field), value)
        {
            self.plan.held.extend(self.ledger.entry((container, field), current).cloned());
            self.plan.findings.push(unsupported::finding(container, field, value));
            return After::AsIs;
        }
        if let Some((value, original)) = settled.held {
            self.plan.held.push(HeldField {
                container: container.into(),
                field: field.as_str().into(),
                value: ledger::record(field, &value),
                original: original.as_ref().and_then(ledger::remember),
            });
        }
        let to = match settled.write {
            Write::Nothing => return After::AsIs,
            Write::Value(value) => Some(value),
            Write::Removal { .. } => None,
        };
        let from = current.cloned();
        self.plan.changes.push(Change { container: container.into(), field, path, from, to: to.clone(), span });
        After::Becomes(to)
    }

    /// An original that could not be given back is not replaced.
    fn spare_long_original(&mut self, want: Want, container: &str, field: Field, current: Option<&Value>) -> Want {
        let Want::Replace(value) = want else { return want };
        if current.is_none_or(|own| normal::equal(field, Some(own), Some(&value)) || ledger::remember(own).is_some()) {
            return Want::Replace(value);
        }
        let message = format!("{field} of the workload is too long to be remembered, so it is not replaced.");
        self.plan.findings.push(Finding::new(Reason::OriginalTooLong, container, message));
        Want::Nothing
    }
}

/// Types of the handlers of two probes or hooks, when they are not the same.
fn handlers_differ(one: &Value, two: &Value) -> Option<(&'static str, &'static str)> {
    let handler = |value: &Value| {
        ["exec", "httpGet", "tcpSocket", "grpc", "sleep"].into_iter().find(|name| value.get(name).is_some())
    };
    let (one, two) = (handler(one)?, handler(two)?);
    (one != two).then_some((one, two))
}
