//! Files of results.

use std::path::{Path, PathBuf};

use ampd_report::Results;
use anyhow::Context as _;

use crate::cache;

/// Writes results as JSON.
pub(super) fn json(path: &Path, results: &Results) -> anyhow::Result<()> {
    Ok(cache::write_atomically(path, ampd_report::json(results)?.as_bytes())?)
}

/// Writes the document, its JSON and its plots into a folder; the document's path.
pub(super) fn document(
    folder: &Path,
    results: &Results,
    command: &str,
    took: &str,
) -> anyhow::Result<PathBuf> {
    let pictures = folder.join("evaluation");
    std::fs::create_dir_all(&pictures).with_context(|| format!("cannot make {}", pictures.display()))?;
    let plots = ampd_report::plots(results)?;
    for plot in &plots {
        cache::write_atomically(&pictures.join(plot.name), plot.svg.as_bytes())?;
    }
    json(&folder.join("evaluation.json"), results)?;
    let path = folder.join("evaluation.md");
    let text = ampd_report::document(results, command, took, "evaluation", &plots);
    cache::write_atomically(&path, text.as_bytes())?;
    Ok(path)
}
