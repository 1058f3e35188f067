//! Times of KV transfers: real pushes into an engine, through TLS over loopback.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ampd_engine::backend::BLOCK_TOKENS;
use ampd_engine::core::RoundId;
use ampd_kv::tls::{CertificateAuthority, Identity, Role};
use ampd_kv::{
    BadFingerprint, Dtype, Fingerprint, Grant, KvClient, KvServer, KvStore, Leases, Limits, MAX_LEASE,
    NoObserver, StoreError,
};
use anyhow::Context as _;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::bench::Bench;

/// How long the certificates of a measurement are valid.
const VALID: Duration = Duration::from_hours(1);
/// Longest wait for one transfer.
const DEADLINE: Duration = Duration::from_mins(1);

/// The engine as owner of KV.
struct Store(Mutex<Bench>);

impl Store {
    fn with<T>(&self, work: impl FnOnce(&mut Bench) -> anyhow::Result<T>) -> anyhow::Result<T> {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KvStore for Store {
    async fn read(&self, round: u64, layer: usize, tokens: Range<usize>) -> Result<Bytes, StoreError> {
        let mut out = Vec::new();
        self.with(|bench| Ok(bench.engine.read_kv(RoundId(round), layer, tokens, &mut out)?))
            .map_err(|error| StoreError::Failed(error.into()))?;
        Ok(out.into())
    }

    async fn write(
        &self,
        round: u64,
        layer: usize,
        tokens: Range<usize>,
        data: Bytes,
    ) -> Result<(), StoreError> {
        self.with(|bench| Ok(bench.engine.write_remote(RoundId(round), layer, tokens, &data)?))
            .map_err(|error| StoreError::Failed(error.into()))
    }
}

/// A server with an engine behind it, and its client.
pub(super) struct Link {
    runtime: tokio::runtime::Runtime,
    store: Arc<Store>,
    leases: Leases,
    client: KvClient,
    address: SocketAddr,
    prefill: Identity,
    stop: CancellationToken,
    server: Option<tokio::task::JoinHandle<Result<(), BadFingerprint>>>,
}

impl Link {
    pub(super) fn new(bench: Bench, model_digest: [u8; 32]) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let shape = bench.engine.kv_shape();
        let fingerprint = Fingerprint {
            model_digest,
            dtype: Dtype::Bf16,
            layout: 1,
            block_tokens: BLOCK_TOKENS as u32,
            layers: shape.layers as u32,
            kv_heads: shape.kv_heads as u32,
            head_dim: shape.head_dim as u32,
            tensor_parallel: 1,
        };
        let authority = CertificateAuthority::new("profile", VALID)?;
        let prefill = Identity::new("local", "profile", Role::Prefill)?;
        let decode = authority.issue(&prefill.peer(Role::Decode))?;
        let (store, leases) = (Arc::new(Store(Mutex::new(bench))), Leases::new(1));
        let server = KvServer {
            tls: Arc::new(decode.server_config()?),
            client_uris: vec![prefill.uri()],
            fingerprint,
            limits: Limits::default(),
            connections: 1,
            leases: leases.clone(),
            store: Arc::clone(&store),
            observer: Arc::new(NoObserver),
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let server = runtime.spawn(ampd_kv::serve(listener, server, stop.clone()));
        let tls = Arc::new(authority.issue(&prefill)?.client_config()?);
        let client = KvClient::new(tls, fingerprint, Limits::default())?;
        Ok(Self { runtime, store, leases, client, address, prefill, stop, server: Some(server) })
    }

    /// Seconds from the first byte pushed to the owner's word that all KV of `tokens` tokens is written. The connection is
    /// made before: transfers of a round make theirs while the prefill waits.
    pub(super) fn measure(&self, tokens: usize) -> anyhow::Result<f64> {
        let (id, session, range, layers) = self.store.with(|bench| {
            let (id, session) = bench.open(tokens + 1, 1)?;
            let range = bench.engine.lease_remote(id, Instant::now())?;
            Ok((id, session, range, bench.engine.kv_shape().layers))
        })?;
        let data: Bytes = self.store.with(|bench| Ok(bench.zeros(range.end - range.history)))?.into();
        let push = async {
            let requester = self.prefill.uri();
            let grant = Grant { round: id.0, requester, history: range.history, end: range.end };
            let lease = self.leases.grant(grant, MAX_LEASE)?;
            let owner = self.prefill.peer(Role::Decode).uri();
            let mut transfer = self.client.open(&self.address.to_string(), &owner, &lease.handle()).await?;
            let start = Instant::now();
            for layer in 0..layers {
                transfer.push(layer, range.history..range.end, data.clone()).await?;
            }
            transfer.finish().await?;
            anyhow::Ok(start.elapsed().as_secs_f64())
        };
        let seconds = self
            .runtime
            .block_on(async { tokio::time::timeout(DEADLINE, push).await })
            .with_context(|| format!("a KV transfer of {tokens} tokens took more than {DEADLINE:?}"))?
            .context("a KV transfer failed")?;
        self.store.with(|bench| {
            bench.end(id, &session);
            Ok(())
        })?;
        Ok(seconds)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            self.runtime.block_on(async {
                self.client.shutdown().await;
                // The server ends all its connections when told to stop.
                let _ = server.await;
            });
        }
    }
}
