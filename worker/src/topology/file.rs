//! A topology in a file that is read again when it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Topology, TopologyError};
use crate::reload::{Watched, off_thread, reload};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Follows a file until `stop`: the receiver always holds the last valid topology. A file that cannot be used is told
/// once in the log, and the old topology stays.
///
/// # Errors
/// When the file cannot be used at the start.
pub async fn follow(
    path: PathBuf,
    stop: CancellationToken,
) -> Result<(watch::Receiver<Arc<Topology>>, JoinHandle<()>), TopologyError> {
    let (file, lost) = (path.clone(), path.clone());
    let failed = move |source| TopologyError::Read { path: lost, source };
    let first = off_thread(move || Topology::load(&file)).await.unwrap_or_else(|error| Err(failed(error)))?;
    let (sender, receiver) = watch::channel(Arc::new(first.clone()));
    let watched = Watched { what: "the topology", path: path.clone(), every: INTERVAL };
    let read = move || Topology::load(&path);
    let task = reload(watched, first, read, move |topology| {
        // Fails only when nobody follows any more.
        let _ = sender.send(Arc::new(topology.clone()));
        Ok(())
    });
    let task = tokio::spawn(async move { stop.run_until_cancelled(task).await.unwrap_or(()) });
    Ok((receiver, task))
}

#[cfg(test)]
mod tests {
    use super::super::tests::GOOD;
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_and_a_bad_file_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("topology.json");
        assert!(matches!(
            follow(path.clone(), CancellationToken::new()).await,
            Err(TopologyError::Read { .. })
        ));
        std::fs::write(&path, GOOD).unwrap();
        let stop = CancellationToken::new();
        let (mut receiver, task) = follow(path.clone(), stop.clone()).await.unwrap();
        std::fs::write(&path, "{").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1200), receiver.changed()).await.is_err());
        std::fs::write(&path, GOOD.replace("p0", "p1")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), receiver.changed()).await.unwrap().unwrap();
        assert_eq!(receiver.borrow().prefill[0].name, "p1");
        stop.cancel();
        task.await.unwrap();
    }
}
