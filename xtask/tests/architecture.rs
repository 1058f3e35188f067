//! The rules of ARCHITECTURE.md, checked against the workspace itself.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Crates without I/O, clock and randomness of their own; all there are.
const PURE: [&str; 7] = [
    "ampd-api",
    "ampd-perfmodel",
    "ampd-planner",
    "ampd-render",
    "ampd-report",
    "ampd-scheduler",
    "ampd-simulator",
];
/// What they may not depend on, directly or not.
const IMPURE: [&str; 5] = ["tokio", "kube-client", "axum", "candle-core", "reqwest"];
/// What their sources may not name.
const ACTS: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::io",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "rand::",
];
/// Lines that a source file may have.
const MAX_LINES: usize = 450;
/// The lint that denies `unsafe`. Attributes that name it switch it off, as a rule.
const SWITCH: &str = "unsafe_code";
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
    let packages = metadata.workspace_packages();
    for pure in PURE {
        let package = packages.iter().find(|package| package.name.as_str() == pure).unwrap();
        let dependencies = normal_dependencies(&metadata, &package.id);
        for impure in IMPURE {
            assert!(!dependencies.contains(impure), "{pure} depends on {impure}");
        }
    }
}

#[test]
fn pure_crates_have_no_clock_and_no_files_of_their_own() {
    let folders = PURE.map(|name| format!("crates/{}/src/", name.trim_start_matches("ampd-")));
    let mut checked = [0; PURE.len()];
    for (path, text) in sources() {
        if let Some(index) = folders.iter().position(|folder| path.starts_with(folder)) {
            checked[index] += 1;
            for acts in ACTS {
                assert!(!text.contains(acts), "{path} names {acts}");
            }
        }
    }
    assert!(checked.iter().all(|files| *files > 0), "{checked:?} files of {PURE:?}");
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
        for helper in ["ampd-testkit", "ampd-fakeapi"] {
            let shipped = package
                .dependencies
                .iter()
                .any(|d| d.name == helper && d.kind != DependencyKind::Development);
            assert!(!shipped, "{} ships {helper}", package.name);
        }
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
    for (path, text) in sources() {
        let switches = attributes(&text).any(|attribute| attribute.contains(SWITCH));
        assert!(!switches || path.starts_with(UNSAFE_HOME), "{path} switches the lint of unsafe code");
    }
    let list = format!("[expect(\n    {SWITCH},\n)]");
    let sample = format!("#![allow(a, b)] x[1] #{list} #[cfg(a[0])] # [");
    let found: Vec<_> = attributes(&sample).collect();
    assert_eq!(found, ["[allow(a, b)]", list.as_str(), "[cfg(a[0])]"]);
}

/// The attributes of a source file, from bracket to bracket.
fn attributes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('#').filter_map(|(at, _)| {
        let rest = text[at + 1..].strip_prefix('!').unwrap_or(&text[at + 1..]);
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            depth == 0
        })?;
        rest.starts_with('[').then(|| &rest[..=end])
    })
}

/// The lints that deny unsafe code are the workspace's: a member that does not take them over may do anything.
#[test]
fn every_member_takes_over_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{} has lints of its own", package.name);
    }
}
