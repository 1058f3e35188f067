//! The cache of what tasks install: folders named for what they were made from, so that a stale one is never used.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// `~/.cache/ampd`, or the folder that `AMPD_CACHE` names.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("AMPD_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set, and neither is AMPD_CACHE")?;
    Ok(Path::new(&home).join(".cache/ampd"))
}

/// The folder `{name}-{key of source}`, made by `make` when it is not there. It is made beside its place and moved there
/// when complete, so that an interrupted task leaves nothing half made.
pub(crate) fn folder(
    name: &str,
    source: &str,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let root = root()?;
    let place = root.join(format!("{name}-{:016x}", hasher.finish()));
    if place.is_dir() {
        return Ok(place);
    }
    let fresh = root.join(format!("{name}-{}.new", std::process::id()));
    std::fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    make(&fresh)?;
    if std::fs::rename(&fresh, &place).is_err() && place.is_dir() {
        // Somebody else made it meanwhile.
        std::fs::remove_dir_all(&fresh)?;
    }
    Ok(place)
}
