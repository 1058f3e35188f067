//! What tests of the whole need from outside. `cargo xtask test` provides it.

use std::path::PathBuf;

use anyhow::Context;

/// The `ampd` program: `AMPD_BIN`, or the one that the build folder of this test holds.
///
/// # Errors
/// When there is none.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("AMPD_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.ancestors().nth(2).context("no build folder")?.join("ampd"),
    };
    anyhow::ensure!(path.is_file(), "there is no program at {}: build it, or set AMPD_BIN", path.display());
    Ok(path)
}

/// The default model's GGUF file, named by `AMPD_MODEL`.
#[must_use]
pub fn model() -> Option<PathBuf> {
    std::env::var_os("AMPD_MODEL").map(PathBuf::from)
}

/// A Python with the `openai` package, named by `AMPD_PYTHON`.
#[must_use]
pub fn python() -> Option<PathBuf> {
    std::env::var_os("AMPD_PYTHON").map(PathBuf::from)
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
