//! `gracekeeper approve|retry|skip|hold|resume`: asks the rollout gate for something, and follows it if told to.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::connection::{Connection, Kind, Where, block_on};
use crate::api::gate::{GateState, GateStatus};
use crate::api::workload_health::{Action, WorkloadHealthStatus};
use crate::controller::clock;

/// How often the gate is looked at while it is followed.
const PERIOD: Duration = Duration::from_millis(250);

/// Arguments of the commands that ask for something.
#[derive(Args, Clone, Debug)]
pub struct RequestArgs {
    /// Which Deployment.
    #[command(flatten)]
    pub place: Where,
    /// Follow the gate until it settles; exit with 0 only when that went well.
    #[arg(long)]
    pub wait: bool,
    /// How long --wait follows it, in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

/// The command: exit code out.
pub fn main(action: Action, args: &RequestArgs) -> ExitCode {
    match block_on(ask(action, args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Asks, and says whether it ended well as far as it was followed.
async fn ask(action: Action, args: &RequestArgs) -> anyhow::Result<bool> {
    let cluster = Connection::open(args.place.context.as_deref(), args.place.namespace.as_deref()).await?;
    let name = &args.place.workload.0;
    let status = read(&cluster, name).await?;
    let hash = status.template.as_ref().map(|template| template.hash.clone()).filter(|hash| !hash.is_empty());
    let Some(hash) = hash else {
        anyhow::bail!(
            "deploy/{name} has no template hash yet: the operator has not looked at it; try again in a moment"
        )
    };
    let id = new_id();
    let request = json!({"spec": {"request": {"action": action, "templateHash": hash, "id": id}}});
    cluster.merge(Kind::WorkloadHealth, name, &request).await?;
    line(&format!("{} of deploy/{name} in namespace {} (template {hash}).", words(action), cluster.namespace))?;
    let gate = status.gate.unwrap_or_default();
    if let Some(note) = in_vain(action, &gate) {
        let _ = writeln!(anstream::stderr(), "note: {note}");
    }
    if !args.wait {
        return Ok(true);
    }
    let deadline = Duration::from_secs(args.timeout);
    follow(&cluster, name, &Asked { action, hash, id }, deadline).await
}

struct Asked {
    action: Action,
    hash: String,
    id: String,
}

async fn read(cluster: &Connection, name: &str) -> anyhow::Result<WorkloadHealthStatus> {
    let Some(health) = cluster.get(Kind::WorkloadHealth, name).await? else {
        anyhow::bail!(
            "deploy/{name} in namespace {} is not governed: it has no WorkloadHealth, so no HealthPolicy selects it or \
             the operator does not run",
            cluster.namespace
        )
    };
    Ok(serde_json::from_value(health.get("status").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())))?)
}

/// Prints each transition once, until the gate settles.
async fn follow(cluster: &Connection, name: &str, asked: &Asked, limit: Duration) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut last = String::new();
    loop {
        let status = read(cluster, name).await?;
        let gate = status.gate.unwrap_or_default();
        let is_taken_up = gate.applied_requests.contains(&asked.id);
        if is_taken_up {
            let told = transition(&gate);
            if told != last {
                clear_progress()?;
                line(&told)?;
                last = told;
            }
        }
        let is_other = status.template.is_some_and(|template| template.hash != asked.hash);
        if is_other && !is_taken_up {
            clear_progress()?;
            anyhow::bail!("the template changed meanwhile: a request speaks of one template only; ask again");
        }
        if is_taken_up && let Some(went_well) = settled(asked.action, &gate) {
            clear_progress()?;
            return Ok(went_well);
        }
        if begun.elapsed() >= limit {
            clear_progress()?;
            let seconds = limit.as_secs();
            if is_taken_up {
                anyhow::bail!("not settled within {seconds} s: the gate is {:?} ({})", gate.state, gate.reason);
            }
            anyhow::bail!("the operator did not take up the request within {seconds} s: does it run?");
        }
        progress(&gate, is_taken_up, begun.elapsed())?;
        sleep(PERIOD).await;
    }
}

/// Whether the gate has come to rest after the request, and whether that is what was asked for.
fn settled(action: Action, gate: &GateStatus) -> Option<bool> {
    match gate.state {
        GateState::Stable => Some(action != Action::Hold),
        GateState::Held => Some(action == Action::Hold),
        // A version that is let pass still has to come in.
        GateState::NotGated if gate.reason == "Overridden" => None,
        GateState::Restored | GateState::Reverted | GateState::NotGated | GateState::AwaitingApproval => Some(false),
        GateState::Rolling | GateState::Baking | GateState::Restoring => None,
    }
}

/// Why the request will change nothing, when that can be seen already.
fn in_vain(action: Action, gate: &GateStatus) -> Option<String> {
    use GateState::{AwaitingApproval, Baking, Held, Restored, Restoring, Rolling, Stable};
    let fitting: &[GateState] = match action {
        Action::Approve => &[AwaitingApproval],
        Action::Retry => &[Held, Restoring, Restored],
        Action::Hold => &[Stable, Rolling, Baking, AwaitingApproval],
        Action::Resume => &[Held, Restoring, Restored, Baking, AwaitingApproval],
        Action::Skip => &[Rolling, Baking, AwaitingApproval],
    };
    if fitting.contains(&gate.state) {
        return None;
    }
    let states: Vec<String> = fitting.iter().map(|state| format!("{state:?}")).collect();
    let reason = if gate.reason.is_empty() { String::new() } else { format!(" ({})", gate.reason) };
    Some(format!(
        "the gate is {:?}{reason}; {action:?} does something only while it is {}",
        gate.state,
        states.join(" or ")
    ))
}

fn words(action: Action) -> &'static str {
    match action {
        Action::Approve => "Asked to approve the step that waits",
        Action::Retry => "Asked to try again the present version",
        Action::Hold => "Asked to hold the present version",
        Action::Resume => "Asked to resume the rollout",
        Action::Skip => "Asked to skip the steps left",
    }
}

fn transition(gate: &GateStatus) -> String {
    let since = gate.since.as_ref().map(|since| format!("{}  ", since.0)).unwrap_or_default();
    let message: String = gate.message.chars().filter(|c| !c.is_control()).collect();
    format!("{since}{:?} ({}): {message}", gate.state, gate.reason)
}

fn line(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// On a terminal: one line that is written anew.
fn progress(gate: &GateStatus, is_taken_up: bool, elapsed: Duration) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        let doing = if is_taken_up { format!("{:?}", gate.state) } else { "waiting for the operator".into() };
        write!(out, "\r\x1b[K... {doing}, {} s", elapsed.as_secs())?;
        out.flush()?;
    }
    Ok(())
}

fn clear_progress() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        write!(out, "\r\x1b[K")?;
    }
    Ok(())
}

/// Two requests of one person are microseconds apart, two of one moment have two processes.
fn new_id() -> String {
    format!("cli-{:x}-{:x}", clock::now_precise().as_microsecond(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(state: GateState, reason: &str) -> GateStatus {
        GateStatus { state, reason: reason.into(), ..GateStatus::default() }
    }

    #[test]
    fn a_request_has_ended_where_the_gate_rests() {
        use GateState::{AwaitingApproval, Baking, Held, NotGated, Restored, Restoring, Reverted, Rolling, Stable};
        for (action, state, reason, want) in [
            (Action::Hold, Held, "ByRequest", Some(true)),
            (Action::Hold, Stable, "Proven", Some(false)),
            (Action::Retry, Rolling, "Retried", None),
            (Action::Retry, Restoring, "Restoring", None),
            (Action::Retry, Restored, "Restored", Some(false)),
            (Action::Retry, Held, "Failing", Some(false)),
            (Action::Retry, Reverted, "Reverted", Some(false)),
            (Action::Approve, Baking, "Step", None),
            (Action::Approve, AwaitingApproval, "Approval", Some(false)),
            (Action::Approve, Stable, "Proven", Some(true)),
            (Action::Resume, NotGated, "Overridden", None),
            (Action::Resume, NotGated, "Audit", Some(false)),
        ] {
            assert_eq!(settled(action, &gate(state, reason)), want, "{action:?} {state:?} {reason}");
        }
    }

    #[test]
    fn a_request_in_vain_is_told_at_once() {
        let note = in_vain(Action::Approve, &gate(GateState::Stable, "Proven")).unwrap();
        assert_eq!(note, "the gate is Stable (Proven); Approve does something only while it is AwaitingApproval");
        assert_eq!(in_vain(Action::Hold, &gate(GateState::Rolling, "Rolling")), None);
    }

    #[test]
    fn an_id_fits_the_schema() {
        assert!(new_id().len() <= 64);
    }
}
