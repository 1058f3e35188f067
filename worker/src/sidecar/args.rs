//! The sidecar's command line; every flag is also an environment variable `AMPD_…`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ampd_scheduler::{Overload, PolicyConfig, PolicyKind};
use clap::ValueEnum;

use crate::policies::policy_parser;

/// Starts the scheduler beside a decode worker, with the service's OpenAI API.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Name of the decode worker beside this sidecar, as in the topology.
    #[arg(long, env = "AMPD_NAME")]
    pub name: String,
    /// Namespace of the service.
    #[arg(long, env = "AMPD_NAMESPACE")]
    pub namespace: String,
    /// Name of the service.
    #[arg(long, env = "AMPD_SERVICE")]
    pub service: String,
    /// JSON file with the service's workers; read again when it changes.
    #[arg(long, env = "AMPD_TOPOLOGY")]
    pub topology: Option<PathBuf>,
    /// Headless Service of the decode workers, instead of --topology: who belongs to the service is read from the API
    /// server.
    #[arg(long, env = "AMPD_DECODE_SERVICE")]
    pub decode_service: Option<String>,
    /// Headless Service of the prefill workers, with --decode-service.
    #[arg(long, env = "AMPD_PREFILL_SERVICE")]
    pub prefill_service: Option<String>,
    /// The model's GGUF file or Hugging Face folder; only its tokenizer, chat template and shape are read.
    #[arg(long, env = "AMPD_MODEL")]
    pub model: PathBuf,
    /// Name under which the model is served.
    #[arg(long, env = "AMPD_MODEL_NAME")]
    pub model_name: String,
    /// Further names of the model.
    #[arg(long, env = "AMPD_MODEL_ALIAS", value_delimiter = ',')]
    pub model_alias: Vec<String>,
    /// Address of the OpenAI API.
    #[arg(long, env = "AMPD_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Address for other sidecars, probes and metrics.
    #[arg(long, env = "AMPD_INTERNAL_LISTEN", default_value = "127.0.0.1:0")]
    pub internal_listen: SocketAddr,
    /// Folder with ca.pem, cert.pem and key.pem of this role; read again when they change.
    #[arg(long, env = "AMPD_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Objective of the time to first token, from a round's arrival.
    #[arg(long, env = "AMPD_SLO_TTFT", default_value = "2s", value_parser = humantime::parse_duration)]
    pub slo_ttft: Duration,
    /// Objective of the mean time between tokens of a round.
    #[arg(long, env = "AMPD_SLO_ITL", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub slo_itl: Duration,
    /// Routing policy.
    #[arg(long, env = "AMPD_POLICY", value_parser = policy_parser(), default_value_t = PolicyKind::default())]
    pub policy: PolicyKind,
    /// Share of the TTFT objective under which prefill workers have slack, for `--policy paper`.
    #[arg(long, env = "AMPD_ALPHA", default_value_t = PolicyConfig::default().alpha)]
    pub alpha: f64,
    /// Share of the ITL objective under which the decode worker has slack, for `--policy paper`.
    #[arg(long, env = "AMPD_BETA", default_value_t = PolicyConfig::default().beta)]
    pub beta: f64,
    /// Width of the windowed means that the workers measure; signals older than this are no longer held.
    #[arg(long, env = "AMPD_WINDOW", default_value = "10s", value_parser = humantime::parse_duration)]
    pub window: Duration,
    /// Smallest increment, tokens, that may be prefilled remotely, for `--policy paper`.
    #[arg(long, env = "AMPD_MIN_REMOTE_TOKENS", default_value_t = PolicyConfig::default().min_remote_tokens)]
    pub min_remote_tokens: u32,
    /// What becomes of a new session while one session more would have its objectives missed.
    #[arg(long, env = "AMPD_OVERLOAD", value_enum, default_value_t = OnOverload::Off)]
    pub overload: OnOverload,
    /// Performance profile, JSON; without it a coarse guess is calibrated while serving.
    #[arg(long, env = "AMPD_PROFILE")]
    pub profile: Option<PathBuf>,
    /// Where the prefill workers' load is read.
    #[arg(long, env = "AMPD_SIGNALS", value_enum, default_value_t = SignalSource::Direct)]
    pub signals: SignalSource,
    /// Base address of a Prometheus server, for `--signals prometheus`.
    #[arg(long, env = "AMPD_PROMETHEUS_URL")]
    pub prometheus_url: Option<String>,
    /// Headers that name a session, by precedence.
    #[arg(
        long,
        env = "AMPD_SESSION_HEADER",
        value_delimiter = ',',
        default_values = ["x-session-id", "x-dynamo-session-id"]
    )]
    pub session_header: Vec<String>,
    /// File with a secret of the service, 16 bytes or more, from which names of sessions and salts of tenants are made.
    /// All sidecars need the same; without it they take the authority's certificate, which changes when that is renewed.
    #[arg(long, env = "AMPD_SESSION_SECRET_FILE")]
    pub session_secret_file: Option<PathBuf>,
    /// How long a binding is kept without a round.
    #[arg(long, env = "AMPD_SESSION_TTL", default_value = "30m", value_parser = humantime::parse_duration)]
    pub session_ttl: Duration,
    /// What a round does when its remote prefill fails.
    #[arg(long, env = "AMPD_ON_REMOTE_FAILURE", value_enum, default_value_t = OnRemoteFailure::Local)]
    pub on_remote_failure: OnRemoteFailure,
    /// File with one `name:key` a line: who may use the API; read again when it changes. This or --allow-anonymous is
    /// needed beyond loopback.
    #[arg(long, env = "AMPD_API_KEYS_FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Everybody may use the API, from wherever it can be reached.
    #[arg(long, env = "AMPD_ALLOW_ANONYMOUS", conflicts_with = "api_keys_file")]
    pub allow_anonymous: bool,
    /// Longest context, tokens; the model's own if that is smaller.
    #[arg(long, env = "AMPD_MAX_CONTEXT")]
    pub max_context: Option<usize>,
    /// Requests served at once; further ones are told to come again.
    #[arg(long, env = "AMPD_MAX_INFLIGHT", default_value_t = 1024)]
    pub max_inflight: usize,
    /// How long requests may go on after the request to stop.
    #[arg(long, env = "AMPD_GRACE", default_value = "30s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Ends when the parent process ends; standard input must be a pipe that the parent holds.
    #[arg(long, env = "AMPD_DIE_WITH_PARENT")]
    pub die_with_parent: bool,
    /// Form of the log: human or json.
    #[arg(long, env = "AMPD_LOG_FORMAT", default_value = "human")]
    pub log_format: ampd_telemetry::logging::Format,
    /// What is logged, as `tracing` filters are written.
    #[arg(long, env = "AMPD_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
}

/// Where load signals come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SignalSource {
    /// Each worker's own `/metrics/load`.
    Direct,
    /// A Prometheus server that reads the workers.
    Prometheus,
}

/// What becomes of a new session under overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum OnOverload {
    /// It is let in like any other.
    Off,
    /// It is refused, and told when to come again.
    Shed,
    /// It waits, half a minute at most.
    Queue,
    /// It is let in behind all others.
    BestEffort,
}

impl From<OnOverload> for Overload {
    fn from(overload: OnOverload) -> Self {
        match overload {
            OnOverload::Off => Self::Off,
            OnOverload::Shed => Self::Shed,
            OnOverload::Queue => Self::Queue,
            OnOverload::BestEffort => Self::BestEffort,
        }
    }
}

/// What a failed remote prefill means for its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum OnRemoteFailure {
    /// The prefill runs on the decode worker.
    Local,
    /// The round fails.
    Fail,
}
