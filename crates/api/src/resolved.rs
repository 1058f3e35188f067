//! A manifest with every default filled in and every text read.

mod resolve;

use std::time::Duration;

use crate::service::{OnRemoteFailure, Overload, Policy, SignalSource};

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace; `default` where the manifest names none.
    pub namespace: String,
    /// The model.
    pub model: Model,
    /// The objectives.
    pub slo: Slo,
    /// The prefill workers.
    pub prefill: Role,
    /// The decode workers.
    pub decode: Role,
    /// Where prefills run.
    pub routing: Routing,
    /// Request headers that may name a session.
    pub session_headers: Vec<String>,
    /// How long the KV cache of an idle session is kept.
    pub session_ttl: Duration,
    /// How long the rounds that run may go on when a worker stops.
    pub drain_timeout: Duration,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name that clients ask for.
    pub name: String,
    /// Other names that it answers to.
    pub aliases: Vec<String>,
    /// Where it comes from.
    pub source: ModelSource,
    /// A bound of the context, tokens; `None` for the model's own.
    pub max_context_tokens: Option<u32>,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A repository at Hugging Face.
    HuggingFace {
        /// `organisation/name`.
        repo: String,
        /// A branch, tag or commit.
        revision: String,
        /// One GGUF file of it; `None` for its safetensors.
        file: Option<String>,
    },
    /// A file or folder on a volume.
    PersistentVolumeClaim {
        /// The claim.
        claim_name: String,
        /// The path within the volume.
        path: String,
    },
    /// A file or folder in the image, or on this machine.
    Path(String),
}

/// The objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// Time to first token.
    pub ttft: Duration,
    /// Mean time between output tokens.
    pub itl: Duration,
    /// The share of rounds that are to meet both, from 0 to 1.
    pub target: f64,
}

/// The workers of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// At least so many, and at the start.
    pub min_replicas: usize,
    /// Never more.
    pub max_replicas: usize,
    /// The numbers of accelerators that one worker may run on, ascending.
    pub tensor_parallel: Vec<u32>,
    /// Most tokens of one step.
    pub token_budget: usize,
    /// Most tokens of one prefill in a step.
    pub prefill_chunk: usize,
    /// Threads of a worker; `None` for a fair share of the machine's.
    pub threads: Option<usize>,
    /// Memory of the KV cache, bytes; `None` for a share of the free memory.
    pub kv_cache: Option<u64>,
}

/// Where prefills run.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// The rule.
    pub policy: Policy,
    /// The share of the TTFT objective below which a prefill worker takes a prefill.
    pub alpha: f64,
    /// The share of the ITL objective below which the decode worker takes a prefill.
    pub beta: f64,
    /// The time over which statistics are means.
    pub window: Duration,
    /// How many waiting prefills may be reordered.
    pub lookahead: usize,
    /// How often a waiting prefill may be overtaken.
    pub postponement_cap: u32,
    /// Shorter increments are always local, tokens.
    pub min_remote_tokens: u32,
    /// What becomes of a new session under overload.
    pub overload: Overload,
    /// What becomes of a round whose remote prefill failed.
    pub on_remote_failure: OnRemoteFailure,
    /// Where the load of prefill workers is read.
    pub signals: SignalSource,
    /// Base address of the Prometheus server, where signals come from one.
    pub prometheus_url: Option<String>,
}
