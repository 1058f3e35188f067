//! Starting a sidecar and stopping it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ampd_engine::model::{ModelConfig, read_config};
use ampd_kv::tls::{Credentials, Identity, Role};
use ampd_telemetry::SidecarMetrics;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::args::Args;
use super::attainment::Attainment;
use super::clients::Clients;
use super::clock::Clock;
use super::config::{self, Config, Workers};
use super::drain::OPERATED;
use super::error::StartError;
use super::front::Front;
use super::holders::Holders;
use super::home::Home;
use super::inflight::Places;
use super::lines::Lines;
use super::members::Members;
use super::model::{Estimate, guess};
use super::moves::Moves;
use super::naming::Naming;
use super::own::OwnWorker;
use super::resolve::Known;
use super::rounds::Rounds;
use super::signals::Signals;
use super::state::Shared;
use super::{auth, front, internal, model, relocate, watch};
use crate::certificates::Certificates;
use crate::http::{Access, HttpLimits, HttpServer, HttpTls, METRICS, Rights, listen, serve};
use crate::text::TextModel;
use crate::topology;

/// How long the last words to clients may take that are cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the last tasks may take after all connections have ended.
const LAST: Duration = Duration::from_secs(10);

/// A sidecar that serves.
#[derive(Debug)]
pub struct Running {
    /// The address of the OpenAI API.
    pub public: SocketAddr,
    /// The address for other sidecars, probes and metrics.
    pub internal: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until the sidecar has stopped: all its connections and tasks have ended.
    pub async fn wait(self) {
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the sidecar's main task failed");
        }
    }
}

/// Starts a sidecar that stops when `shutdown` is cancelled.
///
/// # Errors
/// When a flag, a file or an address cannot be used.
pub async fn start(args: Args, shutdown: CancellationToken) -> Result<Running, StartError> {
    let config = Config::new(&args)?;
    let public = listen("--listen", args.listen).await?;
    let internal = listen("--internal-listen", args.internal_listen).await?;
    let addresses = (local(&public)?, local(&internal)?);
    let naming = Naming::new(config.session_headers.clone(), &config::secret(&args)?);
    let (model, text) = load_model(&args).await?;
    let perf = args.profile.as_deref().map_or_else(|| Ok(guess(&model)), model::load)?;
    let certificates = args.tls_dir.clone().map(Certificates::read).transpose()?;
    let credentials = certificates.as_ref().map(|certificates| &certificates.credentials);
    let tls = match credentials {
        Some(credentials) => {
            Some(protection(&args, credentials)?).filter(|_| !addresses.1.ip().is_loopback())
        }
        None => None,
    };
    let metrics = SidecarMetrics::new(&format!("{}/{}", args.namespace, args.service), &args.name)?;
    let policy = config.policy.build()?;
    let clients = Clients::new(&args, credentials)?;
    let (topology, following) = match &config.workers {
        Workers::File(path) => topology::follow(path.clone(), shutdown.clone()).await?,
        Workers::Services(services) => {
            let (failures, client) = (metrics.discovery_failures.clone(), topology::client().await?);
            topology::discover(&client, services.clone(), move || failures.inc(), shutdown.clone())
        }
    };
    let clock = Clock::new();
    let stopped = CancellationToken::new();
    let shared = Arc::new(Shared {
        clock,
        metrics,
        attainment: Attainment::new(clock),
        clients,
        keys: ArcSwap::from_pointee(config.keys.clone()),
        topology,
        members: Members::new(clock),
        own: OwnWorker::new(args.name.clone(), clock),
        signals: Arc::new(Signals::new(clock, config.ages)),
        followed: ArcSwap::default(),
        probes: Lines::new(1),
        policy,
        estimate: Estimate::new(perf),
        pending: Arc::default(),
        holders: Holders::new(config.session_ttl_s),
        home: Home::new(config.session_ttl_s),
        known: Known::new(config.session_ttl_s),
        rounds: Rounds::new(config.session_ttl_s),
        moves: Moves::default(),
        relocating: Semaphore::new(relocate::AT_ONCE),
        places: Places::new(config.max_inflight),
        tasks: TaskTracker::new(),
        served: TaskTracker::new(),
        shutdown: shutdown.clone(),
        stopped: stopped.clone(),
        closing: CancellationToken::new(),
        config,
    });
    watch::start(&shared);
    if let Some(certificates) = certificates {
        shared.tasks.spawn(certificates.follow(shared.stopped.clone()));
    }
    if let Some(path) = args.api_keys_file.clone() {
        let shared = shared.clone();
        shared
            .tasks
            .clone()
            .spawn(async move { shared.stopped.run_until_cancelled(auth::follow(path, &shared)).await });
    }
    tracing::info!(
        name = args.name,
        listen = %addresses.0,
        internal_listen = %addresses.1,
        policy = shared.policy.name(),
        "listening"
    );
    let front = front::router(Front::new(shared.clone(), &args, naming, text, &model));
    let servers = Servers { public, internal, front, tls };
    let task = tokio::spawn(async move {
        servers.serve(&shared).await;
        stopped.cancel();
        shared.tasks.close();
        if tokio::time::timeout(LAST, shared.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = shared.tasks.len(), "tasks still run at the end");
        }
        if let Err(error) = following.await {
            tracing::error!(error = &error as &dyn std::error::Error, "following the topology failed");
        }
        tracing::info!("stopped");
    });
    Ok(Running { public: addresses.0, internal: addresses.1, task })
}

struct Servers {
    public: TcpListener,
    internal: TcpListener,
    front: axum::Router,
    tls: Option<HttpTls>,
}

/// TLS of the internal listener, which serves sidecars of this service, and others a little.
fn protection(args: &Args, credentials: &Arc<Credentials>) -> Result<HttpTls, StartError> {
    let own = Identity::new(&args.namespace, &args.service, Role::Sidecar)?;
    let (expected, got) = (own.uri(), credentials.uri().to_owned());
    if got != expected {
        return Err(StartError::Certificate { expected, got });
    }
    let access = Access::default()
        .with(expected, Rights::All)
        .with(own.peer(Role::Monitor).uri(), Rights::Only(&[METRICS]))
        .with(own.peer(Role::Operator).uri(), Rights::Only(&[METRICS, OPERATED]));
    Ok(HttpTls { config: Arc::new(credentials.open_server_config()?), access })
}

impl Servers {
    /// Serves until both servers have ended. The internal one goes on for as long as clients' requests do: other sidecars'
    /// rounds and probes come through it.
    async fn serve(self, shared: &Arc<Shared>) {
        let Self { public, internal, front, tls } = self;
        let (shutdown, closing) = (shared.shutdown.clone(), shared.closing.clone());
        let time = shared.config.grace;
        // Connections outlive the requests on them, so that whoever is cut off can still be told.
        let grace = time + LAST_WORDS;
        let connections = Places::connections(shared.config.max_inflight);
        let limits = HttpLimits { connections, ..HttpLimits::default() };
        let front = serve(public, front, HttpServer { limits, tls: None, shutdown: shutdown.clone(), grace });
        let over = CancellationToken::new();
        let limits = HttpLimits::default();
        let server = HttpServer { limits, tls, shutdown: over.clone(), grace: LAST_WORDS };
        let internal = serve(internal, internal::router(shared.clone()), server);
        let served = async {
            front.await;
            // What other sidecars have here takes no longer than clients' own requests may.
            shared.served.close();
            tokio::select! {
                () = closing.cancelled() => {}
                () = shared.served.wait() => {}
            }
            over.cancel();
        };
        let tell = async {
            shutdown.cancelled().await;
            tokio::time::sleep(time).await;
            closing.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = tell => {}
            _ = async { tokio::join!(served, internal) } => {}
        }
    }
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::System)
}

/// Reads the model's shape, and its tokenizer and template, off the async threads.
async fn load_model(args: &Args) -> Result<(ModelConfig, TextModel), StartError> {
    let path = args.model.clone();
    let load = move || Ok((read_config(&path)?, TextModel::load(&path)?));
    tokio::task::spawn_blocking(load).await.map_err(|error| StartError::System(error.into()))?
}
