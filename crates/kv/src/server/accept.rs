//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::KvServer;
use crate::tls::peer_uri;
use crate::{BadFingerprint, KvStore, Reason};

/// Pause after a failed accept: no descriptors are left, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TLS handshakes under way at once; more connections wait to be accepted. They hold no place of a transfer, so that
/// strangers who connect and say nothing keep nobody out until there are very many of them.
const HANDSHAKES: usize = 1024;

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
    let (handshakes, places) = (Arc::new(Semaphore::new(HANDSHAKES)), Semaphore::new(server.connections));
    let places = Arc::new(places);
    let tasks = TaskTracker::new();
    loop {
        let accepted = async {
            let handshake = handshakes.clone().acquire_owned().await;
            (listener.accept().await, handshake)
        };
        let (accepted, handshake) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (server, shutdown, places) = (server.clone(), shutdown.clone(), places.clone());
                tasks.spawn(async move {
                    let greeted = tokio::select! {
                        () = shutdown.cancelled() => return,
                        greeted = server.greeted(stream, peer, &places) => greeted,
                    };
                    drop(handshake);
                    match greeted {
                        Ok((stream, uri, _place)) => {
                            if let Err(error) = server.serve_stream(stream, &uri, &shutdown).await {
                                let error = &error as &dyn std::error::Error;
                                tracing::error!(error, "KV cannot be served");
                            }
                        }
                        Err(reason) => server.observer.refused(reason),
                    }
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
    /// A TLS session, who its client is, and its place among the transfers.
    async fn greeted<'a>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        places: &'a Semaphore,
    ) -> Result<(TlsStream<TcpStream>, String, Option<SemaphorePermit<'a>>), Reason> {
        // Acknowledgements are small and wanted at once. The call fails only on a socket that is gone already.
        let _ = stream.set_nodelay(true);
        let limit = self.limits.handshake;
        let accepting = tokio::time::timeout(limit, TlsAcceptor::from(self.tls.clone()).accept(stream));
        let stream = match accepting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::warn!(%peer, %error, "KV connection refused: no TLS session");
                return Err(Reason::Tls);
            }
            Err(_) => {
                tracing::warn!(%peer, "KV connection refused: the TLS handshake took too long");
                return Err(Reason::Timeout);
            }
        };
        let uri = peer_uri(stream.get_ref().1.peer_certificates()).map_err(|error| {
            tracing::warn!(%peer, %error, "KV connection refused: no identity");
            Reason::Identity
        })?;
        // The semaphore is never closed. Its client waits no longer for an answer than this for a place.
        let Ok(place) = tokio::time::timeout(limit, places.acquire()).await else {
            tracing::warn!(%peer, "KV connection refused: other transfers hold all places");
            return Err(Reason::Timeout);
        };
        Ok((stream, uri, place.ok()))
    }
}
