//! One process at a time works on a folder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::FetchError;
use crate::report::{Note, Report};

/// How often a lock is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often waiting is told.
const TELL: Duration = Duration::from_secs(30);

/// The right to work on a folder. The system takes it back when its process ends, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Waits for the lock `path` of `folder`, at most for `limit`.
pub(crate) async fn lock(
    folder: &Path,
    path: &Path,
    limit: Duration,
    report: &dyn Report,
) -> Result<Lock, FetchError> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(FetchError::file("make", path))?;
    let (start, mut tell) = (Instant::now(), Instant::now());
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(source)) => {
                return Err(FetchError::NoLocks { folder: folder.into(), source });
            }
        }
        let waited = start.elapsed();
        if waited >= limit {
            return Err(FetchError::Busy { folder: folder.into(), seconds: limit.as_secs() });
        }
        if Instant::now() >= tell {
            tell = Instant::now() + TELL;
            report.say(&Note::Waiting { folder, waited, of: limit });
        }
        sleep(LOOK.min(limit.saturating_sub(waited))).await;
    }
}
