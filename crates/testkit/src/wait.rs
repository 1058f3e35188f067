//! Waiting for a condition: polled, with a deadline, never for a fixed time.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Polls `look` until it gives a value. What it last said about a missing one is in the error when the time is over.
///
/// # Errors
/// When nothing was there within `limit`; a look that takes longer is broken off.
pub async fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    let mut missing = "the first look does not end".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => missing = format!("{error:#}"),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            anyhow::bail!("{what}: not within {limit:?}: {missing}");
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + INTERVAL)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_holds_whatever_a_look_does() {
        let limit = Duration::from_millis(60);
        let waiting = tokio::time::timeout(Duration::from_secs(20), async {
            let mut looks = 0;
            until("it", limit, async || {
                looks += 1;
                if looks > 1 {
                    std::future::pending::<()>().await;
                }
                Err::<(), _>("not yet")
            })
            .await
        });
        let error = waiting.await.unwrap().unwrap_err().to_string();
        assert_eq!(error, "it: not within 60ms: not yet");
    }
}
