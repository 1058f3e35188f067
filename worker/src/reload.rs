//! Files that are read again while the process runs. Kubernetes changes mounted files by swapping a folder behind a link:
//! comparing what is in them costs less than trusting times and notices of the file system.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// Its name in the log.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// How often it is looked at.
    pub every: Duration,
}

/// Reads `watched` again and again, and hands what has changed since `last` to `take`. What cannot be read or taken is
/// told once in the log, and everything stays as it is; it is tried again until it can be. Ends only by being dropped.
pub(crate) async fn reload<T, E>(
    watched: Watched,
    mut last: T,
    read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    take: impl Fn(&T) -> Result<(), E>,
) where
    T: PartialEq + Send + 'static,
    E: Error + Send + 'static,
{
    let Watched { what, path, every } = watched;
    let read = Arc::new(read);
    let mut told: Option<String> = None;
    loop {
        tokio::time::sleep(every).await;
        let read = read.clone();
        let error: Box<dyn Error + Send> = match off_thread(move || read()).await {
            Ok(Ok(now)) if now == last => {
                told = None;
                continue;
            }
            Ok(Ok(now)) => match take(&now) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "{what} has changed");
                    (last, told) = (now, None);
                    continue;
                }
                Err(error) => Box::new(error),
            },
            Ok(Err(error)) => Box::new(error),
            Err(error) => Box::new(error),
        };
        let text = crate::process::chain(&*error);
        if told.as_ref() != Some(&text) {
            tracing::warn!(path = %path.display(), error = text, "{what} cannot be used; the last one stays");
            told = Some(text);
        }
    }
}

/// Runs what blocks off the async threads.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn what_is_refused_is_offered_again_until_it_is_taken() {
        let content = Arc::new(Mutex::new(1));
        let (offers, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let watched = Watched { what: "a thing", path: "x".into(), every: Duration::from_millis(1) };
        let read = {
            let content = content.clone();
            move || Ok::<i32, std::io::Error>(*content.lock())
        };
        let take = {
            let (offers, taken) = (offers.clone(), taken.clone());
            move |value: &i32| {
                if offers.fetch_add(1, Ordering::Relaxed) < 3 {
                    return Err(std::io::Error::other("not yet"));
                }
                taken.lock().push(*value);
                Ok(())
            }
        };
        let task = tokio::spawn(reload(watched, 1, read, take));
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(offers.load(Ordering::Relaxed), 0, "nothing has changed");
        *content.lock() = 2;
        let all = async {
            while taken.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!((offers.load(Ordering::Relaxed), &*taken.lock()), (4, &vec![2]));
        task.abort();
    }
}
