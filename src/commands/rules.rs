//! `gracekeeper rules`: recording and alerting rules for Prometheus, ready for `rule_files`.

use std::collections::BTreeMap;

use clap::Args;

use crate::core::availability::Objective;
use crate::core::slo::{Burn, Numbers, Rules, Thresholds};

/// What stands above every copy of the rules.
pub const HEAD: &str = "# Recording and alerting rules for the metrics of Gracekeeper, as `gracekeeper rules` prints them.\n\
    # Each Deployment is measured against the objective and the window of its own policy.\n";

/// Flags of `gracekeeper rules`.
#[derive(Args, Clone, Debug)]
pub struct RulesArgs {
    /// Check that every burn rate can be reached by a Deployment with this objective, in per cent.
    #[arg(long, value_name = "PERCENT")]
    pub objective: Option<String>,
    /// Days of the window that --burn and --objective speak of.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub window_days: u32,
    /// Alert when budget goes this many times as fast as allowed, over a long and a short window, such as 14.4@1h/5m;
    /// =critical or =warning after it sets the severity. Repeatable; replaces the defaults.
    #[arg(long, value_name = "RATE@LONG/SHORT")]
    pub burn: Vec<String>,
    /// Alert when less of the error budget is left, in per cent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=99))]
    pub budget_low: u32,
    /// Alert when a rollout is held for longer.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pub hold_minutes: u32,
    /// Alert when another writer contends for longer.
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pub contended_minutes: u32,
    /// Alert when no operator leads for longer.
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub not_watching_minutes: u32,
    /// Label to add to every alert, such as team=shop. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
}

/// The rules file, or a sentence that says which flag does not fit.
pub fn yaml(args: &RulesArgs) -> Result<String, String> {
    text(&rules(args)?)
}

/// The rules file of these rules.
pub fn text(rules: &Rules) -> Result<String, String> {
    let yaml =
        serde_saphyr::to_string(rules).map_err(|error| format!("the rules cannot be written as YAML: {error}"))?;
    Ok(format!("{HEAD}{yaml}"))
}

fn rules(args: &RulesArgs) -> Result<Rules, String> {
    let mut thresholds = Thresholds {
        budget_low: f64::from(args.budget_low) / 100.0,
        hold_minutes: args.hold_minutes,
        contended_minutes: args.contended_minutes,
        not_watching_minutes: args.not_watching_minutes,
        ..Thresholds::default()
    };
    if !args.burn.is_empty() {
        let burns = args.burn.iter().map(|text| Burn::parse(text, args.window_days));
        thresholds.burns = burns.collect::<Result<_, _>>().map_err(|wrong| format!("--burn {wrong}"))?;
    }
    let days = args.window_days;
    let objective = args.objective.as_ref().map(|percent| {
        Objective::parse(percent, i32::try_from(days).unwrap_or(i32::MAX)).ok_or_else(|| {
            format!("--objective {percent:?} is no decimal greater than 0 and less than 100, such as 99.9")
        })
    });
    if let Some(wrong) = thresholds.refused(objective.transpose()?.as_ref(), days.into()) {
        return Err(format!("--burn {wrong}"));
    }
    let labels = args.label.iter().map(|text| label(text)).collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(Rules::of(&thresholds, Numbers::Plain, &labels))
}

fn label(text: &str) -> Result<(String, String), String> {
    let refused =
        || format!("--label {text:?} is not NAME=VALUE with a name of letters, digits and _ that no alert has yet");
    let (name, value) = text.split_once('=').ok_or_else(refused)?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_taken =
        ["severity", "long", "short", "alertname", "cluster", "namespace", "workload", "policy"].contains(&name);
    if !is_name || is_taken || value.is_empty() {
        return Err(refused());
    }
    Ok((name.to_owned(), value.to_owned()))
}
