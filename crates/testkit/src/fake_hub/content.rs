//! Files, their tags and the commit that follows from them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Whether a file is kept outside git, on the port of large files.
#[must_use]
pub fn is_large(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "gguf" || end == "safetensors")
}

/// The commit of a repository's folder.
///
/// # Errors
/// When it cannot be read.
pub fn commit(repository: &Path) -> io::Result<String> {
    Hashes::default().commit(repository)
}

/// The file with a repository's commit, where it is not to follow from its files.
const COMMIT: &str = ".commit";

/// A file's path, length and time of change.
type Version = (PathBuf, u64, SystemTime);

/// Tags of files, computed once.
#[derive(Debug, Default)]
pub(super) struct Hashes(Mutex<HashMap<Version, String>>);

impl Hashes {
    /// The tag of a file: SHA-256 of a large one, git's name of a small one.
    pub(super) fn tag(&self, path: &Path) -> io::Result<String> {
        let found = std::fs::metadata(path)?;
        let version = (path.to_owned(), found.len(), found.modified()?);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tag) = known().get(&version) {
            return Ok(tag.clone());
        }
        let mut context = if is_large(path) {
            Context::new(&SHA256)
        } else {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(format!("blob {}\0", found.len()).as_bytes());
            context
        };
        context.update(&std::fs::read(path)?);
        let tag = hex(context);
        known().insert(version, tag.clone());
        Ok(tag)
    }

    pub(super) fn commit(&self, repository: &Path) -> io::Result<String> {
        // Manifests pin the commits of the real hub.
        if let Ok(pinned) = std::fs::read_to_string(repository.join(COMMIT)) {
            return Ok(pinned.trim().to_owned());
        }
        let mut context = Context::new(&SHA256);
        for name in names(repository)? {
            context.update(format!("{name} {}\n", self.tag(&repository.join(&name))?).as_bytes());
        }
        Ok(hex(context)[..40].to_owned())
    }
}

/// The files of a repository, by their paths within it.
pub(super) fn names(repository: &Path) -> io::Result<Vec<String>> {
    let (mut found, mut open) = (Vec::new(), vec![repository.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(repository).map(|name| name.to_string_lossy().into_owned());
            found.extend(name.ok().filter(|name| name != COMMIT));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
