//! The manifest, in the terms of a local run.

use std::path::Path;
use std::time::Duration;

use crate::local::Routing;
use crate::model::ModelRef;

/// What a manifest says that matters on one machine.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The service's namespace.
    pub(crate) namespace: String,
    /// The service's name.
    pub(crate) service: String,
    /// The model.
    pub(crate) model: ModelRef,
    /// Its name in the API.
    pub(crate) model_name: String,
    /// Cap of its context, tokens.
    pub(crate) max_context: Option<u32>,
    /// Objective for the time to the first token.
    pub(crate) slo_ttft: Duration,
    /// Objective for the mean time between tokens.
    pub(crate) slo_itl: Duration,
    /// Prefill workers.
    pub(crate) prefill: usize,
    /// Decode workers.
    pub(crate) decode: usize,
    /// Routing.
    pub(crate) routing: Routing,
    /// Request headers that may name a session.
    pub(crate) session_headers: Vec<String>,
    /// How long an idle session keeps its KV.
    pub(crate) session_ttl: Option<Duration>,
}

pub(crate) fn load(_file: Option<&Path>) -> anyhow::Result<Settings> {
    anyhow::bail!("pending")
}
