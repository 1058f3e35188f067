//! Reading an event stream with a limit on silence.

use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::ClientError;
use super::ndjson::Lines;

/// The events of one call. Dropping it closes the connection, which cancels the work at the other side.
#[derive(Debug)]
pub struct EventStream<T> {
    lines: Lines<reqwest::Error>,
    silence: Duration,
    events: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> EventStream<T> {
    pub(super) fn new(response: reqwest::Response, max_line: usize, silence: Duration) -> Self {
        Self { lines: Lines::new(response.bytes_stream(), max_line), silence, events: PhantomData }
    }

    /// The next event; `None` at the stream's end. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// `Silent` when nothing came for as long as the call allows, `Stream` when the connection broke or a line is too
    /// long, `Event` when a line is not an event.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        let line = tokio::time::timeout(self.silence, self.lines.next())
            .await
            .map_err(|_| ClientError::Silent { after: self.silence })??;
        match line {
            Some(line) => serde_json::from_slice(&line).map(Some).map_err(ClientError::Event),
            None => Ok(None),
        }
    }
}
