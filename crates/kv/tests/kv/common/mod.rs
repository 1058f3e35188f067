//! An owner with a store in memory, and streams in memory that can be watched and cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ampd_kv::tls::{CertificateAuthority, Identity, Role, TlsFiles};
use ampd_kv::{
    Dtype, Fingerprint, Grant, KvClient, KvError, KvServer, KvStore, Lease, LeaseEnd, Leases, Limits,
    Observer, Reason, StoreError, Transfer, TransferReport,
};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub mod by_hand;
pub mod entry;
pub mod relay;

pub const BLOCK: usize = 4;
pub const LAYERS: usize = 3;
pub const HEADS: usize = 2;
pub const HEAD_DIM: usize = 4;
/// Bytes of one token in one layer.
pub const TOKEN: usize = 2 * 2 * HEADS * HEAD_DIM;

pub const FINGERPRINT: Fingerprint = Fingerprint {
    model_digest: [7; 32],
    dtype: Dtype::Bf16,
    layout: 1,
    block_tokens: BLOCK as u32,
    layers: LAYERS as u32,
    kv_heads: HEADS as u32,
    head_dim: HEAD_DIM as u32,
    tensor_parallel: 1,
};

/// Frames that take two blocks, and times that no busy machine exceeds.
pub fn limits() -> Limits {
    let long = Duration::from_secs(20);
    Limits {
        data_bytes: (2 * BLOCK * TOKEN) as u32,
        window_bytes: (5 * BLOCK * TOKEN) as u32,
        connect: long,
        handshake: long,
        progress: long,
        ping: Duration::from_millis(100),
    }
}

/// For tests of what takes too long.
pub fn hasty() -> Limits {
    let short = Duration::from_millis(500);
    Limits { handshake: short, progress: short, ping: short / 10, ..limits() }
}

pub fn identity(role: Role) -> Identity {
    Identity::new("default", "chat", role).unwrap()
}

/// Certificates of the service's roles.
pub struct Certificates {
    pub prefill: TlsFiles,
    pub decode: TlsFiles,
    pub sidecar: TlsFiles,
    pub monitor: TlsFiles,
    pub operator: TlsFiles,
    /// The prefill role of another authority.
    pub stranger: TlsFiles,
}

pub static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let authority = || CertificateAuthority::new("chat", Duration::from_hours(1)).unwrap();
    let (own, other) = (authority(), authority());
    Certificates {
        prefill: own.issue(&identity(Role::Prefill)).unwrap(),
        decode: own.issue(&identity(Role::Decode)).unwrap(),
        sidecar: own.issue(&identity(Role::Sidecar)).unwrap(),
        monitor: own.issue(&identity(Role::Monitor)).unwrap(),
        operator: own.issue(&identity(Role::Operator)).unwrap(),
        stranger: other.issue(&identity(Role::Prefill)).unwrap(),
    }
});

/// KV of a span in the engine's form, where every element tells its place.
pub fn kv(layer: usize, tokens: Range<usize>) -> Bytes {
    let mut out = Vec::new();
    for side in 0..2 {
        for first in (tokens.start / BLOCK * BLOCK..tokens.end).step_by(BLOCK) {
            for head in 0..HEADS {
                for token in first.max(tokens.start)..(first + BLOCK).min(tokens.end) {
                    for element in 0..HEAD_DIM {
                        let value = token * 131 + layer * 31 + head * 17 + side * 11 + element * 3;
                        out.extend((value as u16).to_le_bytes());
                    }
                }
            }
        }
    }
    out.into()
}

/// A store whose KV is [`kv`], and which can be slow or fail.
pub struct Store {
    /// Writes that were done: round, layer, tokens.
    pub written: Mutex<Vec<(u64, usize, Range<usize>)>>,
    /// Reads and writes begun.
    pub begun: Mutex<usize>,
    /// Each operation takes one for a moment.
    pub gate: Semaphore,
    pub failing: bool,
}

impl Default for Store {
    fn default() -> Self {
        let written = Mutex::default();
        Self { written, begun: Mutex::default(), gate: Semaphore::new(1000), failing: false }
    }
}

impl Store {
    async fn pass(&self) -> Result<(), StoreError> {
        *self.begun.lock() += 1;
        drop(self.gate.acquire().await.unwrap());
        if self.failing { Err(StoreError::Gone) } else { Ok(()) }
    }
}

impl KvStore for Store {
    async fn read(&self, _: u64, layer: usize, tokens: Range<usize>) -> Result<Bytes, StoreError> {
        self.pass().await?;
        Ok(kv(layer, tokens))
    }

    async fn write(
        &self,
        round: u64,
        layer: usize,
        tokens: Range<usize>,
        data: Bytes,
    ) -> Result<(), StoreError> {
        self.pass().await?;
        assert_eq!(data, kv(layer, tokens.clone()), "layer {layer} tokens {tokens:?}");
        self.written.lock().push((round, layer, tokens));
        Ok(())
    }
}

/// What the observer heard.
#[derive(Default)]
pub struct Heard {
    pub refused: Mutex<Vec<Reason>>,
    pub transferred: Mutex<Vec<TransferReport>>,
}

impl Observer for Heard {
    fn refused(&self, reason: Reason) {
        self.refused.lock().push(reason);
    }

    fn transferred(&self, report: &TransferReport) {
        self.transferred.lock().push(*report);
    }
}

/// An owner.
pub struct Owner {
    pub server: Arc<KvServer<Store>>,
    pub leases: Leases,
    pub store: Arc<Store>,
    pub heard: Arc<Heard>,
    pub shutdown: CancellationToken,
}

pub const HISTORY: usize = 14;
pub const END: usize = 35;
pub const ROUND: u64 = 77;

impl Owner {
    pub fn new(store: Store) -> Self {
        Self::with_limits(store, limits())
    }

    pub fn with_limits(store: Store, limits: Limits) -> Self {
        let (store, heard, leases) = (Arc::new(store), Arc::new(Heard::default()), Leases::new(8));
        let server = KvServer {
            tls: Arc::new(CERTIFICATES.decode.server_config().unwrap()),
            client_uris: vec![identity(Role::Prefill).uri()],
            fingerprint: FINGERPRINT,
            limits,
            connections: 8,
            leases: leases.clone(),
            store: store.clone(),
            observer: heard.clone(),
        };
        let server = Arc::new(server);
        Self { server, leases, store, heard, shutdown: CancellationToken::new() }
    }

    pub fn lease(&self) -> Lease {
        self.lease_of(HISTORY, END)
    }

    pub fn lease_of(&self, history: usize, end: usize) -> Lease {
        let requester = identity(Role::Prefill).uri();
        let grant = Grant { round: ROUND, requester, history, end };
        self.leases.grant(grant, Duration::from_secs(10)).unwrap()
    }

    /// Serves one stream; the other end comes back.
    pub fn stream(&self) -> (DuplexStream, JoinHandle<()>) {
        // Small, so that both sides have to wait for one another.
        let (near, far) = tokio::io::duplex(600);
        let (server, shutdown) = (self.server.clone(), self.shutdown.clone());
        let task = tokio::spawn(async move {
            server.serve_stream(far, &identity(Role::Prefill).uri(), &shutdown).await.unwrap();
        });
        (near, task)
    }
}

pub fn client_with(fingerprint: Fingerprint, limits: Limits) -> KvClient {
    KvClient::new(Arc::new(CERTIFICATES.prefill.client_config().unwrap()), fingerprint, limits).unwrap()
}

pub fn client() -> KvClient {
    client_with(FINGERPRINT, limits())
}

/// Pulls all history and checks it.
pub async fn pull_all(transfer: &mut Transfer) -> Result<(), KvError> {
    let mut seen = 0;
    let mut pieces = transfer.pull(0..LAYERS, 0..HISTORY)?;
    while let Some(piece) = pieces.next().await? {
        assert_eq!(piece.data, kv(piece.layer, piece.tokens.clone()));
        seen += piece.tokens.len();
    }
    assert_eq!(seen, LAYERS * HISTORY);
    Ok(())
}

/// Pushes everything, in two chunks of tokens as a chunked prefill does.
pub async fn push_all(transfer: &mut Transfer) -> Result<(), KvError> {
    let middle = 22;
    for tokens in [HISTORY..middle, middle..END] {
        for layer in 0..LAYERS {
            transfer.push(layer, tokens.clone(), kv(layer, tokens.clone())).await?;
        }
    }
    Ok(())
}

/// A whole transfer.
pub async fn move_all(mut transfer: Transfer) -> Result<TransferReport, KvError> {
    pull_all(&mut transfer).await?;
    push_all(&mut transfer).await?;
    transfer.finish().await
}

/// How the lease ended, if it has.
pub async fn end_of(lease: &Lease) -> Option<LeaseEnd> {
    tokio::time::timeout(Duration::ZERO, lease.ended()).await.ok()
}

/// Fails when something takes too long.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it takes too long")
}
