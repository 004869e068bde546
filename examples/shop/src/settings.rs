//! What can be set, by flags or by the environment of the container.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(name = "shop", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer requests until SIGTERM
    Serve(Serve),
    /// Send requests at a steady rate and count which ones were lost
    Load(Load),
}

/// What `/readyz` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Readiness {
    /// As the state of the application is
    Honest,
    /// 503, always
    Fail,
}

/// What `/livez` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Liveness {
    /// 200 while the process answers at all
    Honest,
    /// Takes the connection and never answers, like a program in a deadlock
    Hang,
}

/// What SIGTERM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnSigterm {
    /// Stop accepting, finish what is in flight, close, exit 0
    Finish,
    /// Exit 0 at once; what is in flight is lost
    Leak,
    /// Nothing, until SIGKILL
    Ignore,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, env = "SHOP_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Version that answers carry
    #[arg(long, env = "SHOP_VERSION", default_value = "1")]
    pub(crate) release: String,
    /// Time before the port opens, as a slow start has it
    #[arg(long, env = "SHOP_START_MILLIS", default_value_t = 0)]
    pub(crate) start_millis: u64,
    /// Time that the work of one request takes, after the first byte of its answer
    #[arg(long, env = "SHOP_WORK_MILLIS", default_value_t = 0)]
    pub(crate) work_millis: u64,
    /// Longest wait for what is in flight after SIGTERM
    #[arg(long, env = "SHOP_FINISH_MILLIS", default_value_t = 20_000)]
    pub(crate) finish_millis: u64,
    /// End with exit code 1 so long after the start
    #[arg(long, env = "SHOP_CRASH_AFTER_MILLIS")]
    pub(crate) crash_after_millis: Option<u64>,
    /// What /readyz says
    #[arg(long, env = "SHOP_READINESS", value_enum, default_value_t = Readiness::Honest)]
    pub(crate) readiness: Readiness,
    /// What /livez does
    #[arg(long, env = "SHOP_LIVENESS", value_enum, default_value_t = Liveness::Honest)]
    pub(crate) liveness: Liveness,
    /// What SIGTERM does
    #[arg(long, env = "SHOP_ON_SIGTERM", value_enum, default_value_t = OnSigterm::Finish)]
    pub(crate) on_sigterm: OnSigterm,
    /// Address of the database; without one it is in this process. It must be reachable for readiness
    #[arg(long, env = "SHOP_DATABASE")]
    pub(crate) database: Option<String>,
    #[arg(long, env = "SHOP_DATABASE_TIMEOUT_MILLIS", default_value_t = 500)]
    pub(crate) database_timeout_millis: u64,
    /// Address of the cache; without one it is in this process
    #[arg(long, env = "SHOP_CACHE")]
    pub(crate) cache: Option<String>,
    #[arg(long, env = "SHOP_CACHE_TIMEOUT_MILLIS", default_value_t = 100)]
    pub(crate) cache_timeout_millis: u64,
    /// Address of the queue; without one it is in this process
    #[arg(long, env = "SHOP_QUEUE")]
    pub(crate) queue: Option<String>,
    #[arg(long, env = "SHOP_QUEUE_TIMEOUT_MILLIS", default_value_t = 250)]
    pub(crate) queue_timeout_millis: u64,
    /// Let `POST /switch/...` change the switches while it runs, for tests
    #[arg(long, env = "SHOP_SWITCHES", default_value_t = false)]
    pub(crate) switches: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Host and port; each request makes a connection of its own, as a Service spreads connections and not requests
    #[arg(value_parser = host_and_port)]
    pub(crate) target: String,
    /// Requests a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) rate: u32,
    /// How long; SIGTERM ends it earlier
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub(crate) seconds: u32,
    /// A request that takes longer is lost
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    pub(crate) timeout_millis: u64,
    #[arg(long, default_value = "/", value_parser = path)]
    pub(crate) path: String,
}

fn host_and_port(text: &str) -> Result<String, String> {
    let authority: http::uri::Authority = text.parse().map_err(|_| "not HOST:PORT, as in shop:80")?;
    let is_whole = authority.port_u16().is_some() && !authority.host().is_empty() && !text.contains('@');
    if is_whole { Ok(text.to_owned()) } else { Err("not HOST:PORT, as in shop:80".into()) }
}

fn path(text: &str) -> Result<String, String> {
    let parsed: Result<http::uri::PathAndQuery, _> = text.parse();
    if text.starts_with('/') && parsed.is_ok() {
        Ok(text.to_owned())
    } else {
        Err("not a path, as in /orders?open=1".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_asked_is_asked() {
        for good in ["shop:80", "10.96.0.1:8080", "[::1]:80"] {
            assert!(host_and_port(good).is_ok(), "{good}");
        }
        for bad in ["", "shop", "http://shop/", "shop:", "shop:99999", ":80", "me@shop:80", "a b:80"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
        assert!(path("/a?b=c").is_ok() && path("a").is_err() && path("/a b").is_err() && path("").is_err());
    }
}
