//! The cache folder: what was fetched or measured once and need not be again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// A cache that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// No variable tells where it is.
    #[error("neither AMPD_CACHE nor HOME is set: set one, so that fetched models have a place")]
    NoPlace,
    /// A file or folder in it cannot be made.
    #[error("cannot make {}", path.display())]
    Make {
        /// What was to be made.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// The folder that `AMPD_CACHE` names, or `~/.cache/ampd`.
pub(crate) fn root() -> Result<PathBuf, CacheError> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("AMPD_CACHE").or_else(|| Some(from("HOME")?.join(".cache/ampd"))).ok_or(CacheError::NoPlace)
}

/// The place of the folder `name` that is made from `source`: another source has another place, so that a stale one is
/// never used. The project's tests name their folders the same way and so share what was fetched.
pub(crate) fn place(name: &str, source: &str) -> Result<PathBuf, CacheError> {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    Ok(root()?.join(format!("{name}-{:016x}", hasher.finish())))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), CacheError> {
    std::fs::create_dir_all(path).map_err(|source| CacheError::Make { path: path.into(), source })
}

/// Writes a file so that a reader sees the old content or the new, never a part.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), CacheError> {
    let error = |source| CacheError::Make { path: path.into(), source };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
    io::Write::write_all(&mut file, content).map_err(error)?;
    file.persist(path).map_err(|failed| error(failed.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomically(&path, b"old and longer").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let lost = write_atomically(&folder.path().join("no/such"), b"").unwrap_err();
        assert!(lost.to_string().contains("no/such"));
    }
}
