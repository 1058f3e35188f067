//! An open transfer.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::driver::{Shared, drive};
use super::{KvClient, Pull};
use crate::frame::{Frame, FrameReader, Outgoing, Span};
use crate::pieces::Cut;
use crate::{KvError, Limits, TransferReport};

/// Frames that wait to be written.
const QUEUE: usize = 4;

/// An open transfer. Dropping it cuts the connection, which ends the lease as failed.
#[derive(Debug)]
pub struct Transfer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Sender<Outgoing>,
    pub(super) pieces: mpsc::UnboundedReceiver<(Span, Bytes)>,
    pub(super) cut: Cut,
    pub(super) limits: Limits,
    pub(super) layers: usize,
    range: Range<usize>,
    /// Pieces that were asked for and not taken: bytes.
    pub(super) outstanding: usize,
    task: tokio::task::JoinHandle<()>,
    /// Cuts the connection when this is dropped.
    guard: DropGuard,
}

impl Transfer {
    pub(super) fn start(
        client: &KvClient,
        reader: FrameReader<impl AsyncRead + Unpin + Send + 'static>,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        range: Range<usize>,
        cut: Cut,
    ) -> Self {
        let token = client.shutdown.child_token();
        let shared = Arc::new(Shared::new(token.clone()));
        let (queue, queued) = mpsc::channel(QUEUE);
        let (arrived, pieces) = mpsc::unbounded_channel();
        let limits = client.limits;
        let of_task = shared.clone();
        let task = client.tasks.spawn(async move {
            drive(&of_task, reader, writer, queued, arrived, limits, cut.token_bytes).await;
        });
        let layers = client.fingerprint.layers as usize;
        let guard = token.drop_guard();
        Self { shared, queue, pieces, cut, limits, layers, range, outstanding: 0, task, guard }
    }

    /// Tokens whose KV is to be pushed; those before can be pulled.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Pulls the KV of `tokens` in `layers`, piece by piece as they arrive, in no particular order. Many requests are
    /// under way at once, within the window.
    ///
    /// # Errors
    /// When the lease does not allow it, or an earlier pull was not taken to its end.
    pub fn pull(&mut self, layers: Range<usize>, tokens: Range<usize>) -> Result<Pull<'_>, KvError> {
        if layers.end > self.layers || tokens.end > self.range.start {
            let allowed = self.range.start;
            return Err(KvError::Request(format!(
                "tokens {tokens:?} in layers {layers:?} cannot be pulled: there are {} layers of {allowed} tokens",
                self.layers,
            )));
        }
        if self.outstanding > 0 {
            return Err(KvError::Request("an earlier pull was not taken to its end".to_owned()));
        }
        Ok(Pull::new(self, layers, tokens))
    }

    /// Pushes the KV of `tokens` in `layer`, in the form of the engine's `read_kv`; what is larger than a frame is cut at
    /// blocks. Returns when all is handed to the connection; waits while the window is full. Each token goes once per
    /// layer.
    ///
    /// # Errors
    /// When the transfer broke, the owner ended it, or the data is not that of a range that the lease allows.
    pub async fn push(&mut self, layer: usize, tokens: Range<usize>, data: Bytes) -> Result<(), KvError> {
        let allowed = &self.range;
        if layer >= self.layers || tokens.start < allowed.start || tokens.end > allowed.end {
            let layers = self.layers;
            return Err(KvError::Request(format!(
                "tokens {tokens:?} in layer {layer} cannot be pushed: the lease is for {allowed:?} in {layers} layers",
            )));
        }
        let (got, expected) = (data.len(), tokens.len() * self.cut.token_bytes);
        if got != expected {
            return Err(KvError::Request(format!("KV of {tokens:?} has {got} bytes, expected {expected}")));
        }
        let window = u64::from(self.limits.window_bytes);
        for part in self.cut.ranges(tokens.clone()) {
            let bytes = (part.len() * self.cut.token_bytes) as u64;
            let (start, count) = (part.start as u32, part.len() as u32);
            let frame =
                Frame::Data(Span { layer: layer as u32, start, count }, self.cut.part(&data, &tokens, &part));
            let Ok(room) = self.queue.reserve().await else { return Err(self.shared.failure().await) };
            let admitted = self.shared.wait("writing at the owner", self.limits.progress, |state| {
                let under_way = state.sent - state.written;
                (under_way == 0 || under_way + bytes <= window).then(|| {
                    state.pushed.begin();
                    state.sent += bytes;
                })
            });
            admitted.await?;
            room.send(frame.into());
        }
        Ok(())
    }

    /// Resolves when the transfer breaks or the owner ends it, with the reason.
    pub async fn failed(&self) -> KvError {
        self.shared.failed().await
    }

    /// Ends the transfer; the owner has acknowledged that everything is written. If this fails, the owner may have
    /// everything all the same: only the acknowledgement may be lost.
    ///
    /// # Errors
    /// When something is missing, the transfer broke, or the owner ended it.
    pub async fn finish(self) -> Result<TransferReport, KvError> {
        let Self { shared, queue, task, limits, guard, .. } = self;
        if queue.send(Frame::Finish.into()).await.is_err() {
            return Err(shared.failure().await);
        }
        shared.wait("finishing", limits.progress, |state| state.finished.then_some(())).await?;
        drop(queue);
        // The task only closes the connection now; it is cut if that takes too long.
        let _ = tokio::time::timeout(limits.progress, task).await;
        drop(guard);
        Ok(shared.change(|state| TransferReport {
            pulled: state.pulled.flow(),
            pushed: state.pushed.flow(),
            failure: None,
        }))
    }

    /// What has moved so far.
    #[must_use]
    pub fn report(&self) -> TransferReport {
        self.shared.change(|state| TransferReport {
            pulled: state.pulled.flow(),
            pushed: state.pushed.flow(),
            failure: state.failure.as_ref().map(KvError::reason),
        })
    }

    /// Gives the transfer up and tells the owner.
    pub async fn abort(self) {
        let Self { queue, task, limits, guard, .. } = self;
        let told = async {
            // If the transfer broke, the owner knows.
            if queue.send(Frame::Abort.into()).await.is_ok() {
                drop(queue);
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(limits.ping, told).await;
        drop(guard);
    }
}
