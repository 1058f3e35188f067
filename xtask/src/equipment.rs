//! What tests and benches of the whole need from outside: the model, the built program, the official client.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use cargo_metadata::MetadataCommand;

use crate::command::{cargo, in_ci, root, run};
use crate::{model, prometheus, python};

/// Reference outputs of the default model, beside the checkout where they are at hand.
const REFERENCE: &str = "../shared/engine/smollm2_reference.json";

/// Builds the program and tells `command` where everything is.
pub(crate) fn equip(command: &mut Command) -> anyhow::Result<()> {
    command.env("AMPD_MODEL", model::default_model()?);
    command.env("AMPD_BIN", ampd()?);
    command.env("AMPD_PYTHON", python::openai()?);
    if let Some(server) = prometheus::server()? {
        command.env("AMPD_PROMETHEUS", server);
    }
    let reference = root().join(REFERENCE);
    if reference.is_file() {
        command.env("AMPD_REFERENCE", reference);
    } else if in_ci() {
        anyhow::bail!("there are no reference outputs at {REFERENCE}");
    } else {
        eprintln!("no reference outputs at {REFERENCE}: tests against them are skipped");
    }
    Ok(())
}

/// The program `ampd`, built together with all tests: a build of the program alone would select other features of its
/// dependencies and compile them once more.
fn ampd() -> anyhow::Result<PathBuf> {
    run(&mut cargo(&["test", "--release", "--workspace", "--no-run", "--locked"]))?;
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec();
    let metadata = metadata.context("cargo does not say where it builds")?;
    Ok(metadata.target_directory.join("release/ampd").into())
}
