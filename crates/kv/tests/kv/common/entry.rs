//! Entry points for arbitrary bytes: run by the property tests and by the fuzz targets alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ampd_kv::frame::{Frame, HEADER_BYTES, Hello, decode};
use ampd_kv::{
    Dtype, Fingerprint, Grant, KvServer, KvStore, LeaseEnd, Leases, Limits, NoObserver, StoreError,
};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

const MAX_DATA: u32 = 256;

/// Decodes frames off the bytes as they are, and off the frames that they describe as in [`session`], which get beyond the
/// checksums. Encoding what was decoded gives the same bytes.
pub fn frames(data: &[u8]) {
    decode_all(Bytes::copy_from_slice(data));
    let handle = "00".repeat(16).parse().expect("a handle");
    decode_all(script(data, handle).into());
}

fn decode_all(mut rest: Bytes) {
    loop {
        let before = rest.clone();
        let Ok(Some(frame)) = decode(&mut rest, MAX_DATA) else { return };
        let (head, [kv, _]) = frame.encode();
        let used = before.len() - rest.len();
        assert!(used <= HEADER_BYTES + 12 + MAX_DATA as usize);
        // Reasons of later versions are read as one of this.
        if !matches!(frame, Frame::Error(_)) {
            assert_eq!([head, kv].concat(), before[..used]);
        }
    }
}

const FINGERPRINT: Fingerprint = Fingerprint {
    model_digest: [1; 32],
    dtype: Dtype::Bf16,
    layout: 1,
    block_tokens: 2,
    layers: 2,
    kv_heads: 1,
    head_dim: 2,
    tensor_parallel: 1,
};
const TOKEN: usize = 8;
const CLIENT: &str = "ampd://n/s/prefill";

/// A store of zeros that allows what the lease does, and counts the tokens of all layers that are written.
#[derive(Default)]
struct Zeros(AtomicUsize);

impl KvStore for Zeros {
    async fn read(
        &self,
        round: u64,
        layer: usize,
        tokens: std::ops::Range<usize>,
    ) -> Result<Bytes, StoreError> {
        assert!(round == 5 && layer < 2 && tokens.end <= 6 && !tokens.is_empty());
        Ok(vec![0; tokens.len() * TOKEN].into())
    }

    async fn write(
        &self,
        round: u64,
        layer: usize,
        tokens: std::ops::Range<usize>,
        data: Bytes,
    ) -> Result<(), StoreError> {
        assert!(round == 5 && layer < 2 && (6..13).contains(&tokens.start) && (7..14).contains(&tokens.end));
        assert_eq!(data.len(), tokens.len() * TOKEN);
        self.0.fetch_add(tokens.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// Runs a server's session on what the bytes describe. The first says whether a right hello (1), and with it a right
/// handle (2), comes first. Then each frame takes a byte for its kind, one for its body's length and the body; a kind
/// over 127 sends the bytes as they are, without a frame. Whatever comes, the session ends, and so does the lease.
pub fn session(tls: &Arc<rustls::ServerConfig>, data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(drive(tls.clone(), data));
}

async fn drive(tls: Arc<rustls::ServerConfig>, data: &[u8]) {
    let limit = Duration::from_secs(20);
    let limits = Limits {
        data_bytes: MAX_DATA,
        window_bytes: MAX_DATA,
        connect: limit,
        handshake: limit,
        progress: limit,
        ping: limit,
    };
    let leases = Leases::new(1);
    let grant = Grant { round: 5, requester: CLIENT.to_owned(), history: 6, end: 13 };
    let lease = leases.grant(grant, limit).expect("a lease");
    let store = Arc::new(Zeros::default());
    let server = KvServer {
        tls,
        client_uris: vec![CLIENT.to_owned()],
        fingerprint: FINGERPRINT,
        limits,
        connections: 1,
        leases: leases.clone(),
        store: store.clone(),
        observer: Arc::new(NoObserver),
    };
    let (near, far) = tokio::io::duplex(4096);
    let (mut input, mut output) = tokio::io::split(near);
    let shutdown = CancellationToken::new();
    let bytes = script(data, lease.handle());
    let sending = async {
        // The server may close before everything is sent.
        if output.write_all(&bytes).await.is_ok() {
            let _ = output.shutdown().await;
        }
    };
    let receiving = async {
        let mut answers = Vec::new();
        let _ = input.read_to_end(&mut answers).await;
        answers
    };
    let serving = server.serve_stream(far, CLIENT, &shutdown);
    let all = Box::pin(async { tokio::join!(serving, sending, receiving) });
    let (served, (), answers) = tokio::time::timeout(limit, all).await.expect("the session ends");
    served.expect("the fingerprint is valid");
    let mut answers = Bytes::from(answers);
    let (mut last, mut opened) = (None, false);
    while let Some(frame) = decode(&mut answers, MAX_DATA).expect("the server speaks the protocol") {
        opened |= matches!(frame, Frame::Opened { .. });
        last = Some(frame);
    }
    assert!(answers.is_empty(), "the server's last frame is whole");
    let end = tokio::time::timeout(Duration::ZERO, lease.ended()).await.ok();
    assert!(!opened || end.is_some());
    assert_eq!(matches!(last, Some(Frame::Finished)), end == Some(LeaseEnd::Complete));
    // Complete means that everything was written, once.
    if end == Some(LeaseEnd::Complete) {
        assert_eq!(store.0.load(Ordering::Relaxed), 2 * 7);
    }
}

/// The bytes that the client sends.
fn script(data: &[u8], handle: ampd_kv::Handle) -> Vec<u8> {
    let Some((&start, mut rest)) = data.split_first() else { return Vec::new() };
    let mut bytes = Vec::new();
    if start & 3 > 0 {
        let hello =
            Hello { min_version: 1, max_version: 1, role: 1, fingerprint: FINGERPRINT, data_bytes: MAX_DATA };
        bytes.extend(Frame::Hello(hello).encode().0);
    }
    if start & 2 > 0 {
        bytes.extend(Frame::Open(handle).encode().0);
    }
    while let [kind, length, body @ ..] = rest {
        let (body, after) = body.split_at(body.len().min(usize::from(*length)));
        rest = after;
        if *kind < 128 {
            let mut header = [0; HEADER_BYTES];
            header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
            header[4] = *kind;
            header[8..12].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
            let checksum = crc32c::crc32c(&header[..12]);
            header[12..].copy_from_slice(&checksum.to_le_bytes());
            bytes.extend(header);
        }
        bytes.extend(body);
    }
    bytes
}
