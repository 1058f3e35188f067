//! The client's side.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Fingerprint, Handle, KvError, Limits, TransferReport};

/// Opens transfers.
#[derive(Clone)]
pub struct KvClient {
    tls: Arc<rustls::ClientConfig>,
    fingerprint: Fingerprint,
    limits: Limits,
}

impl KvClient {
    /// A client with TLS settings from [`crate::tls::TlsFiles::client_config`].
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>, fingerprint: Fingerprint, limits: Limits) -> Self {
        Self { tls, fingerprint, limits }
    }

    /// Connects to the owner at `address` (`host:port`), whose certificate must have the SAN URI `owner_uri`, and opens
    /// the lease.
    ///
    /// # Errors
    /// When the owner cannot be reached, is someone else, or refuses.
    pub async fn open(&self, address: &str, owner_uri: &str, handle: &Handle) -> Result<Transfer, KvError> {
        let _ = (&self.tls, &self.fingerprint, &self.limits, address, owner_uri, handle);
        std::future::ready(Err(KvError::ShuttingDown)).await
    }

    /// Ends all transfers; when this returns, none of their tasks runs.
    pub async fn shutdown(&self) {
        std::future::ready(()).await;
    }
}

/// KV of a token range in one layer.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Layer.
    pub layer: usize,
    /// Positions in the round's sequence.
    pub tokens: Range<usize>,
    /// K, then V, as the engine's `read_kv` gives them for this span.
    pub data: Bytes,
}

/// An open transfer. Dropping it cuts the connection, which ends the lease as failed.
#[derive(Debug)]
pub struct Transfer {
    range: Range<usize>,
}

impl Transfer {
    /// Tokens whose KV is to be pushed; those before can be pulled.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Pulls the KV of `tokens` in `layers`, piece by piece as they arrive, in no particular order.
    ///
    /// # Errors
    /// When the lease does not allow it.
    pub fn pull(&mut self, layers: Range<usize>, tokens: Range<usize>) -> Result<Pull<'_>, KvError> {
        let _ = (layers, tokens);
        Ok(Pull { transfer: self })
    }

    /// Pushes the KV of `tokens` in `layer`, in the form of `read_kv`; larger data than a frame's is cut at blocks. Returns
    /// when all is handed to the connection; waits while the window is full. Each token once per layer.
    ///
    /// # Errors
    /// When the transfer broke, the owner ended it, or the data is not that of a range that the lease allows.
    pub async fn push(&mut self, layer: usize, tokens: Range<usize>, data: Bytes) -> Result<(), KvError> {
        let _ = (layer, tokens, data);
        std::future::ready(Err(KvError::ShuttingDown)).await
    }

    /// Resolves when the transfer breaks or the owner ends it, with the reason.
    pub async fn failed(&self) -> KvError {
        std::future::pending().await
    }

    /// Ends the transfer; the owner has acknowledged that everything is written.
    ///
    /// # Errors
    /// When something is missing, the transfer broke, or the owner ended it.
    pub async fn finish(self) -> Result<TransferReport, KvError> {
        std::future::ready(Err(KvError::ShuttingDown)).await
    }

    /// Gives the transfer up and tells the owner.
    pub async fn abort(self) {
        std::future::ready(()).await;
    }
}

/// Pieces of KV on their way. Dropping it early leaves pieces unread, after which the transfer can only be dropped.
#[derive(Debug)]
pub struct Pull<'a> {
    transfer: &'a mut Transfer,
}

impl Pull<'_> {
    /// The next piece; none when all are there. Cancel safe.
    ///
    /// # Errors
    /// When the transfer broke or the owner ended it.
    pub async fn next(&mut self) -> Result<Option<Piece>, KvError> {
        let _ = &self.transfer;
        std::future::ready(Err(KvError::ShuttingDown)).await
    }
}
