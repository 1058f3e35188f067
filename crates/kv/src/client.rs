//! The client's side.

mod connect;
mod driver;
mod pull;
mod transfer;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use pull::{Piece, Pull};
pub use transfer::Transfer;

use crate::{BadFingerprint, Fingerprint, Limits};

/// Opens transfers. Clones share their shutdown.
#[derive(Clone)]
pub struct KvClient {
    tls: Arc<rustls::ClientConfig>,
    fingerprint: Fingerprint,
    /// Bytes of one token in one layer.
    token_bytes: usize,
    limits: Limits,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl KvClient {
    /// A client with TLS settings from [`crate::tls::TlsFiles::client_config`].
    ///
    /// # Errors
    /// When the fingerprint is one that no transfer can have.
    pub fn new(
        tls: Arc<rustls::ClientConfig>,
        fingerprint: Fingerprint,
        limits: Limits,
    ) -> Result<Self, BadFingerprint> {
        let token_bytes = fingerprint.token_layer_bytes()?;
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self { tls, fingerprint, token_bytes, limits, tasks, shutdown })
    }

    /// Ends all transfers, and opens no more; when this returns, none of their tasks runs.
    pub async fn shutdown(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
