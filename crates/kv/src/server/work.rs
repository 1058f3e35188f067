//! What a client asks for, done on the store.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::KvServer;
use crate::coverage::Coverage;
use crate::frame::{Frame, Outgoing, Span};
use crate::leases::{Grant, LeaseEnd, Opened};
use crate::pieces::Cut;
use crate::report::FlowMeter;
use crate::{KvStore, Reason, StoreError};

/// One transfer's state.
pub(super) struct Work<'a, S> {
    pub(super) server: &'a KvServer<S>,
    pub(super) lease: &'a Opened,
    pub(super) cut: Cut,
    /// Frames to the client.
    pub(super) queue: mpsc::Sender<Outgoing>,
    /// The transfer is over; only the store is waited for.
    pub(super) stop: CancellationToken,
    pub(super) coverage: Mutex<Coverage>,
    pub(super) pulled: Mutex<FlowMeter>,
    pub(super) pushed: Mutex<FlowMeter>,
}

impl<S: KvStore> Work<'_, S> {
    /// Answers one frame. True if the client has nothing more to say.
    pub(super) async fn perform(&self, frame: Frame) -> Result<bool, Reason> {
        match frame {
            Frame::Pull(span) => self.pull(span).await.map(|()| false),
            Frame::Data(span, [data, _]) => self.push(span, data).await.map(|()| false),
            Frame::Finish => Ok(true),
            Frame::Abort => Err(Reason::Aborted),
            _ => Err(Reason::Protocol),
        }
    }

    fn grant(&self) -> &Grant {
        self.lease.grant()
    }

    fn layers(&self) -> u32 {
        self.server.fingerprint.layers
    }

    async fn pull(&self, span: Span) -> Result<(), Reason> {
        let tokens = span.tokens();
        let bytes = span.bytes(self.cut.token_bytes);
        if span.layer >= self.layers()
            || tokens.end > self.grant().history
            || bytes > self.cut.data_bytes as u64
        {
            return Err(Reason::OutOfRange);
        }
        self.pulled.lock().begin();
        self.lease.check().map_err(LeaseEnd::reason)?;
        let reading = self.server.store.read(self.grant().round, span.layer as usize, tokens);
        let data = self.bounded(reading).await?;
        if data.len() as u64 != bytes {
            tracing::error!(got = data.len(), expected = bytes, "the store read KV of another length");
            return Err(Reason::Store);
        }
        let length = data.len();
        let (sent, delivered) = oneshot::channel();
        let frame = Frame::Data(span, [data, Bytes::new()]);
        self.send(Outgoing { frame, sent: Some(sent) }).await?;
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            delivered = delivered => {
                self.pulled.lock().add(length);
                delivered.map_err(|_| Reason::Disconnected)
            }
        }
    }

    async fn push(&self, span: Span, data: Bytes) -> Result<(), Reason> {
        let tokens = span.tokens();
        if span.bytes(self.cut.token_bytes) != data.len() as u64 {
            return Err(Reason::Protocol);
        }
        let grant = self.grant();
        if span.layer >= self.layers() || tokens.start < grant.history || tokens.end > grant.end {
            return Err(Reason::OutOfRange);
        }
        self.pushed.lock().begin();
        self.lease.check().map_err(LeaseEnd::reason)?;
        if !self.coverage.lock().add(span.layer as usize, tokens.clone()) {
            return Err(Reason::Duplicate);
        }
        let length = data.len();
        let writing = self.server.store.write(grant.round, span.layer as usize, tokens, data);
        self.bounded(writing).await?;
        self.pushed.lock().add(length);
        self.send(Frame::Ack(length as u64).into()).await
    }

    /// Waits for the store, but not for ever.
    async fn bounded<T>(&self, operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, Reason> {
        match tokio::time::timeout(self.server.limits.progress, operation).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::warn!(
                    round = self.grant().round,
                    error = &error as &dyn std::error::Error,
                    "KV store"
                );
                Err(Reason::Store)
            }
            Err(_) => {
                tracing::error!(round = self.grant().round, "the KV store does not answer");
                Err(Reason::Store)
            }
        }
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), Reason> {
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            queued = self.queue.send(outgoing) => queued.map_err(|_| Reason::Disconnected),
        }
    }
}
