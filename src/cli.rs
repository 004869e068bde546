//! What can be typed. Everything is checked here or turned into checked settings; nothing is done here.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::api::workload_health::Action;
use crate::commands::leave::LeaveArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::report::ReportArgs;
use crate::commands::request::RequestArgs;
use crate::commands::rules::RulesArgs;
use crate::commands::status::StatusArgs;
use crate::controller::Settings;
use crate::core::lease::Timing;

/// Keeps probes, preStop hooks and grace periods right on plain Kubernetes Deployments.
#[derive(Debug, Parser)]
#[command(name = "gracekeeper", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show offline what policies would change in Deployments.
    Plan(PlanArgs),
    /// Show a Deployment's rollout: gate, revisions, pods, evidence, and what happens next.
    Status(StatusArgs),
    /// Let the step that waits for approval pass.
    Approve(RequestArgs),
    /// Try a held or restored version again.
    Retry(RequestArgs),
    /// Skip the steps that are left.
    Skip(RequestArgs),
    /// Pause the rollout.
    Hold(RequestArgs),
    /// End a hold; a version that was stopped for its evidence is let pass.
    Resume(RequestArgs),
    /// Show the availability of each workload over its window.
    Report(Box<ReportArgs>),
    /// Delete the policies and wait until every Deployment has been let go, before an uninstall.
    Leave(LeaveArgs),
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print recording and alerting rules for Prometheus.
    Rules(RulesArgs),
    /// Print a shell completion script.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

impl Cli {
    /// Reads the command line; as a plugin of kubectl, help speaks of `kubectl gracekeeper`.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let program = arguments.first().and_then(|path| Path::new(path).file_stem());
        let mut command = Self::command();
        if program.is_some_and(|name| name == "kubectl-gracekeeper") {
            command = command.bin_name("kubectl gracekeeper");
        }
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }
}

impl Command {
    /// What a command for people asks of the rollout gate.
    pub fn asks(&self) -> Option<(Action, &RequestArgs)> {
        match self {
            Self::Approve(args) => Some((Action::Approve, args)),
            Self::Retry(args) => Some((Action::Retry, args)),
            Self::Skip(args) => Some((Action::Skip, args)),
            Self::Hold(args) => Some((Action::Hold, args)),
            Self::Resume(args) => Some((Action::Resume, args)),
            _ => None,
        }
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Which Lease is the operator's.
#[derive(Args, Clone, Debug)]
pub struct LeaseArgs {
    /// Namespace of the lease.
    #[arg(long, env = "GRACEKEEPER_LEASE_NAMESPACE", default_value = "gracekeeper-system")]
    pub lease_namespace: String,
    /// Name of the lease.
    #[arg(long, env = "GRACEKEEPER_LEASE_NAME", default_value = "gracekeeper")]
    pub lease_name: String,
}

/// Flags of `gracekeeper run`; each has an environment twin.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespaces to act in, separated by commas; all by default.
    #[arg(long, env = "GRACEKEEPER_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "GRACEKEEPER_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Format of log lines.
    #[arg(long, env = "GRACEKEEPER_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Log level, or directives such as "info,gracekeeper=debug".
    #[arg(long, env = "GRACEKEEPER_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Where the lease is.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// How long others wait for a silent leader, in seconds.
    #[arg(long, env = "GRACEKEEPER_LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    pub lease_duration_seconds: u64,
    /// How long after its last renewal a leader may still write, in seconds.
    #[arg(long, env = "GRACEKEEPER_RENEW_DEADLINE_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=299))]
    pub renew_deadline_seconds: u64,
    /// Time between two tries to hold the lease, in seconds.
    #[arg(long, env = "GRACEKEEPER_RETRY_PERIOD_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub retry_period_seconds: u64,
    /// Who this replica is; the pod's name inside a cluster.
    #[arg(long, env = "POD_NAME", default_value_t = default_identity())]
    pub identity: String,
    /// Deployments that are looked at at the same time.
    #[arg(long, env = "GRACEKEEPER_MAX_CONCURRENT_RECONCILES", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_concurrent_reconciles: u16,
    /// Deployments whose pods may be restarting at the same time because of a policy.
    #[arg(long, env = "GRACEKEEPER_MAX_CONCURRENT_ENFORCEMENTS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_concurrent_enforcements: u16,
    /// How long edits of a policy are collected before they are acted on, in seconds.
    #[arg(long, env = "GRACEKEEPER_COALESCE_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=300))]
    pub coalesce_seconds: u64,
    /// Name of the chart's MutatingAdmissionPolicy, and of its binding, by which policies ride along in the users' own writes; each
    /// policy then says whether it does.
    #[arg(long, env = "GRACEKEEPER_RIDE_ALONG_POLICY", value_name = "NAME", default_value = "")]
    pub ride_along_policy: String,
    /// Deadline of every call to the API server, in seconds.
    #[arg(long, env = "GRACEKEEPER_CALL_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub call_timeout_seconds: u64,
}

impl RunArgs {
    /// Checked settings, or a sentence that says what does not fit.
    pub fn settings(&self) -> Result<Settings, String> {
        let (lease, deadline, retry) =
            (self.lease_duration_seconds, self.renew_deadline_seconds, self.retry_period_seconds);
        if !(lease > deadline && deadline > retry) {
            return Err(format!(
                "--lease-duration-seconds ({lease}) must be greater than --renew-deadline-seconds ({deadline}), \
                 and that greater than --retry-period-seconds ({retry})"
            ));
        }
        if let Some(name) = self.namespaces.iter().find(|name| !name.is_empty() && !is_dns_label(name)) {
            return Err(format!("--namespaces: {name:?} cannot be the name of a namespace"));
        }
        if !self.ride_along_policy.is_empty() && !self.ride_along_policy.split('.').all(is_dns_label) {
            return Err(format!("--ride-along-policy: {:?} cannot be the name of an object", self.ride_along_policy));
        }
        Ok(Settings {
            namespaces: self.namespaces.iter().filter(|n| !n.is_empty()).cloned().collect(),
            listen: self.listen,
            lease_namespace: self.lease.lease_namespace.clone(),
            lease_name: self.lease.lease_name.clone(),
            identity: format!("{}_{}", self.identity, unique()),
            timing: Timing {
                lease: Duration::from_secs(lease),
                renew_deadline: Duration::from_secs(deadline),
                retry: Duration::from_secs(retry),
            },
            max_concurrent_reconciles: self.max_concurrent_reconciles.into(),
            max_concurrent_enforcements: self.max_concurrent_enforcements.into(),
            coalesce: Duration::from_secs(self.coalesce_seconds),
            ride_along_policy: Some(self.ride_along_policy.clone()).filter(|name| !name.is_empty()),
            call_timeout: Duration::from_secs(self.call_timeout_seconds),
        })
    }
}

fn is_dns_label(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Eight hex digits that no other process has: two that were given the same name must not both hold the lease.
fn unique() -> String {
    format!("{:08x}", RandomState::new().hash_one(std::process::id()) & 0xffff_ffff)
}

/// Outside a cluster: the process id tells two operators on one machine apart.
fn default_identity() -> String {
    format!("gracekeeper-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let parse = |flags: &[&str]| {
            let args = [&["gracekeeper", "run"], flags].concat();
            match Cli::try_parse_from(args).unwrap().command {
                Command::Run(run) => run.settings(),
                _ => panic!("not run"),
            }
        };
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--lease-duration-seconds", "10"]).unwrap_err().contains("--renew-deadline-seconds (10)"));
        assert_eq!(parse(&[]).unwrap().ride_along_policy, None);
        let named = ["--ride-along-policy", "gracekeeper.eu-ride-along"];
        assert_eq!(parse(&named).unwrap().ride_along_policy.as_deref(), Some("gracekeeper.eu-ride-along"));
        for path in ["../../../secrets", "A", "a..b"] {
            let refused = parse(&["--ride-along-policy", path]).unwrap_err();
            assert!(refused.contains("cannot be the name of an object"), "{path}: {refused}");
        }
    }

    #[test]
    fn people_ask_for_what_the_command_is_called() {
        for (word, action) in [
            ("approve", Action::Approve),
            ("retry", Action::Retry),
            ("skip", Action::Skip),
            ("hold", Action::Hold),
            ("resume", Action::Resume),
        ] {
            let cli = read(&format!("gracekeeper {word} deploy/web -n shop --wait --timeout 30")).unwrap();
            let (asked, args) = cli.command.asks().unwrap();
            assert_eq!(asked, action);
            assert_eq!(args.place.workload.0, "web");
            assert_eq!(args.place.namespace.as_deref(), Some("shop"));
            assert!(args.wait);
            assert_eq!(args.timeout, 30);
        }
        assert!(read("gracekeeper hold").is_err(), "a Deployment must be named");
        assert!(read("gracekeeper hold sts/db").unwrap_err().to_string().contains("only Deployments"));
        assert!(read("gracekeeper hold web --timeout 0").is_err());
        assert!(read("gracekeeper status web --watch -o json").is_ok());
    }

    #[test]
    fn a_plugin_of_kubectl_is_called_so() {
        let help = |line| read(line).unwrap_err().to_string();
        assert!(help("/opt/kubectl-gracekeeper hold --help").contains("Usage: kubectl gracekeeper hold"));
        assert!(help("/opt/gracekeeper hold --help").contains("Usage: gracekeeper hold"));
    }
}
