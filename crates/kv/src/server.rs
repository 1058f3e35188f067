//! The owner's side.

mod accept;
mod handshake;
mod session;
mod work;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use accept::serve;

use crate::{BadFingerprint, Fingerprint, KvStore, Leases, Limits, MAX_DATA_BYTES, Reason, TransferReport};

/// Hears of refusals and of transfers' ends, for logs and metrics. Calls must return at once.
pub trait Observer: Send + Sync + 'static {
    /// A connection or handle was refused.
    fn refused(&self, reason: Reason);
    /// A transfer that had been opened is over.
    fn transferred(&self, report: &TransferReport);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn refused(&self, _: Reason) {}
    fn transferred(&self, _: &TransferReport) {}
}

/// What the owner's side serves.
pub struct KvServer<S> {
    /// TLS settings, from [`crate::tls::TlsFiles::server_config`].
    pub tls: Arc<rustls::ServerConfig>,
    /// SAN URIs of clients, one of which they must have.
    pub client_uris: Vec<String>,
    /// What clients' KV must have in common with the store's.
    pub fingerprint: Fingerprint,
    /// Sizes and times.
    pub limits: Limits,
    /// Transfers at once; more wait for their turn, as long as a handshake may take.
    pub connections: usize,
    /// Leases that can be opened.
    pub leases: Leases,
    /// Where the KV lies.
    pub store: Arc<S>,
    /// Who hears of refusals and transfers.
    pub observer: Arc<dyn Observer>,
}

impl<S: KvStore> KvServer<S> {
    /// Serves one transfer on a stream whose peer is known to have this SAN URI. Returns when the transfer is over and
    /// no read or write of the store is under way.
    ///
    /// # Errors
    /// When the fingerprint is one that no transfer can have; anything else the observer hears.
    pub async fn serve_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send,
        peer_uri: &str,
        shutdown: &CancellationToken,
    ) -> Result<(), BadFingerprint> {
        let token_bytes = self.fingerprint.token_layer_bytes()?;
        let (reader, writer) = tokio::io::split(stream);
        let mut reader = crate::frame::FrameReader::new(reader, self.limits.handshake);
        let mut writer = writer;
        let greeted = tokio::select! {
            () = shutdown.cancelled() => Err(Reason::ShuttingDown),
            greeted = self.greet(&mut reader, &mut writer, peer_uri, token_bytes) => greeted,
        };
        match greeted {
            Ok((lease, cut)) => session::run(self, reader, writer, lease, cut, shutdown).await,
            Err(reason) => self.refuse(reader, writer, reason).await,
        }
        Ok(())
    }
}

/// The most KV bytes of a data frame between two peers that allow `ours` and `theirs`: a block of one layer always fits.
pub(crate) fn agreed_data_bytes(
    ours: u32,
    theirs: u32,
    fingerprint: &Fingerprint,
    token_bytes: usize,
) -> u32 {
    // `Fingerprint::token_layer_bytes` made sure that a block is no larger than the maximum.
    let block = token_bytes as u32 * fingerprint.block_tokens;
    ours.min(theirs).clamp(block, MAX_DATA_BYTES)
}
