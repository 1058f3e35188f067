//! Starting a worker: what can fail at once is done before anything runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ampd_engine::backend::BackendError;
use ampd_engine::core::{EngineError, RoundError};
use ampd_engine::model::ModelError;
use ampd_kv::BadFingerprint;
use ampd_kv::tls::{Identity, InvalidIdentity, TlsError};
use ampd_perfmodel::ProfileError;
use ampd_telemetry::{MetricsError, WorkerMetrics};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::front::Front;
use super::moves::PEERS;
use super::phase::Lifecycle;
use super::supervise::{Supervisor, supervise};
use crate::certificates::Certificates;
use crate::http::{Access, HttpTls, ListenError, METRICS, Rights, listen};
use crate::process::exit;
use crate::protocol::{ClientError, Role, http_client};
use crate::topology::is_host_port;

/// Why a worker cannot start, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Signals or the parent cannot be watched.
    #[error("the process cannot be set up")]
    Process(#[source] std::io::Error),
    /// A port cannot be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Namespace or service is no name.
    #[error("--namespace and --service")]
    Identity(#[from] InvalidIdentity),
    /// The certificate is of another role or service.
    #[error("the certificate in --tls-dir is of {got}, this worker is {expected}")]
    Certificate {
        /// Who it should be of.
        expected: String,
        /// Who it is of.
        got: String,
    },
    /// Certificates or keys cannot be used.
    #[error("--tls-dir {}", dir.display())]
    Tls {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        #[source]
        source: TlsError,
    },
    /// The client of other workers cannot be set up.
    #[error("calls to other workers cannot be set up")]
    Client(#[from] ClientError),
    /// Metrics cannot be made.
    #[error("metrics cannot be set up")]
    Metrics(#[from] MetricsError),
    /// The model cannot be loaded.
    #[error("--model")]
    Model(#[from] ModelError),
    /// The backend cannot be made.
    #[error("the compute backend cannot be set up")]
    Backend(#[from] BackendError),
    /// Nobody could reach the KV port.
    #[error(
        "--kv-advertise must be HOST:PORT at which prefill workers reach --kv-listen {listen}, and is {got}"
    )]
    KvAdvertise {
        /// What was given.
        got: String,
        /// Where the port listens.
        listen: SocketAddr,
    },
    /// The KV pool would have no block.
    #[error("--kv-memory is less than one block of {needed} bytes")]
    KvMemory {
        /// Bytes of a block.
        needed: u64,
    },
    /// KV of this model cannot be moved.
    #[error("KV of this model cannot be moved")]
    Fingerprint(#[source] BadFingerprint),
    /// The profile cannot be read.
    #[error("--profile {}", path.display())]
    ReadProfile {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The profile is not valid.
    #[error("--profile {}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ProfileError,
    },
    /// The model does not run.
    #[error("the engine cannot run the model")]
    Engine(#[from] EngineError),
    /// The model fails at a first short round: its weights are damaged.
    #[error("the model cannot compute a first round")]
    WarmUp(#[source] RoundError),
    /// The engine is broken: a defect.
    #[error("the engine is broken: {0}")]
    Broken(String),
}

impl ServerError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(ListenError::Unprotected { .. }) | Self::Identity(_) | Self::KvAdvertise { .. } => {
                exit::USAGE
            }
            Self::Listen(_) | Self::Process(_) => exit::UNAVAILABLE,
            Self::Broken(_) | Self::Metrics(_) | Self::Client(_) | Self::Engine(_) => exit::SOFTWARE,
            _ => exit::CONFIG,
        }
    }
}

/// A worker that runs in this process.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    kv_address: Option<SocketAddr>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    /// Where the control API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a decode worker moves KV.
    #[must_use]
    pub fn kv_address(&self) -> Option<SocketAddr> {
        self.kv_address
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When the model cannot be loaded or the engine broke.
    pub async fn finished(self) -> Result<(), ServerError> {
        self.task.await.unwrap_or_else(|error| Err(ServerError::Broken(error.to_string())))
    }
}

/// Starts a worker: its ports are open when this returns, the model is loaded after it. It ends with `shutdown`.
///
/// # Errors
/// When a flag or a file is wrong, or a port cannot be used.
pub async fn start(args: Args, shutdown: CancellationToken) -> Result<Running, ServerError> {
    let role = match args.role {
        Role::Decode => ampd_kv::tls::Role::Decode,
        Role::Prefill => ampd_kv::tls::Role::Prefill,
    };
    let identity = Identity::new(&args.namespace, &args.service, role)?;
    let unusable = |source| ServerError::Tls { dir: args.tls_dir.clone(), source };
    let certificates = Certificates::read(args.tls_dir.clone()).map_err(unusable)?;
    let credentials = &certificates.credentials;
    if credentials.uri() != identity.uri() {
        let (expected, got) = (identity.uri(), credentials.uri().to_owned());
        return Err(ServerError::Certificate { expected, got });
    }
    check_advertised(&args)?;
    let control_tls = Arc::new(credentials.open_server_config().map_err(unusable)?);
    let kv_server = Arc::new(credentials.server_config().map_err(unusable)?);
    let prefill_uri = identity.peer(ampd_kv::tls::Role::Prefill).uri();
    let calls = credentials.client_config(Some(prefill_uri)).map_err(unusable)?;
    let decode_uri = identity.peer(ampd_kv::tls::Role::Decode).uri();
    let peer_calls = credentials.client_config(Some(decode_uri)).map_err(unusable)?;
    let kv_client = Arc::new(credentials.client_config(None).map_err(unusable)?);
    let metrics =
        WorkerMetrics::new(&format!("{}/{}", args.namespace, args.service), args.role.as_str(), &args.name)?;

    let (listener, address) = bound("--listen", args.listen).await?;
    let kv_listener = match args.role {
        Role::Decode => Some(bound("--kv-listen", args.kv_listen).await?),
        Role::Prefill => None,
    };
    let kv_address = kv_listener.as_ref().map(|(_, address)| *address);
    tracing::info!(
        role = args.role.as_str(), name = args.name, %address, kv = kv_address.map(|kv| kv.to_string()),
        "listening"
    );
    let front = Front {
        life: Lifecycle::new(),
        metrics: Arc::new(metrics),
        cut: CancellationToken::new(),
        worker: OnceLock::new(),
    };
    let uri = |role| identity.peer(role).uri();
    let access = Access::default()
        .with(uri(ampd_kv::tls::Role::Sidecar), Rights::All)
        .with(uri(ampd_kv::tls::Role::Monitor), Rights::Only(&[METRICS]))
        .with(uri(ampd_kv::tls::Role::Operator), Rights::Only(&[METRICS]));
    let decode = match args.role {
        Role::Decode => Rights::Only(&[PEERS]),
        Role::Prefill => Rights::All,
    };
    let access = access.with(uri(ampd_kv::tls::Role::Decode), decode);
    let supervisor = Supervisor {
        args,
        identity,
        front: Arc::new(front),
        listener,
        // On loopback the control API is plain HTTP.
        tls: (!address.ip().is_loopback()).then(|| HttpTls { config: control_tls, access }),
        kv_listener,
        kv_server,
        kv_client,
        certificates,
        http: http_client(Some(calls))?,
        peers: http_client(Some(peer_calls))?,
        shutdown,
    };
    let task = tokio::spawn(supervise(supervisor));
    Ok(Running { address, kv_address, task })
}

/// Prefill workers must be able to reach the KV port.
fn check_advertised(args: &Args) -> Result<(), ServerError> {
    let advertised = args.kv_advertise.as_deref();
    let reachable = advertised.map_or(!args.kv_listen.ip().is_unspecified(), is_host_port);
    if args.role == Role::Prefill || reachable {
        return Ok(());
    }
    Err(ServerError::KvAdvertise { got: advertised.unwrap_or("nothing").to_owned(), listen: args.kv_listen })
}

async fn bound(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let listener = listen(flag, address).await?;
    let address = listener.local_addr().map_err(|source| ListenError::Listen { flag, address, source })?;
    Ok((listener, address))
}
