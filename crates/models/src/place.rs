//! The folder that a model is fetched into.
//!
//! Beside the model's files it holds three kinds of hidden ones: the record, the lock, and what has arrived of files that
//! are not complete. These lie in the folder itself because it may be a volume of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Hasher;
use crate::error::FetchError;
use crate::record::Record;
use crate::remote::Remote;
use crate::selection::matters;

/// The record of a complete model.
const RECORD: &str = ".ampd-model.json";
/// Who holds its lock works on the folder.
const LOCK: &str = ".ampd-model.lock";
/// How the names of incomplete files begin and end.
const PARTIAL: (&str, &str) = (".ampd-model-", ".partial");

/// A folder for a model.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.folder.join(LOCK)
    }

    /// Where a file grows. Another content has another name, so that what is there is always of the same.
    pub(crate) fn partial(&self, remote: &Remote) -> PathBuf {
        let mut hasher = Hasher::new(0);
        hasher.update(remote.identity().as_bytes());
        let (start, end) = PARTIAL;
        self.folder.join(format!("{start}{}-{}{end}", &hasher.finish().sha256[..16], remote.name))
    }

    /// What the folder is said to hold. A record that cannot be read is none: it is written anew.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.folder.join(RECORD)).ok()?).ok()
    }

    /// The record of a model that is complete, with every file as long as it says.
    pub(crate) fn complete(&self) -> Option<Record> {
        let record = self.record().filter(|record| record.complete)?;
        let whole = record.files.iter().all(|entry| {
            let found = fs::metadata(self.folder.join(&entry.name));
            found.is_ok_and(|found| found.is_file() && found.len() == entry.size)
        });
        whole.then_some(record)
    }

    /// Replaces the record so that readers see the old or the new one.
    pub(crate) fn write(&self, record: &Record) -> Result<(), FetchError> {
        let (path, fresh) = (self.folder.join(RECORD), self.folder.join(format!("{RECORD}.new")));
        let written = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(record)?;
            text.push(b'\n');
            let mut file = fs::File::create(&fresh)?;
            io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            self.sync()
        };
        written().map_err(FetchError::file("write", &path))
    }

    /// Makes renamed files last. File systems that cannot do so for folders do it by themselves.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match fs::File::open(&self.folder)?.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    /// Files that are neither `wanted` nor of the model that is here, and would be loaded with it or instead of it.
    pub(crate) fn foreign(&self, wanted: &[Remote], old: Option<&Record>) -> Result<Vec<String>, FetchError> {
        let ours = |name: &String| {
            wanted.iter().any(|remote| remote.name == *name)
                || old.is_some_and(|record| record.files.iter().any(|entry| entry.name == *name))
        };
        let mut names = self.names()?;
        names.retain(|name| matters(name) && !name.starts_with('.') && !ours(name));
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes what earlier processes left of other contents.
    pub(crate) fn clear(&self, keep: &[PathBuf]) -> Result<(), FetchError> {
        let (start, end) = PARTIAL;
        for name in self.names()? {
            let path = self.folder.join(&name);
            if name.starts_with(start) && name.ends_with(end) && !keep.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, FetchError> {
        let entries = fs::read_dir(&self.folder).map_err(FetchError::file("read", &self.folder))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }
}

/// Deletes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FetchError::file("delete", path)(error)),
        _ => Ok(()),
    }
}
