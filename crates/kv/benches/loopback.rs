//! How fast KV moves over loopback, against copying the same bytes in memory and over a bare TLS 1.3 connection.
//!
//! `cargo bench -p ampd-kv --bench loopback`. All kinds take turns in one run; the table shows medians.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops at the first failure and prints")]

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_kv::tls::{CertificateAuthority, Identity, Role, SERVER_NAME};
use ampd_kv::{
    Dtype, Fingerprint, Grant, KvClient, KvServer, KvStore, Lease, LeaseEnd, Leases, Limits, NoObserver,
    StoreError, Transfer, serve,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

const RUNS: usize = 21;
const TOKENS: usize = 512;

/// A pool with room for one round: one buffer per layer.
struct Pool {
    layers: Vec<Mutex<Vec<u8>>>,
    token: usize,
}

impl KvStore for Pool {
    async fn read(&self, _: u64, layer: usize, tokens: Range<usize>) -> Result<Bytes, StoreError> {
        let bytes = tokens.start * self.token..tokens.end * self.token;
        Ok(Bytes::copy_from_slice(&self.layers[layer].lock()[bytes]))
    }

    async fn write(&self, _: u64, layer: usize, tokens: Range<usize>, data: Bytes) -> Result<(), StoreError> {
        let start = (tokens.start % TOKENS) * self.token;
        self.layers[layer].lock()[start..start + data.len()].copy_from_slice(&data);
        Ok(())
    }
}

struct Case {
    name: &'static str,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
}

const CASES: [Case; 2] = [
    Case { name: "512 tokens of SmolLM2-135M", layers: 30, kv_heads: 3, head_dim: 64 },
    Case { name: "512 tokens of an 8B model, 64 MiB", layers: 32, kv_heads: 8, head_dim: 64 * 2 },
];

fn main() {
    // `cargo test` builds and runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("| transfer | kind | ms | MB/s | of memcpy | of TLS |");
    println!("|---|---|---:|---:|---:|---:|");
    for case in &CASES {
        runtime.block_on(measure(case));
    }
}

async fn measure(case: &Case) {
    let token = 2 * 2 * case.kv_heads * case.head_dim;
    let layer_bytes = TOKENS * token;
    let total = layer_bytes * case.layers;
    let source: Vec<Bytes> = (0..case.layers).map(|layer| vec![layer as u8; layer_bytes].into()).collect();
    let authority = CertificateAuthority::new("bench", Duration::from_hours(1)).unwrap();
    let identity = |role| Identity::new("bench", "kv", role).unwrap();
    let decode = authority.issue(&identity(Role::Decode)).unwrap();
    let prefill = authority.issue(&identity(Role::Prefill)).unwrap();
    let fingerprint = Fingerprint {
        model_digest: [0; 32],
        dtype: Dtype::Bf16,
        layout: 1,
        block_tokens: 32,
        layers: case.layers as u32,
        kv_heads: case.kv_heads as u32,
        head_dim: case.head_dim as u32,
        tensor_parallel: 1,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let leases = Leases::new(1);
    let pool = (0..case.layers).map(|_| Mutex::new(vec![0; layer_bytes])).collect();
    let server = KvServer {
        tls: Arc::new(decode.server_config().unwrap()),
        client_uris: vec![identity(Role::Prefill).uri()],
        fingerprint,
        limits: Limits::default(),
        connections: 4,
        leases: leases.clone(),
        store: Arc::new(Pool { layers: pool, token }),
        observer: Arc::new(NoObserver),
    };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, server, shutdown.clone()));
    let tls = Arc::new(prefill.client_config().unwrap());
    let client = KvClient::new(tls.clone(), fingerprint, Limits::default()).unwrap();
    let mut raw = Raw::new(Arc::new(decode.server_config().unwrap()), tls, total, layer_bytes).await;
    let mut target = vec![vec![0; layer_bytes]; case.layers];

    let (mut copies, mut tls, mut opens, mut pushes, mut pulls) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..RUNS {
        let started = Instant::now();
        for (to, from) in target.iter_mut().zip(&source) {
            to.copy_from_slice(from);
        }
        std::hint::black_box(&target);
        copies.push(started.elapsed());
        tls.push(raw.copy(&source).await);

        let open = async || -> (Lease, Transfer) {
            let requester = identity(Role::Prefill).uri();
            let grant = Grant { round: 1, requester, history: TOKENS, end: 2 * TOKENS };
            let lease = leases.grant(grant, Duration::from_secs(15)).unwrap();
            let transfer =
                client.open(&address, &identity(Role::Decode).uri(), &lease.handle()).await.unwrap();
            (lease, transfer)
        };
        let started = Instant::now();
        let (lease, mut transfer) = open().await;
        opens.push(started.elapsed());
        let started = Instant::now();
        let mut pieces = transfer.pull(0..case.layers, 0..TOKENS).unwrap();
        let mut pulled = 0;
        while let Some(piece) = pieces.next().await.unwrap() {
            target[piece.layer][piece.tokens.start * token..piece.tokens.end * token]
                .copy_from_slice(&piece.data);
            pulled += piece.data.len();
        }
        pulls.push(started.elapsed());
        assert_eq!(pulled, total);
        let started = Instant::now();
        for (layer, data) in source.iter().enumerate() {
            transfer.push(layer, TOKENS..2 * TOKENS, data.clone()).await.unwrap();
        }
        transfer.finish().await.unwrap();
        pushes.push(started.elapsed());
        assert_eq!(lease.ended().await, LeaseEnd::Complete);
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    let (copy, bare) = (median(&mut copies), median(&mut tls));
    let row = |kind: &str, seconds: f64| {
        println!(
            "| {} | {kind} | {:.2} | {:.0} | {:.3} | {:.2} |",
            case.name,
            seconds * 1e3,
            total as f64 / seconds / 1e6,
            copy / seconds,
            bare / seconds
        );
    };
    row("memcpy", copy);
    row("bare TLS 1.3 socket", bare);
    row("push and finish", median(&mut pushes));
    row("pull", median(&mut pulls));
    println!("| {} | connect and open | {:.2} | | | |", case.name, median(&mut opens) * 1e3);
}

/// A TLS connection that only carries bytes, answered with one byte when all have come.
struct Raw {
    stream: tokio_rustls::client::TlsStream<TcpStream>,
}

impl Raw {
    async fn new(
        server: Arc<rustls::ServerConfig>,
        client: Arc<rustls::ClientConfig>,
        total: usize,
        chunk: usize,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
            let mut target = vec![0; chunk];
            loop {
                for _ in 0..total / chunk {
                    if stream.read_exact(&mut target).await.is_err() {
                        return;
                    }
                }
                stream.write_all(&[1]).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        Self { stream: TlsConnector::from(client).connect(name, stream).await.unwrap() }
    }

    async fn copy(&mut self, source: &[Bytes]) -> Duration {
        let started = Instant::now();
        for data in source {
            self.stream.write_all(data).await.unwrap();
        }
        self.stream.flush().await.unwrap();
        self.stream.read_exact(&mut [0]).await.unwrap();
        started.elapsed()
    }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
