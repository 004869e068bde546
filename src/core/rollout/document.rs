//! `docs/reference/rollout-gate.md`, made from the table.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::table::{Reasons, Row, TABLE};

/// The document.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    text.push_str("```mermaid\nstateDiagram-v2\n    [*] --> NotGated\n");
    let mut arrows: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in TABLE {
        let Some(to) = row.to else { continue };
        for from in row.from.iter().filter(|from| **from != to) {
            let guards = arrows.entry((format!("{from:?}"), format!("{to:?}"))).or_default();
            let guard = format!("{:?}", row.guard);
            if !guards.contains(&guard) {
                guards.push(guard);
            }
        }
    }
    for ((from, to), guards) in &arrows {
        let _ = writeln!(text, "    {from} --> {to}: {}", guards.join(", "));
    }
    text.push_str("```\n\n## Transitions\n\nTried from top to bottom; the first that fits is taken, one per look.\n\n");
    text.push_str("| From | Guard | To | Reason | Memory | Sentence |\n|---|---|---|---|---|---|\n");
    for row in TABLE {
        let _ = writeln!(
            text,
            "| {} | {:?} | {} | {} | {:?} | {} |",
            from(row),
            row.guard,
            row.to.map_or("stays".into(), |to| format!("{to:?}")),
            row.reason,
            row.effect,
            row.sentence
        );
    }
    text
}

fn from(row: &Row) -> String {
    let states = row.from.iter().map(|state| format!("{state:?}")).collect::<Vec<_>>().join(", ");
    match row.with {
        Reasons::Any => states,
        Reasons::In(some) => format!("{states} with {}", some.join(", ")),
        Reasons::Except(some) => format!("{states} without {}", some.join(", ")),
    }
}

const HEAD: &str = "# The rollout gate\n\n<!-- Generated from src/core/rollout/table.rs; do not edit. -->\n\n";
