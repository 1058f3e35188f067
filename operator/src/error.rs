//! Why a reconcile did not get to its end.

use std::time::Duration;

use ampd_api::FieldErrors;
use ampd_kv::tls::TlsError;
pub use ampd_telemetry::chain;

use crate::condition::Reason;

/// Why a reconcile did not get to its end. Its [kind](Self::kind) is the reason of the event and the label of the metric.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The stored object is not of the form of its kind.
    #[error("the stored object cannot be read: {0}")]
    InvalidObject(String),
    /// The manifest breaks a rule that the API server did not check.
    #[error("{0}")]
    InvalidSpec(#[from] FieldErrors),
    /// The API server did not answer in time, or with an error of its own.
    #[error("the API server cannot be used: {action}")]
    ApiUnavailable {
        /// What was tried.
        action: String,
        /// What happened.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server was silent.
    #[error("the API server gave no answer within {} s: {action}", within.as_secs())]
    ApiTimeout {
        /// What was tried.
        action: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The operator's own rights are not enough.
    #[error("the operator may not do this: {action}: {message}")]
    Forbidden {
        /// What was tried.
        action: String,
        /// The API server's words.
        message: String,
    },
    /// The API server refuses an object as it is.
    #[error("the API server refuses it: {action}: {message}")]
    ChildRefused {
        /// What was tried.
        action: String,
        /// The API server's words; the client's own error repeats them in three forms.
        message: String,
    },
    /// A child has the name of something that is another's.
    #[error("{kind} {name} is there already and belongs to another; rename the service, or remove it")]
    NameConflict {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The stored certificate authority cannot be used, or a certificate cannot be made.
    #[error(
        "the certificates of the service; if its authority is broken, delete the Secret NAME-ca, and all are made anew"
    )]
    Certificates(#[from] TlsError),
}

impl ReconcileError {
    /// The kind of error, as the reason of events and conditions.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidObject(_) => const { Reason::new("InvalidObject") },
            Self::InvalidSpec(_) => const { Reason::new("InvalidSpec") },
            Self::ApiUnavailable { .. } => const { Reason::new("ApiUnavailable") },
            Self::ApiTimeout { .. } => const { Reason::new("ApiTimeout") },
            Self::Forbidden { .. } => const { Reason::new("Forbidden") },
            Self::ChildRefused { .. } => const { Reason::new("ChildRefused") },
            Self::NameConflict { .. } => const { Reason::new("NameConflict") },
            Self::Certificates(_) => const { Reason::new("Certificates") },
        }
    }

    /// The same as the label of metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.reason().as_str()
    }

    /// Whether something else has the name of a child.
    #[must_use]
    pub fn is_name_conflict(&self) -> bool {
        matches!(self, Self::NameConflict { .. })
    }

    /// Whether it is about one object, and others may be written all the same.
    #[must_use]
    pub fn is_of_one_object(&self) -> bool {
        match self {
            Self::ChildRefused { .. } | Self::NameConflict { .. } => true,
            // What it cannot merge, the API server answers with an error of its own.
            Self::ApiUnavailable { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.code == 500)
            }
            _ => false,
        }
    }

    /// Whether only another manifest can help.
    #[must_use]
    pub fn needs_another_manifest(&self) -> bool {
        matches!(self, Self::InvalidObject(_) | Self::InvalidSpec(_))
    }

    /// Sorts what the client says of `action`.
    pub(crate) fn of(action: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                Self::Forbidden { action, message: status.message }
            }
            // Those that come and go: conflicts, too many requests, what is not there yet.
            kube::Error::Api(status) if !matches!(status.code, 404 | 409 | 429 | 500..) => {
                Self::ChildRefused { action, message: status.message }
            }
            error => Self::ApiUnavailable { action, source: Box::new(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn of(code: u16) -> &'static str {
        let status = Status { code, ..Status::default() };
        ReconcileError::of("x".into(), kube::Error::Api(Box::new(status))).kind()
    }

    #[test]
    fn answers_are_sorted_by_what_helps() {
        assert_eq!(
            [403, 409, 422, 429, 503].map(of),
            ["Forbidden", "ApiUnavailable", "ChildRefused", "ApiUnavailable", "ApiUnavailable"]
        );
    }
}
