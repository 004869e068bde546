//! The functional core stays pure, and files stay readable.

use std::path::{Path, PathBuf};

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty());
    files
}

/// Code without comments, up to the unit tests at the end of a file.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn assert_absent(folder: &str, forbidden: &[&str], why: &str) {
    for file in rust_files(folder) {
        if file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let code = code(&file);
        for word in forbidden {
            assert!(!code.contains(word), "{} contains {word:?}: {why}", file.display());
        }
    }
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let forbidden = [
        "async ",
        ".await",
        "tokio",
        "kube::",
        "tracing",
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "crate::controller",
        "crate::commands",
        "crate::cli",
        "println!",
        "eprintln!",
    ];
    assert_absent("src/core", &forbidden, "src/core decides and is pure; time and observations are arguments");
}

#[test]
fn the_api_types_have_no_behaviour_beyond_the_core() {
    let forbidden = ["crate::core", "crate::controller", "crate::commands", "async ", "tokio"];
    assert_absent("src/api", &forbidden, "src/api is what users write");
}

#[test]
fn only_the_clock_reads_the_time() {
    for file in rust_files("src") {
        if file.ends_with("controller/clock.rs") {
            continue;
        }
        let code = code(&file);
        for word in ["Timestamp::now()", "SystemTime::now()", "Zoned::now()"] {
            assert!(!code.contains(word), "{} reads a clock", file.display());
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    for file in rust_files("src") {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines: split it", file.display());
    }
}

#[test]
fn no_module_is_a_drawer_for_anything() {
    for file in rust_files("src") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for vague in ["util", "utils", "common", "manager", "helper", "helpers", "misc", "types"] {
            assert_ne!(name, vague, "{} needs a name that says what it holds", file.display());
        }
    }
}

#[test]
fn the_dockerfile_builds_with_the_pinned_toolchain() {
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let image = format!("FROM rust:{channel}-");
    assert!(read("Dockerfile").contains(&image), "the Dockerfile must start with {image}");
}

#[test]
fn the_dockerfile_gives_each_image_its_name_and_version() {
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let dockerfile = read("Dockerfile");
    for (name, manifest) in [("gracekeeper", "Cargo.toml"), ("shop", "examples/shop/Cargo.toml")] {
        let manifest = read(manifest);
        let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
        let labels = format!("title=\"{name}\" \\\n      org.opencontainers.image.version={version} \\\n");
        assert!(dockerfile.contains(&labels), "the Dockerfile must have {labels}");
    }
    let made = read("e2e/image");
    for label in ["title", "version", "licenses", "source"] {
        let label = format!("org.opencontainers.image.{label}");
        assert_eq!(dockerfile.matches(&label).count(), 2, "{label}");
        assert!(made.contains(&label), "e2e/image must set {label} too");
    }
}
