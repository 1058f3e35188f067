//! Prefill workers that fail in every way: the round's text is the same, and nothing stays behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

mod worker_support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_worker::protocol::{
    ErrorCode, ErrorDetail, Fallback, PrefillDone, PrefillEvent, PrefillPlace, PrefillTarget, RemotePrefill,
    Role, RoundEvent, to_line,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use worker_support::{Files, Worker, alone, collect, remote, request, run, text};

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
                                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
    worker_support::until("the first round has its lease", async || {
        decode.client.probe(worker_support::PATIENCE).await.unwrap().kv.leased > 0
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
        worker_support::until("the task is there", async || {
            control.probe(worker_support::PATIENCE).await.unwrap().queued_prefills > 0
        })
        .await;
        shutdown.cancel();
    };
    tokio::join!(expect(&files, &decode, prefill.target(), Fallback::Rejected), drain);
    prefill.ended().await.unwrap();
    decode.stop().await;
}
