//! Waiting for a condition: polled, with a deadline, never for a fixed time.

use std::time::{Duration, Instant};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Polls `look` until it gives a value. What it last said about a missing one is in the error when the time is over.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(missing) if Instant::now() >= deadline => {
                return Err(missing.context(format!("{what}: not within {limit:?}")));
            }
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}
