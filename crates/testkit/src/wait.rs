//! Waiting for a condition: polled, with a deadline, never for a fixed time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Polls `look` until it gives a value. What it says about a missing one is in the error when the time is over.
///
/// # Errors
/// When nothing was there within `limit`.
pub async fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(missing) if start.elapsed() >= limit => {
                anyhow::bail!("{what}: not within {limit:?}: {missing:#}");
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
