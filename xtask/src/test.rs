//! `cargo xtask test`.

use crate::command::{cargo, in_ci, run};
use crate::deny;
use crate::equipment::equip;
use crate::steps::Steps;

/// Runs everything.
pub(crate) fn run_tests() -> anyhow::Result<()> {
    let mut test = cargo(&["test", "--release", "--workspace", "--locked", "--no-fail-fast"]);
    // Integration tests of the command build the command itself: a separate build would compile much of it twice.
    equip(&mut test, &["test", "--release", "--workspace", "--locked", "--no-run"])?;
    run(&mut test)
}

/// `cargo xtask test`.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.step("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    steps.step("lints", || {
        let lints =
            ["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        run(&mut cargo(&lints))
    });
    steps.step("tests", run_tests);
    match crate::cluster::obstacle() {
        Some(obstacle) if !in_ci() => steps.skip("cluster", &format!("no cluster can run here: {obstacle}")),
        _ => steps.step("cluster", || crate::e2e::run_tests(&[])),
    }
    if crate::manifests::CAN_RUN || in_ci() {
        steps.step("manifests", crate::manifests::check);
    } else {
        steps.skip("manifests", "its helm is that of Linux on x86-64");
    }
    steps.step("documentation", docs);
    steps.step("dependencies", deny::check);
    steps.finish()
}

/// `cargo xtask docs`.
pub(crate) fn docs() -> anyhow::Result<()> {
    let mut doc = cargo(&["doc", "--release", "--workspace", "--no-deps", "--locked"]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}
