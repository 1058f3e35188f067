//! The process: signals, leadership, the controller and what stands around it.

use std::process::ExitCode;
use std::sync::Arc;

use ampd_telemetry::OperatorMetrics;
use kube::{Client, Config};
use parking_lot::RwLock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::context::Context;
use crate::controller::{self, Scope};
use crate::error::chain;
use crate::health::{self, Health, ServeError, Standing};
use crate::lease::Leadership;
use crate::report;
use crate::service::measurements::Measurements;
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
    /// A socket cannot be served.
    #[error("{flag}")]
    Serve {
        /// The flag that names the address.
        flag: &'static str,
        /// What happened.
        #[source]
        source: ServeError,
    },
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
    let metrics = Arc::new(OperatorMetrics::new()?);
    let health = Arc::new(Health::default());
    let end = CancellationToken::new();
    let probes = health::serve_probes(args.health_listen, health.clone(), end.clone())
        .await
        .map_err(|source| RunError::Serve { flag: "--health-listen", source })?;
    let exposition = health::serve_metrics(args.metrics_listen, metrics.clone(), client.clone(), end.clone())
        .await
        .map_err(|source| RunError::Serve { flag: "--metrics-listen", source })?;

    let result = lead(&args, client, metrics, &health, &stop).await;
    health.set_standing(Standing::Stopping);
    end.cancel();
    tokio::join!(probes.finish(), exposition.finish());
    result
}

/// Waits for its turn, then works.
async fn lead(
    args: &Args,
    client: Client,
    metrics: Arc<OperatorMetrics>,
    health: &Arc<Health>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    health.set_standing(Standing::Follower);
    let leadership = Leadership::acquire(client.clone(), &args.namespace, LEASE, &args.name, stop).await;
    let Some(leadership) = leadership else { return Ok(()) };
    tracing::info!("this replica works from now on");
    metrics.leader.set(1.0);
    health.set_standing(Standing::Leader);

    let (reports, reporting) = report::start(client.clone(), "ampd-operator", &args.name, metrics.clone());
    let context = Arc::new(Context {
        measurements: Measurements::default(),
        known: RwLock::new(capabilities::ask(&client).await.unwrap_or_default()),
        client: client.clone(),
        settings: args.settings(),
        certificates: args.certificate_lifetime,
        metrics,
        health: health.clone(),
        reports,
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
    leadership.release().await;
    reporting.finish().await;
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
