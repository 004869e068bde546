//! `docs/reference/findings.md` is made from the code's table; `UPDATE=1 cargo test --test findings_doc` writes it.

use std::fs;
use std::path::Path;

use gracekeeper::core::plan::findings::document;

#[test]
fn the_findings_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/findings.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, document()).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == document(),
        "docs/reference/findings.md is out of date: run UPDATE=1 cargo test --test findings_doc"
    );
}
