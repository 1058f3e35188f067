//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::KvServer;
use crate::tls::{TlsError, peer_uri};
use crate::{BadFingerprint, KvStore, Reason};

/// Pause after a failed accept: no descriptors are left, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves transfers until the shutdown; every connection has ended when this returns, which takes no longer than the
/// store takes to finish what it was asked for, and a few seconds for peers that do not listen.
///
/// # Errors
/// At once, when the fingerprint is one that no transfer can have.
pub async fn serve<S: KvStore>(
    listener: TcpListener,
    server: impl Into<Arc<KvServer<S>>>,
    shutdown: CancellationToken,
) -> Result<(), BadFingerprint> {
    let server = server.into();
    server.fingerprint.token_layer_bytes()?;
    let places = Arc::new(Semaphore::new(server.connections));
    let tasks = TaskTracker::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (server, shutdown) = (server.clone(), shutdown.clone());
                tasks.spawn(async move {
                    server.connection(stream, peer, &shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a KV connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

impl<S: KvStore> KvServer<S> {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, shutdown: &CancellationToken) {
        // Acknowledgements are small and wanted at once. The call fails only on a socket that is gone already.
        let _ = stream.set_nodelay(true);
        let accepting =
            tokio::time::timeout(self.limits.handshake, TlsAcceptor::from(self.tls.clone()).accept(stream));
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accepting => accepted,
        };
        let refused = match accepted {
            Ok(Ok(stream)) => match peer_uri(stream.get_ref().1.peer_certificates()) {
                Ok(uri) => {
                    if let Err(error) = self.serve_stream(stream, &uri, shutdown).await {
                        tracing::error!(error = &error as &dyn std::error::Error, "KV cannot be served");
                    }
                    return;
                }
                Err(error @ (TlsError::NoUri(_) | TlsError::NoCertificate)) => {
                    tracing::warn!(%peer, %error, "KV connection refused: no identity");
                    Reason::Identity
                }
                Err(error) => {
                    tracing::warn!(%peer, %error, "KV connection refused");
                    Reason::Tls
                }
            },
            Ok(Err(error)) => {
                tracing::warn!(%peer, %error, "KV connection refused: no TLS session");
                Reason::Tls
            }
            Err(_) => {
                tracing::warn!(%peer, "KV connection refused: the TLS handshake took too long");
                Reason::Timeout
            }
        };
        self.observer.refused(refused);
    }
}
