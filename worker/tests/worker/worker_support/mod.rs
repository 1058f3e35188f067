//! Real workers in this process, on a tiny model, with KV over TLS on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ampd_kv::tls::{CertificateAuthority, Identity, Role as Member};
use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_worker::protocol::{
    ClientError, ControlClient, Deadlines, ErrorCode, EventStream, OpenRound, PrefillReport, PrefillTarget,
    RemotePrefill, Role, RoundDone, RoundEvent, RunRound, Salt, SamplingParams, http_client,
};
use ampd_worker::server::{Args, Running, ServerError, start};
use candle_core::DType;
use clap::Parser;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes longer.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const SALT: Salt = Salt([7; 32]);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// A model and certificates of one service.
pub struct Files {
    folder: TempDir,
}

impl Files {
    pub fn new() -> Self {
        Self::of(&TinyModel::new(Family::Llama))
    }

    pub fn of(tiny: &TinyModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::new("chat", Duration::from_hours(1)).unwrap();
        for role in [Member::Prefill, Member::Decode] {
            let identity = Identity::new("default", "chat", role).unwrap();
            let tls = folder.path().join(role.name());
            std::fs::create_dir(&tls).unwrap();
            authority.issue(&identity).unwrap().write(&tls).unwrap();
        }
        let files = Self { folder };
        files.write_model("model", tiny);
        files
    }

    pub fn write_model(&self, name: &str, tiny: &TinyModel) -> PathBuf {
        let model = self.path(name);
        std::fs::create_dir(&model).unwrap();
        tiny.write_huggingface(&model, DType::BF16, 1).unwrap();
        model
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn args(&self, role: Role, more: &[&str]) -> Args {
        let (model, tls) = (self.path("model"), self.path(role.as_str()));
        let name = format!("{}-0", role.as_str());
        let base = [
            "ampd-worker",
            "--role",
            role.as_str(),
            "--name",
            &name,
            "--service",
            "chat",
            "--model",
            text_of(&model),
            "--tls-dir",
            text_of(&tls),
            "--threads",
            "1",
        ];
        let blocks: &[&str] = if more.contains(&"--kv-blocks") { &[] } else { &["--kv-blocks", "64"] };
        Cli::parse_from(base.iter().chain(blocks).chain(more)).args
    }

    pub async fn worker(&self, role: Role, more: &[&str]) -> Worker {
        Worker::start(self.args(role, more)).await
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A worker that is ready.
pub struct Worker {
    pub client: ControlClient,
    pub url: String,
    pub shutdown: CancellationToken,
    running: Running,
}

impl Worker {
    pub async fn start(args: Args) -> Self {
        let shutdown = CancellationToken::new();
        let running = start(args, shutdown.clone()).await.unwrap();
        let url = format!("http://{}", running.address());
        let client = ControlClient::new(http_client(None).unwrap(), &url, Deadlines::default());
        let worker = Self { client, url, shutdown, running };
        until("the worker is ready", async || worker.get("/readyz").await.0 == 200).await;
        worker
    }

    /// Status and body of a plain request.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest_client().get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, serde_json::Value) {
        let request = reqwest_client().post(format!("{}{path}", self.url)).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// The value of a series of `/metrics` that starts with `name` and has `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until no round, task or lease is left, and all blocks are free or cached.
    pub async fn settled(&self) {
        until("all is given back", async || {
            let load = self.client.probe(PATIENCE).await.unwrap();
            let kv = load.kv;
            assert_eq!(kv.free + kv.active + kv.leased + kv.cached, kv.total);
            load.queued_prefills == 0
                && (load.running, kv.active, kv.leased) == (0, 0, 0)
                && self.metric("ampd_worker_leases", "").await == 0.0
        })
        .await;
    }

    pub async fn open(&self, round: &OpenRound) -> u64 {
        self.client.open_round(round).await.unwrap().round
    }

    /// Opens a round as soon as the session is free: that a caller has gone away is noticed within moments.
    pub async fn open_when_free(&self, round: &OpenRound) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.client.open_round(round).await {
                Ok(opened) => return opened.round,
                Err(error) => {
                    assert_eq!(error.detail().map(|detail| detail.code), Some(ErrorCode::SessionBusy));
                    assert!(Instant::now() < deadline, "the session stays busy");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// Opens and runs a round to its end.
    pub async fn round(&self, round: &OpenRound, prefill: PrefillTarget) -> Outcome {
        let opened = self.client.open_round(round).await.unwrap();
        let mut outcome = collect(self.client.run_round(opened.round, &run(prefill)).await.unwrap()).await;
        outcome.history = opened.history;
        outcome
    }

    /// As the target of a remote prefill.
    pub fn target(&self) -> PrefillTarget {
        remote(&self.url)
    }

    /// Ends the worker, which must go well.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.unwrap();
    }

    pub async fn ended(self) -> Result<(), ServerError> {
        timeout(PATIENCE, self.running.finished()).await.expect("the worker ends")
    }
}

fn reqwest_client() -> reqwest::Client {
    http_client(None).unwrap()
}

pub fn remote(url: &str) -> PrefillTarget {
    PrefillTarget::Remote(RemotePrefill { worker: "prefill-0".into(), url: url.into(), deadline_ms: None })
}

pub fn run(prefill: PrefillTarget) -> RunRound {
    RunRound { prefill, age_ms: 0, ttft_slo_ms: 1000 }
}

pub fn request(session: &str, tokens: Vec<u32>, max_tokens: usize) -> OpenRound {
    OpenRound {
        request_id: "request".into(),
        session: session.into(),
        epoch: 1,
        salt: SALT,
        tokens,
        sampling: SamplingParams::default(),
        max_tokens,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        logprobs: None,
        prompt_logprobs: None,
        age_ms: 0,
    }
}

/// `count` tokens of the tiny vocabulary that depend on `seed`.
pub fn text(seed: u32, count: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % 280 + 3
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// What a round's stream told.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub history: usize,
    pub tokens: Vec<u32>,
    pub prefill: Option<PrefillReport>,
    pub done: Option<RoundDone>,
    pub error: Option<ErrorCode>,
}

pub async fn collect(mut stream: EventStream<RoundEvent>) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(event) = timeout(PATIENCE, stream.next()).await.unwrap().unwrap() {
        assert!(outcome.done.is_none() && outcome.error.is_none(), "{event:?} after the end");
        match event {
            RoundEvent::Prefill(report) => {
                assert!(outcome.tokens.is_empty() && outcome.prefill.replace(report).is_none());
            }
            RoundEvent::Tokens(tokens) => outcome.tokens.extend(tokens.iter().map(|token| token.id)),
            RoundEvent::Done(done) => outcome.done = Some(done),
            RoundEvent::Error(detail) => outcome.error = Some(detail.code),
            RoundEvent::PromptLogprobs(_) | RoundEvent::Ping {} => {}
        }
    }
    outcome
}

/// Polls until `reached`.
pub async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    result.unwrap_err().detail().unwrap().code
}

/// An engine of its own, as the workers of `files` have it.
pub fn engine(files: &Files) -> ampd_engine::core::Engine {
    let model = ampd_engine::model::load(&files.path("model")).unwrap();
    let backend = ampd_engine::build_backend(&model, ampd_engine::BackendKind::Cpu, 1, 64).unwrap();
    ampd_engine::core::Engine::new(backend, ampd_engine::core::EngineOptions::default())
}

/// What one engine alone gives for a prompt.
pub fn alone(files: &Files, tokens: &[u32], max_tokens: usize) -> Vec<u32> {
    use ampd_engine::core::{Event, NoHook, RoundRequest, Sampling};
    let mut engine = engine(files);
    let request = RoundRequest {
        session: "alone".into(),
        epoch: 0,
        salt: SALT.0,
        tokens: tokens.to_vec(),
        sampling: Sampling::default(),
        max_tokens,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        logprobs: None,
        prompt_logprobs: None,
    };
    let id = engine.open(request, Instant::now()).unwrap().id;
    engine.run_local(id, Instant::now()).unwrap();
    let mut output = Vec::new();
    while engine.has_work() {
        for event in engine.step(Instant::now(), &mut NoHook).unwrap().events {
            if let Event::Token { id, .. } = event {
                output.push(id);
            }
        }
    }
    output
}
