//! The rules of ARCHITECTURE.md, checked against the workspace itself.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Crates without I/O, clock and randomness of their own.
const PURE: [&str; 5] = ["ampd-api", "ampd-perfmodel", "ampd-scheduler", "ampd-planner", "ampd-simulator"];
/// What they may not depend on, directly or not.
const IMPURE: [&str; 5] = ["tokio", "kube-client", "axum", "candle-core", "reqwest"];
/// Lines that a source file may have.
const MAX_LINES: usize = 450;
/// Where `unsafe` may be written.
const UNSAFE_HOME: &str = "crates/engine/src/cpu/";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().unwrap()
}

/// Names of all packages that `start` depends on through normal dependencies.
fn normal_dependencies(metadata: &Metadata, start: &PackageId) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn pure_crates_depend_on_nothing_that_acts() {
    let metadata = metadata();
    let mut checked = 0;
    for package in metadata.workspace_packages() {
        if PURE.contains(&package.name.as_str()) {
            let dependencies = normal_dependencies(&metadata, &package.id);
            for impure in IMPURE {
                assert!(!dependencies.contains(impure), "{} depends on {impure}", package.name);
            }
            checked += 1;
        }
    }
    assert!(checked >= 2, "only {checked} pure crates found");
}

#[test]
fn the_engine_knows_no_http_and_no_runtime() {
    let metadata = metadata();
    let engine =
        metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == "ampd-engine").unwrap();
    let dependencies = normal_dependencies(&metadata, &engine.id);
    for impure in ["tokio", "axum", "hyper", "reqwest"] {
        assert!(!dependencies.contains(impure), "the engine depends on {impure}");
    }
}

#[test]
fn test_helpers_are_never_shipped() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let shipped =
            package.dependencies.iter().any(|d| d.name == "ampd-testkit" && d.kind == DependencyKind::Normal);
        assert!(!shipped, "{} ships ampd-testkit", package.name);
    }
}

fn sources() -> Vec<(String, String)> {
    let (mut found, mut open) = (Vec::new(), vec![root()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((relative, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let sources = sources();
    for (path, text) in &sources {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{path} has {lines} lines, {MAX_LINES} at most");
    }
    let mut sizes: Vec<usize> = sources.iter().map(|(_, text)| text.lines().count()).collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    assert!(median <= 150, "the median file has {median} lines");
}

#[test]
fn unsafe_code_stays_in_the_kernels() {
    let switch = concat!("allow(", "unsafe_code)");
    for (path, text) in sources() {
        assert!(!text.contains(switch) || path.starts_with(UNSAFE_HOME), "{path} allows unsafe code");
    }
}
