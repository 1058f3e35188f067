//! Waiting lines: one at a time for each name, in order of arrival.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A line for each name; a name without anybody in its line takes no memory.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Arc<Mutex<HashMap<String, Line>>>,
    longest: usize,
}

#[derive(Debug)]
struct Line {
    gate: Arc<Semaphore>,
    /// Those who wait and the one who is through.
    people: usize,
}

/// Why one could not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error("too many wait already")]
    Full,
    #[error("the wait took too long")]
    TooLong,
}

/// The right to be the only one of its name; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// Before `_person`: the gate opens before the line may go away.
    _permit: OwnedSemaphorePermit,
    _person: Person,
}

#[derive(Debug)]
struct Person {
    name: String,
    lines: Arc<Mutex<HashMap<String, Line>>>,
}

impl Drop for Person {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&self.name) {
            line.people -= 1;
            if line.people == 0 {
                lines.remove(&self.name);
            }
        }
    }
}

impl Lines {
    /// Lines in which at most `longest` wait or are through.
    pub(super) fn new(longest: usize) -> Self {
        Self { lines: Arc::default(), longest }
    }

    /// Waits for the turn of `name`.
    pub(super) async fn wait(&self, name: &str, deadline: Duration) -> Result<Turn, LineError> {
        let (person, gate) = self.join(name, self.longest).ok_or(LineError::Full)?;
        let permit = tokio::time::timeout(deadline, gate.acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, _person: person }),
            // The gate is never closed.
            Ok(Err(_)) | Err(_) => Err(LineError::TooLong),
        }
    }

    /// The turn of `name` if nobody is in its line.
    pub(super) fn enter(&self, name: &str) -> Option<Turn> {
        let (person, gate) = self.join(name, 1)?;
        Some(Turn { _permit: gate.try_acquire_owned().ok()?, _person: person })
    }

    fn join(&self, name: &str, longest: usize) -> Option<(Person, Arc<Semaphore>)> {
        let mut lines = self.lines.lock();
        let line = lines
            .entry(name.to_owned())
            .or_insert_with(|| Line { gate: Arc::new(Semaphore::new(1)), people: 0 });
        if line.people >= longest {
            return None;
        }
        line.people += 1;
        let gate = line.gate.clone();
        Some((Person { name: name.to_owned(), lines: self.lines.clone() }, gate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn one_at_a_time_and_no_more_than_may_wait() {
        let lines = Arc::new(Lines::new(2));
        let first = lines.wait("a", LONG).await.unwrap();
        assert!(lines.enter("a").is_none());
        assert!(lines.enter("b").is_some());
        let waiting = tokio::spawn({
            let lines = lines.clone();
            async move { lines.wait("a", LONG).await.map(drop) }
        });
        while lines.lines.lock()["a"].people < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lines.wait("a", LONG).await.unwrap_err(), LineError::Full);
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(lines.lines.lock().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let lines = Lines::new(8);
        let first = lines.enter("a").unwrap();
        let late = lines.wait("a", Duration::from_millis(1)).await;
        assert_eq!(late.unwrap_err(), LineError::TooLong);
        drop(first);
        assert!(lines.lines.lock().is_empty());
    }
}
