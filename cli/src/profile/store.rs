//! Profiles in the cache, by what they depend on.

use std::path::PathBuf;

use ampd_perfmodel::Profile;
use anyhow::Context as _;

use super::hardware;
use crate::cache;

/// The file of a profile for a model (hex digest), backend and number of threads on this machine.
fn place(digest: &str, backend: &str, threads: usize) -> anyhow::Result<PathBuf> {
    let key =
        format!("{digest} {} {backend} {threads} {}", hardware::describe(), ampd_perfmodel::FORMAT_VERSION);
    Ok(cache::place("profile", &key)?.with_extension("json"))
}

/// The file of a cached profile; none when there is none that can be read.
pub(crate) fn cached(digest: &str, backend: &str, threads: usize) -> anyhow::Result<Option<PathBuf>> {
    let path = place(digest, backend, threads)?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    Ok(Profile::from_json(&text).is_ok().then_some(path))
}

/// Puts a profile into the cache.
pub(crate) fn keep(profile: &Profile) -> anyhow::Result<PathBuf> {
    let path = place(&profile.model_digest, &profile.backend, profile.threads as usize)?;
    cache::make_folder(path.parent().context("the cache has no folder")?)?;
    cache::write_atomically(&path, profile.to_json()?.as_bytes())?;
    Ok(path)
}
