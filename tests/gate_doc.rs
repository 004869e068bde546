//! `docs/reference/rollout-gate.md` is made from the gate's table; `UPDATE=1 cargo test --test gate_doc` writes it.

use std::fs;
use std::path::Path;

use gracekeeper::core::rollout::document::document;

#[test]
fn the_gate_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/rollout-gate.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, document()).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == document(),
        "docs/reference/rollout-gate.md is out of date: run UPDATE=1 cargo test --test gate_doc"
    );
}
