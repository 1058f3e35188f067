//! The cache of Hugging Face's own tools, which is read and never written.

use std::path::{Path, PathBuf};

use crate::selection::{Selection, select};
use crate::wanted::Wanted;

/// What that cache holds of one repository.
#[derive(Debug, Clone)]
pub struct Snapshots(PathBuf);

impl Snapshots {
    /// The part of the cache `root` that is of the repository of `wanted`.
    #[must_use]
    pub fn new(root: &Path, wanted: &Wanted) -> Self {
        Self(root.join(format!("models--{}", wanted.repository.replace('/', "--"))))
    }

    /// What is loaded of the commit, if all the files are there.
    pub(crate) fn find(&self, commit: &str, selection: &Selection) -> Option<PathBuf> {
        let snapshot = self.0.join("snapshots").join(commit);
        // A name in a snapshot is made when its file is complete.
        selection.names().iter().all(|name| snapshot.join(name).is_file()).then(|| match selection {
            Selection::Gguf(name) => snapshot.join(name),
            Selection::Folder(_) => snapshot,
        })
    }

    /// The commit that the revision meant when it was last asked about, and what is there to load of it. Without the hub
    /// nobody knows whether that is all.
    pub(crate) fn last(&self, wanted: &Wanted) -> Option<(String, PathBuf)> {
        let noted = std::fs::read_to_string(self.0.join("refs").join(&wanted.revision));
        let commit = match noted {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => wanted.revision.clone(),
        };
        let files = std::fs::read_dir(self.0.join("snapshots").join(&commit)).ok()?;
        let mut names: Vec<String> =
            files.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.extend(wanted.file.clone());
        let selection = select(&names, wanted.file.as_deref()).ok()?;
        let found = self.find(&commit, &selection)?;
        Some((commit, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_hub_the_snapshot_that_the_revision_names_is_found() {
        let root = tempfile::tempdir().unwrap();
        let wanted = Wanted::new("a/b", "main", None).unwrap();
        let cache = Snapshots::new(root.path(), &wanted);
        assert_eq!(cache.last(&wanted), None);
        let home = root.path().join("models--a--b");
        let put = |commit: &str, file: &str| {
            std::fs::create_dir_all(home.join("snapshots").join(commit)).unwrap();
            std::fs::write(home.join("snapshots").join(commit).join(file), "").unwrap();
        };
        put("old", "config.json");
        put("old", "model.safetensors");
        put("new", "only.gguf");
        std::fs::create_dir_all(home.join("refs")).unwrap();
        std::fs::write(home.join("refs/main"), "new").unwrap();
        assert_eq!(cache.last(&wanted), Some(("new".into(), home.join("snapshots/new/only.gguf"))));
        std::fs::write(home.join("refs/main"), "old").unwrap();
        assert_eq!(cache.last(&wanted), Some(("old".into(), home.join("snapshots/old"))));
        let commit = Wanted::new("a/b", "new", Some("only.gguf")).unwrap();
        assert_eq!(cache.last(&commit), Some(("new".into(), home.join("snapshots/new/only.gguf"))));
        let absent = Wanted::new("a/b", "new", Some("other.gguf")).unwrap();
        assert_eq!(cache.last(&absent), None);
    }
}
