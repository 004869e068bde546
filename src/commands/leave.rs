//! `gracekeeper leave`: deletes the policies and waits until the operator has let go of every Deployment. The chart runs it
//! before an uninstall, while there still is an operator to answer the finalizers. It forces nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::connection::{Connection, Kind, Selection, block_on};
use super::style::counted;

/// How often is looked whether all is done.
const PERIOD: Duration = Duration::from_millis(500);
/// Names in a sentence; the rest is counted.
const NAMED: usize = 5;

/// Arguments of `gracekeeper leave`.
#[derive(Args, Clone, Debug)]
pub struct LeaveArgs {
    /// Namespaces to leave, separated by commas; all by default.
    #[arg(long, env = "GRACEKEEPER_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// How long to wait for the operator, in seconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Context of the kubeconfig; the current one by default, or the pod's own cluster.
    #[arg(long)]
    pub context: Option<String>,
}

/// The command.
pub fn run(args: &LeaveArgs) -> anyhow::Result<()> {
    block_on(leave(args))
}

type Names = BTreeSet<(String, String)>;

async fn leave(args: &LeaveArgs) -> anyhow::Result<()> {
    let mut scopes = Vec::new();
    if args.namespaces.is_empty() {
        scopes.push((Connection::open(args.context.as_deref(), None).await?, true));
    }
    for namespace in &args.namespaces {
        scopes.push((Connection::open(args.context.as_deref(), Some(namespace)).await?, false));
    }
    for (cluster, _) in &scopes {
        if !cluster.serves(Kind::HealthPolicy).await? {
            return say("The cluster knows no HealthPolicies: nothing is governed.");
        }
    }
    let policies = names(&scopes, Kind::HealthPolicy).await?;
    if policies.is_empty() && names(&scopes, Kind::WorkloadHealth).await?.is_empty() {
        return say("There is no HealthPolicy: nothing is governed.");
    }
    let mut orphans = Names::new();
    for (namespace, name) in &policies {
        // Any connection reaches every namespace; there is at least one, or there were no policies.
        if let Some((cluster, _)) = scopes.first()
            && !cluster.delete_in(namespace, Kind::HealthPolicy, name).await?
        {
            orphans.insert((namespace.clone(), name.clone()));
        }
    }
    let deleted = policies.len() - orphans.len();
    say(&format!("Deleted {}; the operator now gives back what it wrote.", policies_of(deleted)))?;
    if !orphans.is_empty() {
        let listing = listing(&orphans, &Names::new());
        say(&format!("Not waited for, as its namespace does not exist and so nothing of it is governed: {listing}."))?;
    }
    let exists = |(namespace, _): &(String, String)| orphans.iter().all(|(gone, _)| gone != namespace);

    let begun = Instant::now();
    let limit = Duration::from_secs(args.timeout);
    let mut left_before = usize::MAX;
    loop {
        let mut policies = names(&scopes, Kind::HealthPolicy).await?;
        // A WorkloadHealth goes last: when its Deployment is no longer held and has everything back.
        let mut workloads = names(&scopes, Kind::WorkloadHealth).await?;
        policies.retain(exists);
        workloads.retain(exists);
        if policies.is_empty() && workloads.is_empty() {
            return say("Every Deployment has been let go.");
        }
        if begun.elapsed() >= limit {
            anyhow::bail!(
                "after {} s these are not let go: {}. Is the operator running, with a leader? Its log and `kubectl get \
                 workloadhealths -A` say what each Deployment waits for. Nothing was forced; the finalizers are in place",
                limit.as_secs(),
                listing(&policies, &workloads)
            );
        }
        let left = policies.len() + workloads.len();
        if left < left_before {
            let workloads = deployments_of(workloads.len());
            say(&format!("Waiting for {} and {workloads}.", policies_of(policies.len())))?;
            left_before = left;
        }
        sleep(PERIOD).await;
    }
}

async fn names(scopes: &[(Connection, bool)], kind: Kind) -> anyhow::Result<Names> {
    let mut all = Names::new();
    for (cluster, everywhere) in scopes {
        let selection = Selection { everywhere: *everywhere, ..Selection::default() };
        all.extend(cluster.names(kind, &selection).await?);
    }
    Ok(all)
}

fn policies_of(number: usize) -> String {
    counted(number, "HealthPolicy", "HealthPolicies")
}

fn deployments_of(number: usize) -> String {
    counted(number, "Deployment", "Deployments")
}

fn listing(policies: &Names, workloads: &Names) -> String {
    let name = |kind: &str, (namespace, name): &(String, String)| format!("{kind} {namespace}/{name}");
    let all = policies.iter().map(|at| name("HealthPolicy", at));
    let all: Vec<String> = all.chain(workloads.iter().map(|at| name("Deployment", at))).collect();
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_let_go_is_named_up_to_a_few() {
        let at = |n: usize| ("shop".to_owned(), format!("web-{n}"));
        let few = listing(&Names::from([at(1)]), &Names::from([at(2)]));
        assert_eq!(few, "HealthPolicy shop/web-1, Deployment shop/web-2");
        let many = listing(&Names::new(), &(1..=8).map(at).collect());
        assert!(many.ends_with("Deployment shop/web-5 and 3 more"), "{many}");
    }

    #[test]
    fn numbers_agree_with_their_words() {
        assert_eq!(policies_of(1), "1 HealthPolicy");
        assert_eq!(policies_of(2), "2 HealthPolicies");
        assert_eq!(deployments_of(0), "0 Deployments");
    }
}
