//! Virtual environments with pinned packages.

use std::path::PathBuf;

use crate::command::{program, root, run};

/// The folder of programs with the tools of the checks.
pub(crate) fn tools() -> anyhow::Result<PathBuf> {
    environment("tools", "xtask/requirements.txt")
}

/// The folder of programs with the check of objects against the schemas of Kubernetes.
pub(crate) fn manifests() -> anyhow::Result<PathBuf> {
    environment("manifests", "xtask/manifests-requirements.txt")
}

/// A Python with the official `openai` client.
pub(crate) fn openai() -> anyhow::Result<PathBuf> {
    Ok(environment("openai", "xtask/openai-requirements.txt")?.join("python"))
}

/// The environment's folder of programs.
fn environment(name: &str, requirements: &str) -> anyhow::Result<PathBuf> {
    let requirements = root().join(requirements);
    let source = std::fs::read(&requirements)?;
    let place = crate::cache::folder(name, &source, |place| {
        run(program("python3").args(["-m", "venv"]).arg(place))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
        run(program(place.join("bin/python")).args(pip).arg("-r").arg(&requirements))
    })?;
    Ok(place.join("bin"))
}
