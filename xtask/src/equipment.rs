//! What tests and benches of the whole need from outside: the model, the built program, the official client.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use cargo_metadata::MetadataCommand;

use crate::command::{cargo, in_ci, root, run};
use crate::{model, prometheus, python};

/// Reference outputs of the default model, beside the checkout where they are at hand.
const REFERENCE: &str = "../shared/engine/smollm2_reference.json";

/// Tells `command` where everything is. `build` are cargo's arguments that build the program `ampd`, so that what is
/// built for it serves the command too.
pub(crate) fn equip(command: &mut Command, build: &[&str]) -> anyhow::Result<()> {
    run(&mut cargo(build))?;
    let ampd = program("ampd")?;
    command.env("AMPD_MODEL", model::default_model(&ampd)?);
    command.env("AMPD_BIN", ampd);
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

/// Where a program of the workspace is built.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec();
    let metadata = metadata.context("cargo does not say where it builds")?;
    Ok(metadata.target_directory.join("release").join(name).into())
}
