//! The process: signals, leadership, the controller and what stands around it.

use std::process::ExitCode;
use std::sync::Arc;

use ampd_telemetry::OperatorMetrics;
use kube::{Client, Config};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::context::Context;
use crate::controller::{self, Scope};
use crate::error::chain;
use crate::health::{self, Health};
use crate::lease::Leadership;
use crate::report::Reporter;
use crate::{capabilities, verify};

/// The Lease's name.
pub(crate) const LEASE: &str = "ampd-operator";

/// Why the operator ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no cluster to speak with.
    #[error("no cluster is configured: neither a pod's account nor a kubeconfig")]
    Config(#[from] kube::config::InferConfigError),
    /// The client cannot be made.
    #[error("the client of the API server cannot be made")]
    Client(#[from] kube::Error),
    /// A port cannot be had.
    #[error("{flag} {address}: cannot listen")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// Others could read the metrics.
    #[error("--metrics-listen {0} can be reached from other machines; only loopback is served so far")]
    Unprotected(std::net::SocketAddr),
    /// Signals cannot be handled.
    #[error("signals cannot be handled")]
    Signals(#[source] std::io::Error),
    /// Another replica may work now: this one must not go on.
    #[error("leadership is lost")]
    LeadershipLost,
    /// The metrics cannot be made, which is a defect.
    #[error("metrics")]
    Metrics(#[from] ampd_telemetry::MetricsError),
    /// What was to be verified does not hold.
    #[error("{0}")]
    Unverified(String),
}

/// Runs the operator until a signal ends it.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    if let Err(error) = ampd_telemetry::logging::init(args.log_format, &args.log_filter) {
        return complain(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &dyn std::error::Error) -> ExitCode {
    // Standard error may be closed; the exit code says it too.
    let _ =
        std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("ampd-operator: {}\n", chain(error)));
    ExitCode::from(2)
}

async fn run(args: Args) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    watch_signals(stop.clone()).map_err(RunError::Signals)?;
    let client = Client::try_from(Config::infer().await?)?;
    if args.verify {
        return verify::verify(&client, &args).await.map_err(RunError::Unverified);
    }
    if !health::is_local(args.metrics_listen) {
        return Err(RunError::Unprotected(args.metrics_listen));
    }
    let metrics = Arc::new(OperatorMetrics::new()?);
    let health = Arc::new(Health::default());
    let mut servers = JoinSet::new();
    let end = CancellationToken::new();
    let listener = listen("--health-listen", args.health_listen).await?;
    servers.spawn(health::probes(listener, health.clone(), end.clone()));
    let listener = listen("--metrics-listen", args.metrics_listen).await?;
    servers.spawn(health::metrics(listener, metrics.clone(), end.clone()));

    let result = lead(&args, client, metrics, &health, &stop).await;
    end.cancel();
    // They end at once; what they say of their sockets then is of no interest.
    while servers.join_next().await.is_some() {}
    result
}

async fn listen(flag: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { flag, address, source })
}

/// Waits for its turn, then works.
async fn lead(
    args: &Args,
    client: Client,
    metrics: Arc<OperatorMetrics>,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    // A replica that waits is ready to take over.
    health.ready();
    let leadership = Leadership::acquire(client.clone(), &args.namespace, LEASE, &args.name, stop).await;
    let Some(leadership) = leadership else { return Ok(()) };
    tracing::info!("this replica works from now on");
    metrics.leader.set(1.0);

    let (reporter, events) = Reporter::start(client.clone(), &args.name, metrics.clone());
    let context = Arc::new(Context {
        known: RwLock::new(capabilities::ask(&client).await.unwrap_or_default()),
        client: client.clone(),
        settings: args.settings(),
        certificates: args.certificate_lifetime,
        metrics,
        reporter,
    });
    let done = stop.child_token();
    let known = tokio::spawn(capabilities::follow(context.clone(), done.clone()));
    let scope = Scope { client, namespace: args.watch_namespace.clone() };
    let controller = controller::run(scope, context, args.concurrency, done.clone());
    let lost = leadership.lost();
    let led = tokio::select! {
        // Not one write more when the Lease is lost: reconciles that run are not waited for.
        () = lost.cancelled() => false,
        () = controller => true,
    };
    done.cancel();
    // It has nothing left to say but that it ended.
    let _ = known.await;
    if !led {
        return Err(RunError::LeadershipLost);
    }
    let _ = events.await;
    leadership.release().await;
    Ok(())
}

/// Cancels `stop` on the first SIGTERM or SIGINT.
fn watch_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
