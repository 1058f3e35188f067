//! What can go wrong with a transfer, as the client sees it.

use std::sync::Arc;
use std::time::Duration;

use crate::Reason;
use crate::frame::FrameError;

/// Why a transfer failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KvError {
    /// The owner cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Its address.
        address: String,
        /// What happened.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Something took too long.
    #[error("{what} took longer than {}", humantime(*.limit))]
    Timeout {
        /// What took too long.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The peer's certificate names someone else.
    #[error("the peer is {got}, expected {expected}")]
    Identity {
        /// The SAN URI that was expected.
        expected: String,
        /// What the certificate has.
        got: String,
    },
    /// The owner refused or ended the transfer and said why.
    #[error("the owner ended the transfer: {0}")]
    Refused(Reason),
    /// The owner sent something that is not the protocol.
    #[error("the owner broke the protocol")]
    Frame(#[source] FrameError),
    /// The connection broke.
    #[error("the connection to the owner broke")]
    Io(#[source] Arc<std::io::Error>),
    /// The caller asked for what the lease does not allow, or handed over data of another length.
    #[error("{0}")]
    Request(String),
    /// The client shuts down.
    #[error("the KV client shuts down")]
    ShuttingDown,
}

impl KvError {
    /// The label for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Connect { .. } | Self::Io(_) => Reason::Disconnected,
            Self::Timeout { .. } => Reason::Timeout,
            Self::Identity { .. } => Reason::Identity,
            Self::Refused(reason) => *reason,
            Self::Frame(error) => error.reason(),
            Self::Request(_) => Reason::OutOfRange,
            Self::ShuttingDown => Reason::ShuttingDown,
        }
    }
}

impl From<std::io::Error> for KvError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// A duration in seconds with as many digits as it needs.
fn humantime(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}
