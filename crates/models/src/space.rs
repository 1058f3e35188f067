//! Room on the disk.

use std::io;
use std::path::Path;

use crate::error::FetchError;

/// Bytes that can still be written to the file system of `folder`.
pub(crate) fn free(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Refuses what cannot fit.
pub(crate) fn check(folder: &Path, needed: u64) -> Result<(), FetchError> {
    match free(folder) {
        Ok(free) if free < needed => Err(FetchError::NoSpace { folder: folder.into(), needed, free }),
        // Where that is not told, writing will.
        _ => Ok(()),
    }
}

/// Whether a write failed because there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
