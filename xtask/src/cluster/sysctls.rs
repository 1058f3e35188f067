//! Settings of the whole machine that a kubelet writes. They are put back when the last cluster is gone.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::state;

const NAMES: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];

/// Remembers them, unless a cluster that still runs has done so.
pub(crate) fn save() -> anyhow::Result<()> {
    let file = file()?;
    if !file.exists() {
        let mut text = String::new();
        for name in NAMES {
            writeln!(text, "{name} {}", std::fs::read_to_string(path(name))?.trim())?;
        }
        std::fs::write(file, text)?;
    }
    Ok(())
}

/// Puts them back.
pub(crate) fn restore() -> anyhow::Result<()> {
    let file = file()?;
    let others = std::fs::read_dir(state::home()?)?.filter_map(Result::ok).any(|entry| entry.path().is_dir());
    if others || !file.exists() {
        return Ok(());
    }
    for line in std::fs::read_to_string(&file)?.lines() {
        if let Some((name, value)) = line.split_once(' ').filter(|(name, _)| NAMES.contains(name)) {
            std::fs::write(path(name), value)?;
        }
    }
    Ok(std::fs::remove_file(file)?)
}

fn file() -> anyhow::Result<PathBuf> {
    Ok(state::home()?.join("sysctls"))
}

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}
