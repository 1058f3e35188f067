//! The HTTP clients: one for each role that a peer must show in its certificate.

use std::sync::Arc;

use ampd_kv::tls::{Credentials, Identity, Role};

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
    pub(super) fn new(args: &Args, credentials: Option<&Arc<Credentials>>) -> Result<Self, StartError> {
        let client = |role| {
            let config = match credentials {
                None => None,
                Some(credentials) => {
                    let identity = Identity::new(&args.namespace, &args.service, role)?;
                    Some(credentials.client_config(Some(identity.uri()))?)
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
