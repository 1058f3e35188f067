//! Starting a sidecar and stopping it.

use std::net::SocketAddr;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::args::Args;
use super::error::StartError;
use crate::http::listen;

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
    let public = listen("--listen", args.listen)?;
    let internal = listen("--internal-listen", args.internal_listen)?;
    let addresses = (public.local_addr(), internal.local_addr());
    let (public_addr, internal_addr) =
        (addresses.0.map_err(StartError::System)?, addresses.1.map_err(StartError::System)?);
    let task = tokio::spawn(async move {
        shutdown.cancelled().await;
        drop((public, internal));
    });
    Ok(Running { public: public_addr, internal: internal_addr, task })
}
