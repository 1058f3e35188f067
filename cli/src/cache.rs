//! The cache folder: what was fetched or measured once and need not be again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

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
/// never used.
pub(crate) fn place(name: &str, source: &str) -> Result<PathBuf, CacheError> {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    Ok(root()?.join(format!("{name}-{:016x}", hasher.finish())))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), CacheError> {
    std::fs::create_dir_all(path).map_err(|source| CacheError::Make { path: path.into(), source })
}

/// Moves the folder `fresh`, which holds all that belongs there, to its place. What somebody else has put there meanwhile
/// stays, if it holds `file`; what does not hold it is broken and is replaced.
pub(crate) fn settle(fresh: &TempDir, place: &Path, file: &Path) -> Result<(), CacheError> {
    let mut moved = std::fs::rename(fresh.path(), place);
    if moved.is_err() && !file.exists() {
        // Where it cannot be removed, the second try tells why.
        let _ = std::fs::remove_dir_all(place);
        moved = std::fs::rename(fresh.path(), place);
    }
    match moved {
        Err(source) if !file.exists() => Err(CacheError::Make { path: place.into(), source }),
        _ => Ok(()),
    }
}

/// Whether [`write_atomically`] can write to `path`.
pub(crate) fn probe(path: &Path) -> Result<(), CacheError> {
    let error = |source| CacheError::Make { path: path.into(), source };
    let path = target(path).map_err(error)?;
    tempfile::NamedTempFile::new_in(folder_of(&path)).map(drop).map_err(error)
}

/// The file that `path` means. A link leads to it, and what is no file, such as a device, must not be replaced by one.
fn target(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(found) if found.is_file() => Ok(found),
        Ok(_) => Err(io::Error::other("it is there and is no regular file")),
        Err(_) => Ok(path.to_owned()),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file so that a reader sees the old content or the new, never a part.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), CacheError> {
    let error = |source| CacheError::Make { path: path.into(), source };
    let target = target(path).map_err(error)?;
    let mut file = tempfile::NamedTempFile::new_in(folder_of(&target)).map_err(error)?;
    io::Write::write_all(&mut file, content).map_err(error)?;
    file.persist(target).map_err(|failed| error(failed.error))?;
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
        assert!(probe(&folder.path().join("no/such")).is_err() && probe(folder.path()).is_err());
        probe(&path).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_atomically(&link, b"newer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        std::fs::remove_file(link).unwrap();
        // A socket stands for all that is no file.
        let socket = folder.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(probe(&socket).is_err() && write_atomically(&socket, b"x").is_err());
        assert!(!socket.is_file() && socket.exists());
        std::fs::remove_file(socket).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_folder_gives_way_and_a_whole_one_stays() {
        let root = tempfile::tempdir().unwrap();
        let (place, file) = (root.path().join("model-1"), root.path().join("model-1/weights"));
        let made = |content: &str| {
            let fresh = tempfile::tempdir_in(root.path()).unwrap();
            std::fs::write(fresh.path().join("weights"), content).unwrap();
            settle(&fresh, &place, &file).unwrap();
            std::fs::read_to_string(&file).unwrap()
        };
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("rest"), "").unwrap();
        assert_eq!(made("first"), "first");
        assert!(!place.join("rest").exists());
        assert_eq!(made("second"), "first");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
