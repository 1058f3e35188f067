//! A whole service in this process: real workers on a tiny model, their sidecars, and a client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper's failure is the test's")]

pub mod client;
pub mod gate;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ampd_kv::tls::{CertificateAuthority, Identity, Role};
use ampd_testkit::ports::free_port;
use ampd_testkit::relay::Relay;
use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_worker::server;
use ampd_worker::sidecar::{self, StartError};
use ampd_worker::topology::{DecodeMember, PrefillMember, Topology};
use clap::Parser;
use client::Client;
use gate::Gate;
use tokio_util::sync::CancellationToken;

/// How long anything that is waited for may take.
pub const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Parser)]
struct WorkerCli {
    #[command(flatten)]
    args: server::Args,
}

#[derive(Parser)]
struct SidecarCli {
    #[command(flatten)]
    args: sidecar::Args,
}

/// What kind of service.
#[derive(Clone)]
pub struct Plan {
    pub decode: usize,
    pub prefill: usize,
    pub sidecar_flags: Vec<String>,
    /// KV pools of decode and prefill workers, blocks.
    pub kv_blocks: [usize; 2],
    /// How long a sidecar's requests may go on when it is to stop.
    pub grace: Duration,
    /// Whether all that is internal listens as if it could be reached from elsewhere.
    pub is_open: bool,
}

impl Plan {
    pub fn new(decode: usize, prefill: usize) -> Self {
        Self {
            decode,
            prefill,
            sidecar_flags: Vec::new(),
            kv_blocks: [256; 2],
            grace: Duration::from_secs(5),
            is_open: false,
        }
    }

    /// An address for an internal listener. The open one is loopback by another name, which nothing takes for loopback.
    fn address(&self, port: u16) -> SocketAddr {
        let ip = Ipv4Addr::LOCALHOST;
        let ip = if self.is_open { ip.to_ipv6_mapped().into() } else { ip.into() };
        SocketAddr::new(ip, port)
    }

    fn scheme(&self) -> &'static str {
        if self.is_open { "https" } else { "http" }
    }

    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.sidecar_flags.extend(flags.iter().map(ToString::to_string));
        self
    }
}

/// One worker; it stops when dropped.
pub struct Worker {
    pub name: String,
    pub address: SocketAddr,
    /// Between everybody else and the worker.
    pub gate: Gate,
    pub kv_address: Option<SocketAddr>,
    /// Between other workers and a decode worker's KV.
    pub kv_relay: Relay,
    shutdown: CancellationToken,
    running: Option<server::Running>,
}

impl Worker {
    /// Ends the worker at once.
    pub async fn stop(&mut self) {
        self.gate.refuse();
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            tokio::time::timeout(PATIENCE, running.finished()).await.expect("the worker ends").unwrap();
        }
    }
}

/// One sidecar; it stops when told.
pub struct Sidecar {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    shutdown: CancellationToken,
    running: Option<sidecar::Running>,
}

impl Sidecar {
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            tokio::time::timeout(PATIENCE, running.wait()).await.expect("the sidecar ends");
        }
    }
}

pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub decode: Vec<Worker>,
    pub prefill: Vec<Worker>,
    pub sidecars: Vec<Sidecar>,
    pub topology: Topology,
    pub plan: Plan,
}

fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}

pub fn sidecar_args(flags: &[String]) -> sidecar::Args {
    SidecarCli::parse_from(std::iter::once("sidecar".to_owned()).chain(flags.iter().cloned())).args
}

impl Cluster {
    pub async fn start(plan: Plan) -> Self {
        if let Ok(filter) = std::env::var("AMPD_TEST_LOG") {
            // The first test of a program sets it up for all.
            let _ = ampd_telemetry::logging::init(ampd_telemetry::logging::Format::Human, &filter);
        }
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        std::fs::create_dir(&model).unwrap();
        let tiny = TinyModel { context: 2048, ..TinyModel::new(Family::Llama) };
        tiny.write_huggingface(&model, candle_core::DType::F32, 1).unwrap();
        let authority = CertificateAuthority::new("chat", Duration::from_hours(24)).unwrap();
        for role in Role::ALL {
            let folder = dir.path().join(role.name());
            std::fs::create_dir(&folder).unwrap();
            let identity = Identity::new("default", "chat", role).unwrap();
            authority.issue(&identity).unwrap().write(&folder).unwrap();
        }
        let (mut decode, mut prefill) = (Vec::new(), Vec::new());
        for index in 0..plan.decode {
            decode.push(worker(&dir, &plan, Role::Decode, format!("decode-{index}")).await);
        }
        for index in 0..plan.prefill {
            prefill.push(worker(&dir, &plan, Role::Prefill, format!("prefill-{index}")).await);
        }
        let member = |worker: &Worker| DecodeMember {
            name: worker.name.clone(),
            worker_url: worker.gate.url(plan.scheme()),
            sidecar_url: format!("{}://{}", plan.scheme(), plan.address(free_port().unwrap().port())),
            kv_addr: worker.kv_address.unwrap().to_string(),
            ends: false,
        };
        let topology = Topology {
            service: "chat".into(),
            namespace: "default".into(),
            decode: decode.iter().map(member).collect(),
            prefill: prefill
                .iter()
                .map(|worker| PrefillMember {
                    name: worker.name.clone(),
                    worker_url: worker.gate.url(plan.scheme()),
                })
                .collect(),
        };
        let mut cluster = Self { dir, decode, prefill, sidecars: Vec::new(), topology, plan };
        cluster.write_topology();
        for index in 0..cluster.decode.len() {
            let sidecar = cluster.start_sidecar(index).await.unwrap();
            cluster.sidecars.push(sidecar);
        }
        cluster.ready().await;
        cluster
    }

    pub fn topology_path(&self) -> PathBuf {
        self.dir.path().join("topology.json")
    }

    pub fn write_topology(&self) {
        let next = self.dir.path().join("topology.next");
        std::fs::write(&next, serde_json::to_string(&self.topology).unwrap()).unwrap();
        std::fs::rename(next, self.topology_path()).unwrap();
    }

    async fn start_sidecar(&self, index: usize) -> Result<Sidecar, StartError> {
        let member = &self.topology.decode[index];
        let mut flags = vec![
            format!("--name={}", member.name),
            "--namespace=default".into(),
            "--service=chat".into(),
            format!("--topology={}", text(&self.topology_path())),
            format!("--model={}", text(&self.dir.path().join("model"))),
            "--model-name=tiny".into(),
            "--model-alias=small".into(),
            "--listen=127.0.0.1:0".into(),
            format!("--internal-listen={}", member.sidecar_url.split_once("://").unwrap().1),
            format!("--tls-dir={}", text(&self.dir.path().join("sidecar"))),
            format!("--grace={}ms", self.plan.grace.as_millis()),
        ];
        flags.extend(self.plan.sidecar_flags.iter().cloned());
        let shutdown = CancellationToken::new();
        let running = sidecar::start(sidecar_args(&flags), shutdown.clone()).await?;
        Ok(Sidecar { public: running.public, internal: running.internal, shutdown, running: Some(running) })
    }

    /// Waits until every sidecar sees every living worker.
    async fn ready(&self) {
        // Open workers answer to members of the service only; the sidecars say how they are.
        for worker in self.decode.iter().chain(&self.prefill).filter(|_| !self.plan.is_open) {
            let client = Client::new(worker.address);
            eventually("a worker is ready", || async { client.get("/readyz").await.status == 200 }).await;
        }
        for index in 0..self.sidecars.len() {
            let client = self.client(index);
            eventually("a sidecar sees all", || async {
                let answer = client.get("/readyz").await;
                let all = |role: &str, count: usize| answer.json()[role]["ready"] == count;
                answer.status == 200 && all("decode", self.decode.len()) && all("prefill", self.prefill.len())
            })
            .await;
        }
    }

    pub fn client(&self, sidecar: usize) -> Client {
        Client::new(self.sidecars[sidecar].public)
    }

    pub async fn metrics(&self, sidecar: usize) -> Vec<ampd_telemetry::exposition::Sample> {
        let text = Client::new(self.sidecars[sidecar].internal).get("/metrics").await.text;
        ampd_telemetry::exposition::parse(text.as_bytes()).unwrap()
    }

    /// The sum over all sidecars of the series with this name and these labels.
    pub async fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut sum = 0.0;
        for index in (0..self.sidecars.len()).filter(|index| self.sidecars[*index].running.is_some()) {
            let matching = |sample: &&ampd_telemetry::exposition::Sample| {
                sample.name == name && labels.iter().all(|(label, value)| sample.label(label) == Some(*value))
            };
            sum += self.metrics(index).await.iter().filter(matching).map(|sample| sample.value).sum::<f64>();
        }
        sum
    }

    /// The decode worker that holds sessions, when exactly one does.
    pub async fn holder(&self) -> usize {
        let mut holders = Vec::new();
        for (index, worker) in self.decode.iter().enumerate() {
            let text = Client::new(worker.address).get("/metrics/load").await.text;
            let samples = ampd_telemetry::exposition::parse(text.as_bytes()).unwrap();
            let sessions = samples.iter().find(|sample| sample.name == "ampd_worker_sessions").unwrap();
            if sessions.value > 0.0 {
                holders.push(index);
            }
        }
        assert_eq!(holders.len(), 1, "{holders:?}");
        holders[0]
    }

    /// Waits until no worker has a round or a lease, and all blocks are accounted for.
    pub async fn at_rest(&self) {
        let http = ampd_worker::protocol::http_client(None).unwrap();
        for worker in self.decode.iter().chain(&self.prefill).filter(|worker| worker.running.is_some()) {
            let control = ampd_worker::protocol::ControlClient::new(
                http.clone(),
                &format!("http://{}", worker.address),
                ampd_worker::protocol::Deadlines::default(),
            );
            eventually("a worker is at rest", || async {
                let Ok(load) = control.probe(Duration::from_secs(5)).await else { return false };
                let kv = load.kv;
                assert_eq!(kv.free + kv.active + kv.leased + kv.cached, kv.total);
                load.running == 0 && load.queued_prefills == 0 && kv.active == 0 && kv.leased == 0
            })
            .await;
        }
    }

    /// Stops everything and waits for it.
    pub async fn stop(mut self) {
        for sidecar in &mut self.sidecars {
            sidecar.stop().await;
        }
        for worker in self.decode.iter_mut().chain(&mut self.prefill) {
            worker.stop().await;
        }
    }
}

async fn worker(dir: &tempfile::TempDir, plan: &Plan, role: Role, name: String) -> Worker {
    let blocks = plan.kv_blocks[usize::from(role == Role::Prefill)];
    // Where it leads to is known when the worker has its port.
    let kv_relay = Relay::start(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9)).await.unwrap();
    let flags = [
        "worker".to_owned(),
        format!("--role={role}"),
        format!("--name={name}"),
        "--namespace=default".into(),
        "--service=chat".into(),
        format!("--model={}", text(&dir.path().join("model"))),
        format!("--listen={}", plan.address(0)),
        format!("--tls-dir={}", text(&dir.path().join(role.name()))),
        "--threads=1".into(),
        format!("--kv-blocks={blocks}"),
        "--grace=0s".into(),
        format!("--kv-advertise={}", kv_relay.address()),
    ];
    let shutdown = CancellationToken::new();
    let running = server::start(WorkerCli::parse_from(flags).args, shutdown.clone()).await.unwrap();
    let gate = Gate::before(running.address()).await;
    if let Some(address) = running.kv_address() {
        kv_relay.retarget(address);
    }
    Worker {
        name,
        address: running.address(),
        gate,
        kv_address: running.kv_address(),
        kv_relay,
        shutdown,
        running: Some(running),
    }
}

/// Waits for something to become true.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
