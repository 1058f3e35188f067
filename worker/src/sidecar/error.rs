//! Why a sidecar cannot start.

use std::path::PathBuf;

use ampd_engine::model::ModelError;
use ampd_kv::tls::{InvalidIdentity, TlsError};
use ampd_perfmodel::ProfileError;
use ampd_scheduler::ConfigError;
use ampd_telemetry::MetricsError;

use crate::http::ListenError;
use crate::process::exit;
use crate::protocol::ClientError;
use crate::text::TextError;
use crate::topology::{ClusterError, TopologyError};

/// Errors of starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A flag's value cannot be used.
    #[error("{flag}: {what}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A routing parameter is out of range.
    #[error("the routing policy cannot be set up")]
    Policy(#[from] ConfigError),
    /// A file that a flag names cannot be read.
    #[error("{flag}: cannot read {}", path.display())]
    Read {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The topology cannot be used.
    #[error("--topology cannot be used")]
    Topology(#[from] TopologyError),
    /// The API server cannot be asked for the topology.
    #[error("--decode-service and --prefill-service")]
    Cluster(#[from] ClusterError),
    /// The profile cannot be used.
    #[error("--profile {} cannot be used", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ProfileError,
    },
    /// The model's shape cannot be read.
    #[error("--model cannot be used")]
    Model(#[from] ModelError),
    /// The model's tokenizer cannot be loaded.
    #[error("--model cannot be used")]
    Text(#[from] TextError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Namespace or service is no name.
    #[error("--namespace and --service")]
    Identity(#[from] InvalidIdentity),
    /// The certificate is of another role or service.
    #[error("the certificate in --tls-dir is of {got}, this sidecar is {expected}")]
    Certificate {
        /// Who it should be of.
        expected: String,
        /// Who it is of.
        got: String,
    },
    /// Certificates or keys cannot be used.
    #[error("--tls-dir cannot be used")]
    Tls(#[from] TlsError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The operating system refuses something.
    #[error("the operating system refuses what the process needs")]
    System(#[source] std::io::Error),
}

impl StartError {
    /// The exit code that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Flag { .. }
            | Self::Policy(_)
            | Self::Identity(_)
            | Self::Listen(ListenError::Unprotected { .. }) => exit::USAGE,
            Self::Listen(_) | Self::System(_) => exit::UNAVAILABLE,
            Self::Client(_) | Self::Metrics(_) => exit::SOFTWARE,
            Self::Read { .. }
            | Self::Topology(_)
            | Self::Cluster(_)
            | Self::Profile { .. }
            | Self::Model(_)
            | Self::Text(_)
            | Self::Certificate { .. }
            | Self::Tls(_) => exit::CONFIG,
        }
    }
}
