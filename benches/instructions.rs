//! Instructions and bytes per plan, counted by callgrind: the same on every machine and under every load, unlike time.
//!
//! Without valgrind it says so and measures nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)] // a benchmark

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

use gracekeeper::api::HealthPolicySpec;
use gracekeeper::core::deployment::project;
use gracekeeper::core::plan::{Input, Surroundings, plan};
use serde_json::{Value, json};

const ROUNDS: &str = "GRACEKEEPER_BENCH_ROUNDS";
const WHAT: &str = "GRACEKEEPER_BENCH_WHAT";

fn main() {
    if let Ok(rounds) = std::env::var(ROUNDS) {
        return work(&std::env::var(WHAT).unwrap(), rounds.parse().unwrap());
    }
    println!("\nInstructions (callgrind, mean over the fixture Deployments)\n");
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("  skipped: valgrind is not installed (apt-get install valgrind)");
        return;
    }
    let count = fixtures().len() as u64;
    for (what, title) in [
        ("project", "read a watched Deployment into its slim form"),
        ("plan", "plan on the raw object, everything to be written"),
        ("again", "plan on the slim form, nothing to be written"),
    ] {
        let (few, many) = (instructions(what, 1), instructions(what, 11));
        println!("  {:>9} per call   {title}", (many - few) / (10 * count));
    }
}

fn policy() -> HealthPolicySpec {
    serde_json::from_value(json!({
        "selector": {}, "mode": "Enforce",
        "containers": [{"probes": {
            "startup": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5, "failureThreshold": 24},
            "readiness": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5},
            "liveness": {"httpGet": {"path": "/livez", "port": 8080}, "failureThreshold": 6}}}],
        "shutdown": {"drainSeconds": 10, "finishSeconds": 20}, "rollout": {"minReadySeconds": 5},
    }))
    .unwrap()
}

fn fixtures() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/deployments");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()).collect()
}

fn work(what: &str, rounds: u64) {
    let (policy, surroundings) = (policy(), Surroundings::default());
    let fixtures = fixtures();
    let of = |deployment: &Value, held: &[_]| {
        plan(&Input { policy: Some(&policy), deployment, held, surroundings: &surroundings })
    };
    // Prepared outside of what is counted: the difference of two numbers of rounds is what counts.
    let texts: Vec<String> = fixtures.iter().map(Value::to_string).collect();
    let done: Vec<_> = fixtures
        .iter()
        .map(|before| {
            let plan = of(before, &[]);
            (project(&plan.apply_to(before).unwrap()), plan.held)
        })
        .collect();
    for _ in 0..rounds {
        match what {
            "project" => texts.iter().for_each(|text| {
                black_box(project(&serde_json::from_str(text).unwrap()));
            }),
            "plan" => fixtures.iter().for_each(|before| {
                black_box(of(before, &[]).patch());
            }),
            _ => done.iter().for_each(|(slim, held)| {
                black_box(of(&slim.value(), held));
            }),
        }
    }
}

/// Instructions of a whole run with this many rounds.
fn instructions(what: &str, rounds: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .env(ROUNDS, rounds.to_string())
        .env(WHAT, what)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected :")).unwrap_or_else(|| panic!("{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
