//! The folder of one run: topology, certificates, logs.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampd_kv::tls::{CertificateAuthority, Identity, Role};
use anyhow::Context as _;
use tempfile::TempDir;

use super::arguments::certificate_folder;
use super::members::Kind;

/// What the folders' names begin with.
const PREFIX: &str = "ampd-";
/// The lock's file.
const LOCK: &str = "lock";
/// The folder of certificates and keys.
const TLS: &str = "tls";

/// How long the certificates of a run are valid. They go when the run does.
const VALID: Duration = Duration::from_hours(24 * 365);

/// The folder; removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    guard: Option<TempDir>,
    /// Locked for as long as the run lives.
    _lock: File,
}

impl RunDir {
    /// A folder that only this user can read, where the system keeps such folders. Those of runs that were killed are
    /// removed.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        Self::create_in(&runtime.unwrap_or_else(std::env::temp_dir))
    }

    fn create_in(parent: &Path) -> anyhow::Result<Self> {
        sweep(parent);
        let private = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(parent);
        let folder = made.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let path = folder.path().to_owned();
        let lock = lock(&path).with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { path, guard: Some(folder), _lock: lock })
    }

    /// Leaves the folder where it is, without the keys, which are of use to nobody any more.
    pub(crate) fn keep(&mut self) {
        if let Some(folder) = self.guard.take() {
            // There may be none yet.
            let _ = std::fs::remove_dir_all(self.path.join(TLS));
            // Without its lock nobody takes it for a leftover.
            let _ = std::fs::remove_file(self.path.join(LOCK));
            let _ = folder.keep();
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The log of a child.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// Makes an authority for this run alone and one certificate for each role. The authority's key is never written.
    pub(crate) fn write_certificates(&self, namespace: &str, service: &str) -> anyhow::Result<PathBuf> {
        let root = self.path.join(TLS);
        let authority = CertificateAuthority::new(service, VALID)?;
        let roles =
            [(Kind::Prefill, Role::Prefill), (Kind::Decode, Role::Decode), (Kind::Sidecar, Role::Sidecar)];
        for (kind, role) in roles {
            let folder = certificate_folder(&root, kind);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            authority.issue(&Identity::new(namespace, service, role)?)?.write(&folder)?;
        }
        Ok(root)
    }
}

/// Makes the folder's lock. It has its name only when it is locked, so that nobody takes the folder for a leftover.
fn lock(folder: &Path) -> std::io::Result<File> {
    let unlocked = folder.join("unlocked");
    let file = File::create_new(&unlocked)?;
    file.lock()?;
    std::fs::rename(unlocked, folder.join(LOCK))?;
    Ok(file)
}

/// Removes the folders of runs that ended without removing them themselves: nobody holds their locks. What cannot be read
/// or removed belongs to others, and stays.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_run = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if !is_run || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(file) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        if file.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use ampd_kv::tls::TlsFiles;

    use super::*;

    #[test]
    fn certificates_name_their_role_and_go_with_the_run() {
        let run = RunDir::create().unwrap();
        let root = run.write_certificates("default", "chat").unwrap();
        for kind in [Kind::Prefill, Kind::Decode, Kind::Sidecar] {
            let files = TlsFiles::read(&certificate_folder(&root, kind)).unwrap();
            assert_eq!(files.uri().unwrap(), format!("ampd://default/chat/{}", kind.as_str()));
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(run.path()), 0o700);
        assert_eq!(mode(&root.join("decode/key.pem")), 0o600);
        let path = run.path().to_owned();
        drop(run);
        assert!(!path.exists());
        let mut kept = RunDir::create().unwrap();
        kept.write_certificates("default", "chat").unwrap();
        kept.keep();
        let path = kept.path().to_owned();
        assert!(path.is_dir() && !path.join(TLS).exists());
        drop(kept);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        for left in ["ampd-dead", "ampd-kept", "other-dead"] {
            std::fs::create_dir(path(left)).unwrap();
        }
        for locked in ["ampd-dead", "other-dead"] {
            std::fs::write(path(locked).join(LOCK), "").unwrap();
        }
        let (first, second) =
            (RunDir::create_in(parent.path()).unwrap(), RunDir::create_in(parent.path()).unwrap());
        assert!(first.path().exists() && second.path().exists());
        assert!(!path("ampd-dead").exists() && path("ampd-kept").exists() && path("other-dead").exists());
    }
}
