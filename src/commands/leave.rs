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
/// After so long without news it is asked why.
const STANDSTILL: Duration = Duration::from_secs(10);
/// Namespaces that are looked at then, at most.
const LOOKED_AT: usize = 100;
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
    // Any connection reaches every namespace; there is at least one, or there were no policies.
    let Some((cluster, _)) = scopes.first() else { return Ok(()) };
    for (namespace, name) in &policies {
        cluster.delete_in(namespace, Kind::HealthPolicy, name).await?;
    }
    say(&format!("Deleted {}; the operator now gives back what it wrote.", policies_of(policies.len())))?;

    let begun = Instant::now();
    let limit = Duration::from_secs(args.timeout);
    let (mut left_before, mut moved) = (usize::MAX, begun);
    loop {
        let policies = names(&scopes, Kind::HealthPolicy).await?;
        // A WorkloadHealth goes last: when its Deployment is no longer held and has everything back.
        let workloads = names(&scopes, Kind::WorkloadHealth).await?;
        if policies.is_empty() && workloads.is_empty() {
            return say("Every Deployment has been let go.");
        }
        let is_over = begun.elapsed() >= limit;
        if is_over || moved.elapsed() >= STANDSTILL {
            moved = Instant::now();
            let gone = missing_namespaces(cluster, policies.union(&workloads)).await?;
            let split = |all: &Names| -> (Names, Names) { all.iter().cloned().partition(|at| gone.contains(&at.0)) };
            let ((orphans, policies), (lost, workloads)) = (split(&policies), split(&workloads));
            if is_over || policies.is_empty() && workloads.is_empty() {
                anyhow::bail!(stranded(begun.elapsed(), &policies, &workloads, &orphans, &lost));
            }
        }
        let left = policies.len() + workloads.len();
        if left < left_before {
            let workloads = deployments_of(workloads.len());
            say(&format!("Waiting for {} and {workloads}.", policies_of(policies.len())))?;
            (left_before, moved) = (left, Instant::now());
        }
        sleep(PERIOD).await;
    }
}

/// Why this ends without having let go of everything: what nobody answers for, and what nobody can release.
fn stranded(after: Duration, policies: &Names, workloads: &Names, orphans: &Names, lost: &Names) -> String {
    let mut sentences = Vec::new();
    if !policies.is_empty() || !workloads.is_empty() {
        sentences.push(format!(
            "After {} s these are not let go: {}. Is the operator running, with a leader? Its log and `kubectl get workloadhealths \
             -A` say what each Deployment waits for",
            after.as_secs(),
            listing(policies, workloads)
        ));
    }
    if let Some((namespace, _)) = orphans.union(lost).next() {
        sentences.push(format!(
            "Without their namespaces nobody can release these: {}. Create them again (`kubectl create namespace {namespace}`), \
             and leave once more while the operator runs; then delete them",
            listing(orphans, lost)
        ));
    }
    sentences.push("Nothing was forced; the finalizers are in place".into());
    sentences.join(". ")
}

/// Which of their namespaces do not exist, of as many as are looked at. Kubernetes may lose a namespace before its content:
/// when it goes in the moment after a start of the API server, which does not serve the kinds of CRDs yet, or by force.
async fn missing_namespaces(
    cluster: &Connection,
    all: impl Iterator<Item = &(String, String)>,
) -> anyhow::Result<BTreeSet<String>> {
    let mut missing = BTreeSet::new();
    for namespace in all.map(|(namespace, _)| namespace).collect::<BTreeSet<_>>().into_iter().take(LOOKED_AT) {
        if !cluster.has_namespace(namespace).await? {
            missing.insert(namespace.clone());
        }
    }
    Ok(missing)
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
    fn what_nobody_answers_for_and_what_nobody_can_release_are_told_apart() {
        let web = Names::from([("shop".to_owned(), "web".to_owned())]);
        let none = Names::new();
        let said = |policies, orphans| stranded(Duration::from_secs(9), policies, &none, orphans, &none);
        assert!(
            said(&web, &none).starts_with("After 9 s these are not let go: HealthPolicy shop/web. Is the operator")
        );
        let orphan = said(&none, &web);
        assert!(
            orphan.starts_with("Without their namespaces nobody can release these: HealthPolicy shop/web. "),
            "{orphan}"
        );
        assert!(orphan.contains("`kubectl create namespace shop`") && !orphan.contains("operator running"), "{orphan}");
        assert!(said(&web, &web).contains("each Deployment waits for. Without their namespaces"));
    }

    #[test]
    fn numbers_agree_with_their_words() {
        assert_eq!(policies_of(1), "1 HealthPolicy");
        assert_eq!(policies_of(2), "2 HealthPolicies");
        assert_eq!(deployments_of(0), "0 Deployments");
    }
}
