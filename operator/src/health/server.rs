//! An accept loop for short questions: one request a connection, few connections, and a deadline for each.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// How long a connection may last, with its handshake, its request and its answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long connections may go on at the end.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a failed accept: no descriptors are left, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HEADERS: usize = 64;
/// Room for a request's head; tokens are a few KiB.
const HEAD_BYTES: usize = 32 << 10;

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No socket.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No certificate.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// No TLS.
    #[error("cannot use the certificate")]
    Tls(#[from] rustls::Error),
}

/// A server that runs.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// Waits for its end, which its shutdown brings about.
    pub async fn finish(self) {
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn Error, "a server broke off");
        }
    }
}

/// Settings with a certificate of its own making, as who scrapes metrics does not check it: the token says who asks, and
/// TLS keeps the token secret from those who only listen.
pub(super) fn own_certificate() -> Result<TlsAcceptor, ServeError> {
    let made = rcgen::generate_simple_self_signed(["ampd-operator".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves `app` until the shutdown.
pub(super) async fn start(
    address: SocketAddr,
    app: Router,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
) -> Result<Serving, ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Serving { address, task: tokio::spawn(serve(listener, app, tls, shutdown)) })
}

async fn serve(listener: TcpListener, app: Router, tls: Option<TlsAcceptor>, shutdown: CancellationToken) {
    let (places, tasks) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    let cut = CancellationToken::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let Some((accepted, place)) = shutdown.run_until_cancelled(accepted).await else { break };
        match accepted {
            Ok((stream, peer)) => {
                let (app, tls, cut) = (app.clone(), tls.clone(), cut.clone());
                tasks.spawn(async move {
                    let answered = timeout(PATIENCE, answer(stream, app, tls));
                    match cut.run_until_cancelled(answered).await {
                        Some(Ok(Err(error))) => tracing::debug!(%peer, error, "a connection failed"),
                        Some(Err(_)) => tracing::debug!(%peer, "a connection took too long"),
                        Some(Ok(Ok(()))) | None => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

type Failure = Box<dyn Error + Send + Sync>;

async fn answer(stream: TcpStream, app: Router, tls: Option<TlsAcceptor>) -> Result<(), Failure> {
    match tls {
        Some(tls) => speak(tls.accept(stream).await?, app).await,
        None => speak(stream, app).await,
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
) -> Result<(), Failure> {
    let service =
        hyper::service::service_fn(move |request: hyper::Request<Incoming>| app.clone().oneshot(request));
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(PATIENCE)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    builder.serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}
