//! Virtual environments with pinned packages.

use std::path::PathBuf;

use crate::command::{program, root, run};

/// The folder of programs with the tools of the checks.
pub(crate) fn tools() -> anyhow::Result<PathBuf> {
    environment("tools", "xtask/requirements.txt", &[])
}

/// A Python with the official `openai` client.
pub(crate) fn openai() -> anyhow::Result<PathBuf> {
    Ok(environment("openai", "xtask/openai-requirements.txt", &["--require-hashes"])?.join("python"))
}

/// The environment's folder of programs. Virtual environments cannot be moved, so that this one is made in its place and
/// marked when complete.
fn environment(name: &str, requirements: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let requirements = root().join(requirements);
    let text = std::fs::read_to_string(&requirements)?;
    let place = crate::cache::folder(name, &text, |_| Ok(()))?;
    if !place.join("complete").is_file() {
        run(program("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(program(place.join("bin/python")).args(pip).args(options).arg("-r").arg(&requirements))?;
        std::fs::write(place.join("complete"), "")?;
    }
    Ok(place.join("bin"))
}
