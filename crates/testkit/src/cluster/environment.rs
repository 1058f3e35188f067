//! What tests of the whole need from outside. `cargo xtask test` provides it.

use std::path::PathBuf;

use anyhow::Context;

/// The `ampd` program: `AMPD_BIN`, or the one that the build folder of this test holds.
///
/// # Errors
/// When there is none.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = match file("AMPD_BIN") {
        Some(path) => path,
        None => std::env::current_exe()?.ancestors().nth(2).context("no build folder")?.join("ampd"),
    };
    anyhow::ensure!(path.is_file(), "there is no program at {}: build it, or set AMPD_BIN", path.display());
    Ok(path)
}

/// The file that a variable names; none when it is not set or empty.
fn file(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The default model's GGUF file, named by `AMPD_MODEL`.
#[must_use]
pub fn model() -> Option<PathBuf> {
    file("AMPD_MODEL")
}

/// The default model and the reference outputs for it, a JSON file that `AMPD_REFERENCE` names. Without either the test is
/// skipped, which is said.
///
/// # Panics
/// In CI, where nothing may be skipped.
#[must_use]
pub fn reference() -> Option<(PathBuf, PathBuf)> {
    let found = model().zip(file("AMPD_REFERENCE"));
    if found.is_none() {
        skipped("AMPD_MODEL or AMPD_REFERENCE");
    }
    found
}

/// A Python with the `openai` package, named by `AMPD_PYTHON`.
#[must_use]
pub fn python() -> Option<PathBuf> {
    file("AMPD_PYTHON")
}

/// Whether nothing may be skipped.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that a test is skipped for want of `what`.
///
/// # Panics
/// In CI, where nothing may be skipped.
pub fn skipped(what: &str) {
    assert!(!in_ci(), "{what} is missing, and in CI nothing is skipped");
    // The harness of tests shows it with `--nocapture` only; the line is for whoever wonders about a fast test.
    eprintln!("SKIPPED: {what} is missing; `cargo xtask test` provides it");
}
