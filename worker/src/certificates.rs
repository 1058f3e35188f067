//! The certificates of a process, which are looked at again while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ampd_kv::tls::{Credentials, TlsError, TlsFiles};
use tokio_util::sync::CancellationToken;

use crate::reload::{Watched, reload};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Certificates with the files that they are from.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    folder: PathBuf,
    files: TlsFiles,
    /// What new connections use.
    pub credentials: Arc<Credentials>,
}

impl Certificates {
    /// Reads those of a folder.
    ///
    /// # Errors
    /// When a file is missing or cannot be used.
    pub(crate) fn read(folder: PathBuf) -> Result<Self, TlsError> {
        let files = TlsFiles::read(&folder)?;
        let credentials = Credentials::new(&files)?;
        Ok(Self { folder, files, credentials })
    }

    /// Takes in what changes in the folder, until `stop`.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let Self { folder, files, credentials } = self;
        let watched = Watched { what: "the folder of certificates", path: folder.clone(), every: EVERY };
        let read = move || TlsFiles::read(&folder);
        let follow = reload(watched, files, read, |files| credentials.replace(files));
        stop.run_until_cancelled(follow).await.unwrap_or(());
    }
}
