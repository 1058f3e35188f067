//! A worker's life: load, serve, drain, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ampd_kv::tls::{Identity, Role as Member};
use ampd_kv::{KvClient, KvServer, Leases, Limits};
use ampd_scheduler::{Order, PolicyKind};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Args;
use super::control::router;
use super::engine::{self, EngineEnd, Pacing};
use super::front::{Front, Side, Worker};
use super::kv_store::{EngineStore, KvMetrics};
use super::load::Load;
use super::load_model::{Loaded, load};
use super::moves::MoveSide;
use super::phase::Phase;
use super::prefill::{Dispatch, PIECES, PrefillSide, Queue, dispatch};
use super::rounds::{DecodeSide, RoundTable};
use super::start::ServerError;
use super::stats::Stats;
use crate::certificates::Certificates;
use crate::http::{HttpLimits, HttpServer, HttpTls, serve};
use crate::protocol::Role;

/// How long answers may take to leave once everything is over.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How often a draining worker looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Transfers at once.
const KV_CONNECTIONS: usize = 256;

/// What a worker starts with.
pub(super) struct Supervisor {
    pub args: Args,
    pub identity: Identity,
    pub front: Arc<Front>,
    pub listener: TcpListener,
    pub tls: Option<HttpTls>,
    pub kv_listener: Option<(TcpListener, SocketAddr)>,
    pub kv_server: Arc<rustls::ServerConfig>,
    pub kv_client: Arc<rustls::ClientConfig>,
    pub certificates: Certificates,
    /// For calls to prefill workers.
    pub http: reqwest::Client,
    /// For calls to decode workers.
    pub peers: reqwest::Client,
    pub shutdown: CancellationToken,
}

/// What serves once the model is there.
struct Serving {
    worker: Arc<Worker>,
    end: oneshot::Receiver<EngineEnd>,
    /// The KV server, or the dispatcher.
    tasks: TaskTracker,
    stop_tasks: CancellationToken,
    stop_engine: CancellationToken,
    kv: KvClient,
}

/// Runs a worker to its end.
pub(super) async fn supervise(mut supervisor: Supervisor) -> Result<(), ServerError> {
    let front = supervisor.front.clone();
    let stop_http = CancellationToken::new();
    let (listener, kv_listener) = (supervisor.listener, supervisor.kv_listener.take());
    let server = HttpServer {
        limits: HttpLimits::default(),
        tls: supervisor.tls.take(),
        shutdown: stop_http.clone(),
        grace: LAST_ANSWERS,
    };
    let http = tokio::spawn(serve(listener, router(front.clone()), server));
    let reading = tokio::spawn(supervisor.certificates.follow(stop_http.clone()));
    let (args, life) = (supervisor.args.clone(), front.life.clone());
    let loading = tokio::task::spawn_blocking(move || load(&args, &life));
    let outcome = tokio::select! {
        biased;
        () = supervisor.shutdown.cancelled() => {
            front.life.set(Phase::Draining);
            Ok(())
        }
        loaded = loading => match loaded {
            Ok(Ok(loaded)) => {
                let context = Context {
                    args: &supervisor.args,
                    identity: &supervisor.identity,
                    front: &front,
                    kv_server: supervisor.kv_server,
                    kv_client: supervisor.kv_client,
                    http: supervisor.http,
                    peers: supervisor.peers,
                };
                let serving = context.serve(loaded, kv_listener);
                match serving {
                    Ok(serving) => run(serving, &front, &supervisor.shutdown, supervisor.args.grace).await,
                    Err(error) => Err(error),
                }
            }
            Ok(Err(error)) => Err(error),
            Err(panic) => Err(ServerError::Broken(panic.to_string())),
        },
    };
    if let Err(error) = &outcome {
        front.life.set(Phase::Failed(crate::process::chain(error)));
    }
    front.cut.cancel();
    stop_http.cancel();
    // Neither panics; if one did, there would be nothing left to wait for.
    let _ = tokio::join!(http, reading);
    outcome
}

/// What serving needs.
struct Context<'a> {
    args: &'a Args,
    identity: &'a Identity,
    front: &'a Arc<Front>,
    kv_server: Arc<rustls::ServerConfig>,
    kv_client: Arc<rustls::ClientConfig>,
    http: reqwest::Client,
    peers: reqwest::Client,
}

impl Context<'_> {
    /// Starts the engine and what works around it.
    fn serve(
        self,
        loaded: Loaded,
        kv_listener: Option<(TcpListener, SocketAddr)>,
    ) -> Result<Serving, ServerError> {
        let Loaded { engine, perf, fingerprint } = loaded;
        let (vocab, max_context) = (engine.config().vocab, engine.config().max_context);
        let options = engine.options().clone();
        let stats = Arc::new(Stats::new(perf, self.front.metrics.clone(), self.args.window));
        let (stop_engine, stop_tasks) = (CancellationToken::new(), CancellationToken::new());
        let args = self.args;
        let scored = args.policy == PolicyKind::Ampd;
        let paces = scored && args.role == Role::Decode;
        let pacing = paces.then(|| Pacing { slo: args.slo() });
        let (engine, end) = engine::spawn(engine, stats.clone(), pacing, stop_engine.clone())
            .map_err(ServerError::Process)?;
        let order = if scored {
            Order::SLACK
        } else {
            Order::Head { lookahead: args.lookahead.into(), cap: args.postponement_cap }
        };
        let queue = (args.role == Role::Prefill).then(|| Arc::new(Queue::new(order, options.token_budget)));
        let load =
            Load::new(args.role, engine.clone(), stats.clone(), queue.clone(), options.clone(), max_context);
        let load = Arc::new(load);
        let tasks = TaskTracker::new();
        let kv = KvClient::new(self.kv_client, fingerprint, Limits::default())
            .map_err(ServerError::Fingerprint)?;
        let side = match (kv_listener, queue) {
            (Some((listener, address)), _) => {
                let leases = Leases::new(options.max_open);
                let prefill_uri = self.identity.peer(Member::Prefill).uri();
                let server = KvServer {
                    tls: self.kv_server,
                    client_uris: vec![prefill_uri.clone(), self.identity.uri()],
                    fingerprint,
                    limits: Limits::default(),
                    connections: KV_CONNECTIONS,
                    leases: leases.clone(),
                    store: Arc::new(EngineStore::new(engine.clone())),
                    observer: Arc::new(KvMetrics(stats.clone())),
                };
                tasks.spawn(ampd_kv::serve(listener, server, stop_tasks.clone()));
                Side::Decode(Arc::new(DecodeSide {
                    table: RoundTable::new(options.open_ttl),
                    leases,
                    kv_addr: args.kv_advertise.clone().unwrap_or_else(|| address.to_string()),
                    own_uri: self.identity.uri(),
                    prefill_uri,
                    http: self.http,
                    moves: MoveSide::new(kv.clone(), self.peers),
                }))
            }
            (None, queue) => {
                let side = Arc::new(PrefillSide {
                    queue: queue.unwrap_or_else(|| Arc::new(Queue::new(order, options.token_budget))),
                    kv: kv.clone(),
                    decode_uri: self.identity.peer(Member::Decode).uri(),
                    layers: fingerprint.layers as usize,
                    pieces: Semaphore::new(PIECES),
                    token_budget: options.token_budget,
                });
                let context = Dispatch {
                    side: side.clone(),
                    engine: engine.clone(),
                    stats: stats.clone(),
                    load: load.clone(),
                };
                tasks.spawn(dispatch(context, stop_tasks.clone()));
                Side::Prefill(side)
            }
        };
        tasks.close();
        let name = args.name.clone();
        let worker =
            Arc::new(Worker { name, role: args.role, engine, stats, load, vocab, max_context, side });
        // Set once, here.
        let _ = self.front.worker.set(worker.clone());
        self.front.life.set(Phase::Ready);
        tracing::info!("ready");
        Ok(Serving { worker, end, tasks, stop_tasks, stop_engine, kv })
    }
}

/// Serves until the shutdown or the engine's end, then ends everything.
async fn run(
    mut serving: Serving,
    front: &Front,
    shutdown: &CancellationToken,
    grace: Duration,
) -> Result<(), ServerError> {
    let mut ended = None;
    tokio::select! {
        () = shutdown.cancelled() => {
            front.life.set(Phase::Draining);
            tracing::info!(rounds = serving.worker.busy(), "draining");
            tokio::select! {
                () = drained(&serving.worker, grace) => {}
                end = &mut serving.end => ended = Some(end),
            }
        }
        end = &mut serving.end => ended = Some(end),
    }
    let broken = match ended {
        Some(Ok(EngineEnd::Broken(reason))) => Some(reason),
        Some(_) => Some("the engine's thread has ended".to_owned()),
        None => None,
    };
    if let Some(reason) = &broken {
        front.life.set(Phase::Failed(reason.clone()));
    }
    // The callers are told first; what they held is then given back while the engine still runs.
    front.cut.cancel();
    serving.stop_tasks.cancel();
    serving.tasks.wait().await;
    serving.kv.shutdown().await;
    serving.stop_engine.cancel();
    if broken.is_none() {
        // The thread ends after its step; an end without a word is one too.
        let _ = serving.end.await;
    }
    broken.map_or(Ok(()), |reason| Err(ServerError::Broken(reason)))
}

/// Waits until all rounds and tasks are over, at most for `grace`.
async fn drained(worker: &Worker, grace: Duration) {
    let deadline = Instant::now() + grace;
    while worker.busy() > 0 && Instant::now() < deadline {
        sleep(DRAIN_POLL).await;
    }
    if worker.busy() > 0 {
        tracing::warn!(rounds = worker.busy(), "the grace period is over");
    }
}
