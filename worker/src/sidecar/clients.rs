//! The HTTP clients: one for each role that a peer must show in its certificate.

use ampd_kv::tls::{Identity, Role, TlsFiles};

use super::args::Args;
use super::error::StartError;
use crate::protocol::http_client;
use crate::server::tls::client_config;

/// Clients of the service's other processes. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub decode: reqwest::Client,
    pub prefill: reqwest::Client,
    pub sidecar: reqwest::Client,
}

impl Clients {
    /// Without certificates only plain addresses can be called.
    pub(super) fn new(args: &Args, files: Option<&TlsFiles>) -> Result<Self, StartError> {
        let client = |role| {
            let config = match files {
                None => None,
                Some(files) => {
                    let identity = Identity::new(&args.namespace, &args.service, role)?;
                    Some(client_config(files, identity.uri())?)
                }
            };
            Ok::<_, StartError>(http_client(config)?)
        };
        Ok(Self {
            decode: client(Role::Decode)?,
            prefill: client(Role::Prefill)?,
            sidecar: client(Role::Sidecar)?,
        })
    }
}
