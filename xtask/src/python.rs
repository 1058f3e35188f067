//! A virtual environment with the pinned tools.

use std::path::PathBuf;

use crate::command::{program, root, run};

/// The environment's folder of programs. Virtual environments cannot be moved, so that this one is made in its place and
/// marked when complete.
pub(crate) fn tools() -> anyhow::Result<PathBuf> {
    let requirements = root().join("xtask/requirements.txt");
    let text = std::fs::read_to_string(&requirements)?;
    let place = crate::cache::folder("tools", &text, |_| Ok(()))?;
    if !place.join("complete").is_file() {
        run(program("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(program(place.join("bin/python")).args(pip).arg(&requirements))?;
        std::fs::write(place.join("complete"), "")?;
    }
    Ok(place.join("bin"))
}
