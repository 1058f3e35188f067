//! The task behind a transfer: it reads and writes frames, and notices when the owner is gone.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::connect::unexpected;
use crate::frame::{Frame, FrameError, FrameReader, Outgoing, Span, write_frames};
use crate::report::FlowMeter;
use crate::{KvError, Limits};

/// How long the owner's last words are waited for when nothing can be written any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a transfer and its task share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// Cuts the connection.
    pub(super) cut: CancellationToken,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Why the transfer broke.
    pub(super) failure: Option<KvError>,
    /// KV bytes handed to the connection.
    pub(super) sent: u64,
    /// KV bytes that the owner has written.
    pub(super) written: u64,
    /// Spans that were asked for and have not come.
    pub(super) asked: HashSet<Span>,
    /// The owner has acknowledged the end.
    pub(super) finished: bool,
    pub(super) pulled: FlowMeter,
    pub(super) pushed: FlowMeter,
}

impl Shared {
    pub(super) fn new(cut: CancellationToken) -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()), cut }
    }

    /// Changes the state and wakes whoever waits for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.send_replace(());
        result
    }

    /// Waits for something, as long as there is progress; fails when the transfer does.
    pub(super) async fn wait<T>(
        &self,
        what: &'static str,
        limit: Duration,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, KvError> {
        let mut changes = self.changed.subscribe();
        loop {
            {
                let mut state = self.state.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if let Some(value) = ready(&mut state) {
                    return Ok(value);
                }
            }
            // The sender lives as long as `self`, so `changed` cannot fail.
            if tokio::time::timeout(limit, changes.changed()).await.is_err() {
                return Err(KvError::Timeout { what, limit });
            }
        }
    }

    /// Waits until the transfer has failed.
    pub(super) async fn failed(&self) -> KvError {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(failure) = self.state.lock().failure.clone() {
                return failure;
            }
            // As above.
            let _ = changes.changed().await;
        }
    }

    /// Why the transfer's task takes no more frames. When nothing can be written any more the task still hears the owner's
    /// last words before it records the failure.
    pub(super) async fn failure(&self) -> KvError {
        let recorded = tokio::time::timeout(2 * LAST_WORDS, self.failed()).await;
        // Only a task that was dropped with its runtime records nothing.
        recorded.unwrap_or(KvError::ShuttingDown)
    }
}

/// Moves frames until the transfer is over, one way or another.
pub(super) async fn drive(
    shared: &Shared,
    reader: FrameReader<impl AsyncRead + Unpin>,
    writer: impl AsyncWrite + Unpin,
    queue: mpsc::Receiver<Outgoing>,
    pieces: mpsc::UnboundedSender<(Span, Bytes)>,
    limits: Limits,
    token_bytes: usize,
) {
    let mut reading = pin!(read(shared, reader, pieces, token_bytes));
    let mut writing = pin!(write_frames(writer, queue, limits));
    let moved = async {
        tokio::select! {
            biased;
            read = &mut reading => {
                read?;
                // The owner closes when this side has.
                Ok(writing.await?)
            }
            written = &mut writing => {
                // The owner may have said why before it closed; after an abort it only closes.
                match tokio::time::timeout(LAST_WORDS, reading).await {
                    Ok(read) => read,
                    Err(_) => Ok(written?),
                }
            }
        }
    };
    let failure = tokio::select! {
        () = shared.cut.cancelled() => Err(KvError::ShuttingDown),
        moved = moved => moved,
    };
    if let Err(failure) = failure {
        shared.change(|state| {
            state.failure.get_or_insert(failure);
        });
    }
}

/// Reads what the owner sends until it acknowledges the end.
async fn read(
    shared: &Shared,
    mut reader: FrameReader<impl AsyncRead + Unpin>,
    pieces: mpsc::UnboundedSender<(Span, Bytes)>,
    token_bytes: usize,
) -> Result<(), KvError> {
    loop {
        match reader.next().await? {
            Frame::Ping => {}
            Frame::Data(span, [data, _]) => {
                if span.bytes(token_bytes) != data.len() as u64 {
                    return Err(KvError::Frame(FrameError::Field("KV length")));
                }
                // What was not asked for is not kept: the client's window bounds what is.
                if !shared.change(|state| state.asked.remove(&span)) {
                    return Err(KvError::Frame(FrameError::Unexpected("data")));
                }
                let bytes = data.len();
                // Nobody takes it any more when the transfer is dropped, which also ends this.
                let _ = pieces.send((span, data));
                // Only now, so that whoever is woken finds it.
                shared.change(|state| state.pulled.add(bytes));
            }
            Frame::Ack(bytes) => shared.change(|state| {
                // Nothing acknowledged is no progress, and would pass for it.
                if bytes == 0 || bytes > state.sent - state.written {
                    return Err(KvError::Frame(FrameError::Field("acknowledgement")));
                }
                state.written += bytes;
                state.pushed.add(bytes as usize);
                Ok(())
            })?,
            Frame::Finished => {
                shared.change(|state| state.finished = true);
                return Ok(());
            }
            other => return Err(unexpected(&other)),
        }
    }
}
