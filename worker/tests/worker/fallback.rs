//! Prefill workers that fail in every way: the round's text is the same, and nothing stays behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::worker_support::{
    Files, PATIENCE, SALT, Worker, alone, collect, engine, remote, request, run, text,
};
use ampd_kv::tls::TlsFiles;
use ampd_kv::{
    Dtype, Fingerprint, Grant, KvServer, KvStore, LeaseEnd, Leases, Limits, NoObserver, Reason, StoreError,
};
use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_worker::protocol::{
    ErrorCode, ErrorDetail, Fallback, PrefillDone, PrefillEvent, PrefillPlace, PrefillTarget, PrefillTask,
    RemotePrefill, Role, RoundEvent, to_line,
};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n";

/// What a failing prefill worker does with a task.
#[derive(Clone, Copy)]
enum Act {
    /// Accepts the connection and says nothing.
    Silent,
    /// Tells that the task is queued, and nothing more.
    Frozen,
    /// Closes before it answers.
    CutBefore,
    /// Closes within the stream.
    CutWithin,
    /// Says that it lives, without end.
    Endless,
    /// Says that it is done without having written anything.
    Liar,
    /// Fails.
    Fails(ErrorCode),
}

struct Broken {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Broken {
    async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let line = |event| to_line(&event).unwrap();
                let queued = line(PrefillEvent::Queued { position: 0 });
                match act {
                    Act::Silent => kept.push(stream),
                    Act::CutBefore => {}
                    Act::Frozen => {
                        stream.write_all(&[HEAD, &queued].concat()).await.unwrap();
                        kept.push(stream);
                    }
                    Act::CutWithin => stream.write_all(&[HEAD, &queued, b"{\"pi"].concat()).await.unwrap(),
                    Act::Endless => {
                        stream.write_all(HEAD).await.unwrap();
                        tokio::spawn(async move {
                            while stream.write_all(&line(PrefillEvent::Ping {})).await.is_ok() {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        });
                    }
                    Act::Liar => {
                        let done = line(PrefillEvent::Done(PrefillDone::default()));
                        stream.write_all(&[HEAD, &queued, &done].concat()).await.unwrap();
                    }
                    Act::Fails(code) => {
                        let error = line(PrefillEvent::Error(ErrorDetail::new(code, "it failed")));
                        stream.write_all(&[HEAD, &queued, &error].concat()).await.unwrap();
                    }
                }
            }
        });
        Self { address, task }
    }

    fn target(&self, deadline_ms: Option<u64>) -> PrefillTarget {
        let url = format!("http://{}", self.address);
        PrefillTarget::Remote(RemotePrefill { worker: "prefill-0".into(), url, deadline_ms })
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a round of a new session with a text of its own.
async fn expect(files: &Files, decode: &Worker, target: PrefillTarget, reason: Fallback) {
    static SEED: AtomicU32 = AtomicU32::new(1000);
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let prompt = text(seed, 90);
    let outcome = decode.round(&request(&format!("session-{seed}"), prompt.clone(), 8), target).await;
    let report = outcome.prefill.unwrap();
    assert_eq!((report.place, report.fallback), (PrefillPlace::Local, Some(reason)));
    assert_eq!(outcome.tokens, alone(files, &prompt, 8), "{reason:?}");
    decode.settled().await;
    assert!(decode.metric("ampd_worker_remote_fallbacks_total", reason.as_str()).await >= 1.0);
}

#[tokio::test]
async fn every_failure_ends_in_a_local_prefill() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    expect(&files, &decode, remote(&format!("http://{unused}")), Fallback::ConnectRefused).await;
    // A decode worker takes no prefills.
    expect(&files, &decode, decode.target(), Fallback::Rejected).await;
    for (act, deadline_ms, reason) in [
        (Act::CutBefore, None, Fallback::Disconnected),
        (Act::CutWithin, None, Fallback::Disconnected),
        (Act::Endless, Some(200), Fallback::Deadline),
        (Act::Liar, None, Fallback::TransferFailed),
        (Act::Fails(ErrorCode::TransferFailed), None, Fallback::TransferFailed),
        (Act::Fails(ErrorCode::Draining), None, Fallback::Rejected),
        (Act::Fails(ErrorCode::EngineFailed), None, Fallback::WorkerFailed),
        (Act::Fails(ErrorCode::Internal), None, Fallback::WorkerFailed),
    ] {
        let broken = Broken::start(act).await;
        expect(&files, &decode, broken.target(deadline_ms), reason).await;
    }
    // Two frozen ones at once, since each takes its two seconds.
    let (silent, frozen) = (Broken::start(Act::Silent).await, Broken::start(Act::Frozen).await);
    let prompt = text(1, 90);
    let rounds = [("a", &silent), ("b", &frozen)]
        .map(|(session, broken)| (request(session, prompt.clone(), 4), broken.target(None)));
    let [a, b] = &rounds;
    let (a, b) = tokio::join!(decode.round(&a.0, a.1.clone()), decode.round(&b.0, b.1.clone()));
    for outcome in [a, b] {
        assert_eq!(outcome.prefill.unwrap().fallback, Some(Fallback::Frozen));
        assert_eq!(outcome.tokens, alone(&files, &prompt, 4));
    }
    decode.settled().await;
    decode.stop().await;
}

#[tokio::test]
async fn a_worker_with_another_model_is_no_help() {
    let files = Files::new();
    let other = files.write_model("other", &TinyModel::new(Family::Llama).with_seed(2));
    let decode = files.worker(Role::Decode, &[]).await;
    let mut args = files.args(Role::Prefill, &[]);
    args.model = other;
    let prefill = Worker::start(args).await;
    expect(&files, &decode, prefill.target(), Fallback::TransferFailed).await;
    assert_eq!(decode.metric("ampd_worker_kv_refused_total", "model_digest").await, 1.0);
    prefill.settled().await;
    prefill.stop().await;
    decode.stop().await;
}

#[tokio::test]
async fn a_prompt_that_the_prefill_worker_cannot_hold_is_computed_here_and_not_held_against_it() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let prefill = files.worker(Role::Prefill, &["--kv-blocks", "2"]).await;
    expect(&files, &decode, prefill.target(), Fallback::NothingRemote).await;
    prefill.settled().await;
    prefill.stop().await;
    decode.stop().await;
}

#[tokio::test]
async fn what_cannot_be_leased_is_computed_here() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &["--kv-blocks", "8"]).await;
    let broken = Broken::start(Act::Endless).await;

    // Only the last token is new.
    let prompt = text(1, 40);
    decode.round(&request("a", prompt.clone(), 1), PrefillTarget::Local).await;
    let outcome = decode.round(&request("a", prompt, 3), broken.target(None)).await;
    assert_eq!(outcome.prefill.unwrap().fallback, Some(Fallback::NothingRemote));

    // Another lease holds the blocks; when it ends, the round goes on.
    let opened = decode.open(&request("long", text(2, 190), 2)).await;
    let mut first = decode.client.run_round(opened, &run(broken.target(None))).await.unwrap();
    crate::worker_support::until("the first round has its lease", async || {
        decode.client.probe(PATIENCE).await.unwrap().kv.leased > 0
    })
    .await;
    let prompt = text(3, 100);
    let opened = decode.open(&request("short", prompt.clone(), 3)).await;
    let mut second = decode.client.run_round(opened, &run(broken.target(None))).await.unwrap();
    match second.next().await.unwrap() {
        Some(RoundEvent::Prefill(report)) => assert_eq!(report.fallback, Some(Fallback::KvExhausted)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(first.next().await.unwrap(), Some(RoundEvent::Ping {})));
    drop(first);
    assert_eq!(collect(second).await.tokens, alone(&files, &prompt, 3));
    decode.settled().await;
    decode.stop().await;
}

#[tokio::test]
async fn a_draining_prefill_worker_hands_its_tasks_back() {
    let files = Files::new();
    // Connections are taken by the kernel and never answered, so that the task stays where it is.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertised = silent.local_addr().unwrap().to_string();
    let decode = files.worker(Role::Decode, &["--kv-advertise", &advertised]).await;
    let prefill = files.worker(Role::Prefill, &["--grace", "0s"]).await;
    let (shutdown, control) = (prefill.shutdown.clone(), prefill.client.clone());
    let drain = async {
        crate::worker_support::until("the task is there", async || {
            control.probe(PATIENCE).await.unwrap().queued_prefills > 0
        })
        .await;
        shutdown.cancel();
    };
    tokio::join!(expect(&files, &decode, prefill.target(), Fallback::Rejected), drain);
    prefill.ended().await.unwrap();
    decode.stop().await;
}

/// An owner's store that nobody gets to.
struct Nothing;

impl KvStore for Nothing {
    async fn read(&self, _: u64, _: usize, _: std::ops::Range<usize>) -> Result<Bytes, StoreError> {
        Err(StoreError::Gone)
    }

    async fn write(&self, _: u64, _: usize, _: std::ops::Range<usize>, _: Bytes) -> Result<(), StoreError> {
        Err(StoreError::Gone)
    }
}

#[tokio::test]
async fn the_owner_of_a_prefill_that_fails_is_told_and_the_transfer_is_counted() {
    let files = Files::new();
    let prefill = files.worker(Role::Prefill, &[]).await;
    let shape = engine(&files).kv_shape();
    let fingerprint = Fingerprint {
        model_digest: ampd_engine::model::load(&files.path("model")).unwrap().digest,
        dtype: Dtype::Bf16,
        layout: 1,
        block_tokens: ampd_engine::backend::BLOCK_TOKENS as u32,
        layers: shape.layers as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.head_dim as u32,
        tensor_parallel: 1,
    };
    let leases = Leases::new(4);
    let server = KvServer {
        tls: Arc::new(TlsFiles::read(&files.path("decode")).unwrap().server_config().unwrap()),
        client_uris: vec!["ampd://default/chat/prefill".to_owned()],
        fingerprint,
        limits: Limits::default(),
        connections: 4,
        leases: leases.clone(),
        store: Arc::new(Nothing),
        observer: Arc::new(NoObserver),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kv_addr = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(ampd_kv::serve(listener, server, shutdown.clone()));
    // A lease of other tokens than the task's is a failure of the prefill; a store that fails is one of the transfer.
    for (history, end, expected, label) in
        [(0, 30, Reason::Aborted, "cancelled"), (0, 40, Reason::Store, "error")]
    {
        let requester = "ampd://default/chat/prefill".to_owned();
        let lease =
            leases.grant(Grant { round: 1, requester, history, end }, Duration::from_secs(10)).unwrap();
        let task = PrefillTask {
            task: "t".into(),
            request_id: "r".into(),
            session: "chat".into(),
            salt: SALT,
            tokens: text(5, 40),
            history,
            handle: lease.handle().to_hex(),
            kv_addr: kv_addr.clone(),
            kv_server_name: "ampd://default/chat/decode".into(),
            age_ms: 0,
            ttft_slo_ms: 1000,
        };
        let mut stream = prefill.client.prefill(&task).await.unwrap();
        let failed = async {
            loop {
                match stream.next().await.unwrap().unwrap() {
                    PrefillEvent::Error(detail) => return detail.code,
                    event => assert!(!matches!(event, PrefillEvent::Done(_)), "{event:?}"),
                }
            }
        };
        assert_eq!(tokio::time::timeout(PATIENCE, failed).await.unwrap(), ErrorCode::TransferFailed);
        let end = tokio::time::timeout(PATIENCE, lease.ended()).await.unwrap();
        assert_eq!(end, LeaseEnd::Failed(expected));
        crate::worker_support::until("the transfer is counted", async || {
            let outcome = format!("direction=\"push\",outcome=\"{label}\"");
            prefill.metric("ampd_worker_kv_transfers_total", &outcome).await == 1.0
        })
        .await;
        prefill.settled().await;
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
