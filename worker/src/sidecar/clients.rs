//! The HTTP clients: one for each role that a peer must show in its certificate.

use ampd_kv::tls::TlsFiles;

use super::args::Args;
use super::error::StartError;
use crate::protocol::http_client;

/// Clients of the service's other processes. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub decode: reqwest::Client,
    pub prefill: reqwest::Client,
    pub sidecar: reqwest::Client,
}

impl Clients {
    /// Without certificates only plain addresses can be called.
    pub(super) fn new(_args: &Args, _files: Option<&TlsFiles>) -> Result<Self, StartError> {
        Ok(Self { decode: http_client(None)?, prefill: http_client(None)?, sidecar: http_client(None)? })
    }
}
