//! Where a cluster keeps what belongs to it.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cache;
use crate::command::root;

/// The file that names the checkout whose cluster it is.
const CHECKOUT: &str = "checkout";
/// The file that marks a cluster as started; it has the number of its nodes.
const STARTED: &str = "started";

/// A cluster's name and its folder, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl State {
    /// The cluster of this checkout that is used for `purpose`. Each checkout has its own, so that work in one never
    /// disturbs another.
    pub(crate) fn of_checkout(purpose: &str) -> anyhow::Result<Self> {
        let mut hasher = DefaultHasher::new();
        root().hash(&mut hasher);
        Ok(Self::named(&home()?, format!("ampd-{purpose}-{:08x}", hasher.finish() as u32)))
    }

    /// Clusters of checkouts that are gone: nobody else will take them down.
    pub(crate) fn orphans() -> anyhow::Result<Vec<Self>> {
        let home = home()?;
        let folders = std::fs::read_dir(&home)?.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        let all = folders.map(|entry| Self::named(&home, entry.file_name().to_string_lossy().into_owned()));
        Ok(all.filter(Self::is_orphan).collect())
    }

    fn named(home: &Path, name: String) -> Self {
        Self { folder: home.join(&name), name }
    }

    /// One whose checkout is not known was interrupted at its very start, and is some other task's to judge.
    fn is_orphan(&self) -> bool {
        std::fs::read_to_string(self.path(CHECKOUT)).is_ok_and(|checkout| !Path::new(&checkout).is_dir())
    }

    /// Keeps other tasks from this cluster as long as the file is open.
    pub(crate) fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.with_extension("lock");
        let error = || format!("cannot lock {}", path.display());
        let file = File::create(&path).with_context(error)?;
        file.lock().with_context(error)?;
        Ok(file)
    }

    /// Makes the folder, which must not be there.
    pub(crate) fn make(&self) -> anyhow::Result<()> {
        std::fs::create_dir(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        self.write(CHECKOUT, &root().display().to_string())
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file of the folder.
    pub(crate) fn write(&self, name: &str, contents: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Says that the cluster is whole, with this many nodes.
    pub(crate) fn mark_started(&self, nodes: usize) -> anyhow::Result<()> {
        self.write(STARTED, &nodes.to_string())
    }

    /// The number of nodes of a whole cluster.
    pub(crate) fn started(&self) -> Option<usize> {
        std::fs::read_to_string(self.path(STARTED)).ok()?.parse().ok()
    }
}

/// The folder of all clusters.
pub(crate) fn home() -> anyhow::Result<PathBuf> {
    let home = cache::root()?.join("clusters");
    std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    Ok(home)
}
