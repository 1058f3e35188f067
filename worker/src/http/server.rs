//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::access::{STRANGER, refused};
use super::{Access, HttpLimits, Rights, guarded};

/// Pause after a failed accept: no descriptors are left, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a server runs.
#[derive(Clone)]
pub struct HttpServer {
    /// Its limits.
    pub limits: HttpLimits,
    /// TLS, if the server speaks it.
    pub tls: Option<HttpTls>,
    /// Ends the server: nothing is accepted any more, and connections end after the request that they serve.
    pub shutdown: CancellationToken,
    /// How long requests may go on after that before they are cut off.
    pub grace: Duration,
}

/// Encryption, and who may ask for what.
#[derive(Debug, Clone)]
pub struct HttpTls {
    /// Asks for certificates, and does without.
    pub config: Arc<rustls::ServerConfig>,
    /// What the client of a connection may ask for.
    pub access: Access,
}

/// Serves `app` until the shutdown is over: every connection has ended when this returns.
pub async fn serve(listener: TcpListener, app: Router, server: HttpServer) {
    let HttpServer { limits, tls, shutdown, grace } = server;
    let connection = Connection {
        app: guarded(app, limits),
        limits,
        tls: tls.map(|tls| (TlsAcceptor::from(tls.config), tls.access)),
        shutdown: shutdown.clone(),
        cut: CancellationToken::new(),
    };
    let cut = connection.cut.clone();
    let connection = Arc::new(connection);
    let places = Arc::new(Semaphore::new(limits.connections));
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
                let connection = connection.clone();
                tasks.spawn(async move {
                    connection.serve(stream, peer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "requests still run after the grace period and are cut off"
        );
        cut.cancel();
        tasks.wait().await;
    }
}

/// Who the client is, by its certificate.
fn identity<S>(stream: &TlsStream<S>) -> Option<String> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    ampd_kv::tls::san_uri(certificate).ok()
}

/// What all connections of a server share.
struct Connection {
    app: Router,
    limits: HttpLimits,
    tls: Option<(TlsAcceptor, Access)>,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Tokens are small and wanted at once. The call fails only on a socket that is gone already.
        let _ = stream.set_nodelay(true);
        let timeout = self.limits.header_timeout;
        let served = async {
            match &self.tls {
                None => self.speak(stream, peer, Rights::All).await,
                Some((tls, access)) => match tokio::time::timeout(timeout, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let uri = identity(&stream);
                        let rights = access.of(uri.as_deref());
                        if uri.is_some() && rights == STRANGER {
                            tracing::warn!(%peer, uri, "a member of another role gets no more than probes here");
                        }
                        self.speak(stream, peer, rights).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                },
            }
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = served => {}
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        rights: Rights,
    ) {
        let limits = &self.limits;
        let stream = super::timed::Timed::new(stream, limits.write_timeout);
        let app = self.app.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let app = rights.allow(request.method(), request.uri().path()).then(|| app.clone());
            async move {
                match app {
                    Some(app) => app.oneshot(request).await,
                    None => Ok(refused()),
                }
            }
        });
        // HTTP/1.1 alone: in HTTP/2 a client that grants no window, but answers pings, could hold what it has for ever.
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            // Whoever is nobody here has one answer and leaves the place to others.
            .keep_alive(rights != STRANGER)
            .header_read_timeout(limits.header_timeout)
            // One more than allowed, so that the check before the routes can answer for itself.
            .max_headers(limits.headers + 1)
            .max_buf_size((limits.header_bytes + limits.uri_bytes).max(8 << 10));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}
