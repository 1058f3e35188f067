//! Why there is no model. Each message says in one line what to do.

use std::io;
use std::path::PathBuf;

use crate::selection::SelectError;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The hub wants to know who asks, or does not let this one in.
    #[error(
        "{endpoint} refuses {repository} (HTTP {status}): {}",
        if *has_token { "the token has no right to it: accept its terms on its page, or set the token of somebody who may" }
        else { "it is private, gated, or not there: accept its terms on its page and set a token (HF_TOKEN or --token-file; in a cluster the token's Secret)" }
    )]
    Refused {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: String,
        /// What it answered.
        status: u16,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// No such repository.
    #[error("{endpoint} has no repository {repository}: check the name (repo); a private one needs a token")]
    NoRepository {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: String,
    },
    /// No such revision.
    #[error("{repository} has no revision {revision}: name a branch, a tag or a commit of it (revision)")]
    NoRevision {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
    },
    /// No such file.
    #[error("{repository} at {revision} has no file {file}: name one that it has (file)")]
    NoFile {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// The file.
        file: String,
    },
    /// Its files are no model.
    #[error("{repository} at {revision} {source}")]
    Select {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
        /// What is missing.
        source: SelectError,
    },
    /// The disk is full.
    #[error(
        "no space left in {}: {needed} bytes more are needed and {free} are free; give a larger volume or ephemeral-storage limit",
        folder.display()
    )]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that can be.
        free: u64,
    },
    /// Nobody answers.
    #[error(
        "{host} cannot be reached: check network policies, DNS, proxies and the endpoint (HF_ENDPOINT or --endpoint), or put the model on a volume"
    )]
    Unreachable {
        /// Who.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody said anything any more.
    #[error(
        "{host} was silent for {seconds} s: check the network, or try again later; what has arrived is kept"
    )]
    Silent {
        /// Who.
        host: String,
        /// For how long.
        seconds: u64,
    },
    /// A download ended too early again and again.
    #[error(
        "{file} ended after {got} of {size} bytes: check the network, or try again later; what has arrived is kept"
    )]
    Cut {
        /// The file.
        file: String,
        /// What came.
        got: u64,
        /// What should have.
        size: u64,
    },
    /// The hub has trouble.
    #[error("{host} answers HTTP {status}{}: try again later", if *status == 429 { " (too many requests; a token has higher limits)" } else { "" })]
    Status {
        /// Who.
        host: String,
        /// What it answered.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("{host} {what}: check that the endpoint (HF_ENDPOINT or --endpoint) is a hub")]
    Answer {
        /// Who.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file arrived otherwise than the hub says it is.
    #[error(
        "{file} was damaged in {tries} downloads ({what}) and is deleted: look for a proxy or mirror that changes files"
    )]
    Damaged {
        /// The file.
        file: String,
        /// How often.
        tries: u32,
        /// What differs.
        what: String,
    },
    /// The folder is somebody else's.
    #[error(
        "{} holds other models' files ({}): give an empty folder, or delete them",
        folder.display(), files.join(", ")
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        files: Vec<String>,
    },
    /// Somebody else is at it, for too long.
    #[error(
        "another process still works on {} after {seconds} s: look at what it logs, or wait longer (--wait)",
        folder.display()
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The file system cannot keep processes apart.
    #[error(
        "the file system of {} has no locks, so that two processes could spoil each other's files: use a volume with flock, or one of each pod's own",
        folder.display()
    )]
    NoLocks {
        /// The folder.
        folder: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {}: check that the folder is writable", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error("TLS cannot be set up from SSL_CERT_FILE: it must hold PEM certificates")]
    Certificates(#[source] rustls_pki_types::pem::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

impl FetchError {
    /// Whether the same command may succeed later: nothing that was asked for is wrong.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Cut { .. }
            | Self::Status { .. }
            | Self::Damaged { .. }
            | Self::NoSpace { .. }
            | Self::Busy { .. }
            | Self::Client(_)
            | Self::Tls(_) => true,
            Self::Refused { .. }
            | Self::NoRepository { .. }
            | Self::NoRevision { .. }
            | Self::NoFile { .. }
            | Self::Select { .. }
            | Self::Answer { .. }
            | Self::Foreign { .. }
            | Self::NoLocks { .. }
            | Self::File { .. }
            | Self::Certificates(_) => false,
        }
    }

    pub(crate) fn file(what: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what, path: path.into(), source }
    }
}
