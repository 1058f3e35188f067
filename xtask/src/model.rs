//! The default model, for tests on real weights.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::command::{output, program};

/// The model's GGUF file, fetched by the program `ampd` as it does for itself.
pub(crate) fn default_model(ampd: &Path) -> anyhow::Result<PathBuf> {
    let told = output(program(ampd).arg("fetch"))?;
    let path = told.lines().last().map(PathBuf::from).filter(|path| path.is_file());
    path.with_context(|| format!("`ampd fetch` names no file: {told:?}"))
}
