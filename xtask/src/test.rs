//! `cargo xtask test`.

use crate::command::{cargo, in_ci, root, run};
use crate::steps::Steps;
use crate::{deny, model};

/// Reference outputs of the default model, beside the checkout where they are at hand.
const REFERENCE: &str = "../shared/engine/smollm2_reference.json";

/// Runs everything.
pub(crate) fn run_tests() -> anyhow::Result<()> {
    let mut test = cargo(&["test", "--release", "--workspace", "--locked", "--no-fail-fast"]);
    test.env("AMPD_MODEL", model::default_model()?);
    let reference = root().join(REFERENCE);
    if reference.is_file() {
        test.env("AMPD_REFERENCE", reference);
    } else if in_ci() {
        anyhow::bail!("there are no reference outputs at {REFERENCE}");
    } else {
        eprintln!("no reference outputs at {REFERENCE}: tests against them are skipped");
    }
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
    steps.step("documentation", docs);
    steps.step("dependencies", deny::check);
    steps.finish()
}

/// `cargo xtask docs`.
pub(crate) fn docs() -> anyhow::Result<()> {
    let mut doc = cargo(&["doc", "--release", "--workspace", "--no-deps", "--locked"]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}
