//! The folder of one run: topology, certificates, logs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampd_kv::tls::{CertificateAuthority, Identity, Role};
use anyhow::Context as _;
use tempfile::TempDir;

use super::arguments::certificate_folder;
use super::members::Kind;

/// How long the certificates of a run are valid. They go when the run does.
const VALID: Duration = Duration::from_hours(24 * 365);

/// The folder; removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    guard: Option<TempDir>,
}

impl RunDir {
    /// A folder that only this user can read, where the system keeps such folders.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let parent = runtime.unwrap_or_else(std::env::temp_dir);
        let private = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix("ampd-").permissions(private).tempdir_in(&parent);
        let folder = made.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        Ok(Self { path: folder.path().to_owned(), guard: Some(folder) })
    }

    /// Leaves the folder where it is.
    pub(crate) fn keep(&mut self) {
        if let Some(folder) = self.guard.take() {
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
        let root = self.path.join("tls");
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
        kept.keep();
        let path = kept.path().to_owned();
        drop(kept);
        std::fs::remove_dir_all(path).unwrap();
    }
}
