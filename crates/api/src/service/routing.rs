//! Where prefills run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Where prefills run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    /// The rule.
    pub policy: Policy,
    /// Of the policy paper: a prefill worker takes a prefill while its windowed TTFT is below this share of the
    /// objective; a decimal from 0 to 10 in quotes.
    #[schemars(schema_with = "schema::share")]
    pub alpha: String,
    /// Of the policy paper: the decode worker takes a prefill while its windowed ITL is below this share of the
    /// objective; a decimal from 0 to 10 in quotes.
    #[schemars(schema_with = "schema::share")]
    pub beta: String,
    /// The time over which statistics are means.
    #[schemars(schema_with = "schema::window")]
    pub window: String,
    /// Of other policies than ampd: how many waiting prefills a prefill worker may reorder.
    #[schemars(range(min = 1, max = 5))]
    pub lookahead: i32,
    /// Of other policies than ampd: how often a waiting prefill may be overtaken.
    #[schemars(range(min = 0, max = 1000))]
    pub postponement_cap: i32,
    /// Of the policy paper: shorter increments are always prefilled by the decode worker, tokens.
    #[schemars(range(min = 0, max = 1_048_576))]
    pub min_remote_tokens: i32,
    /// What becomes of a new session while one session more would have its objectives missed, by prediction. Sessions that
    /// were let in are always served.
    pub overload: Overload,
    /// What becomes of a round whose remote prefill failed.
    pub on_remote_failure: OnRemoteFailure,
    /// Where the load of prefill workers is read.
    pub signals: Signals,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            policy: Policy::Ampd,
            alpha: "0.8".into(),
            beta: "0.8".into(),
            window: "10s".into(),
            lookahead: 3,
            postponement_cap: 3,
            min_remote_tokens: 32,
            overload: Overload::Off,
            on_remote_failure: OnRemoteFailure::Local,
            signals: Signals::default(),
        }
    }
}

/// The rules of routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Where the fewest objectives are expected to be missed: this round's, and those of the rounds that it would disturb.
    Ampd,
    /// AMPD's published rule: by windowed means of the workers' load against alpha and beta, else by predicted times.
    Paper,
    /// Every prefill on the decode worker of its session.
    AlwaysLocal,
    /// Every prefill on a prefill worker.
    AlwaysRemote,
    /// NVIDIA Dynamo's conditional disaggregation: by thresholds on what is not cached.
    DynamoConditional,
    /// llm-d's prefix-based decider: by one threshold on what is not cached.
    LlmdPrefix,
    /// PPD: later rounds stay where a table of predicted times says so.
    Ppd,
    /// Every prefill of a session on one prefill worker.
    SessionAffinity,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 8] = [
        Self::Ampd,
        Self::Paper,
        Self::AlwaysLocal,
        Self::AlwaysRemote,
        Self::DynamoConditional,
        Self::LlmdPrefix,
        Self::Ppd,
        Self::SessionAffinity,
    ];

    /// The policy as manifests and flags write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ampd => "ampd",
            Self::Paper => "paper",
            Self::AlwaysLocal => "always_local",
            Self::AlwaysRemote => "always_remote",
            Self::DynamoConditional => "dynamo_conditional",
            Self::LlmdPrefix => "llmd_prefix",
            Self::Ppd => "ppd",
            Self::SessionAffinity => "session_affinity",
        }
    }
}

/// What becomes of a new session under overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Overload {
    /// It is let in like any other.
    Off,
    /// It is refused with 429, and told when to come again.
    Shed,
    /// Its first round waits, half a minute at most.
    Queue,
    /// It is let in behind all others.
    BestEffort,
}

impl Overload {
    /// The choice as manifests and flags write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shed => "shed",
            Self::Queue => "queue",
            Self::BestEffort => "bestEffort",
        }
    }
}

/// What becomes of a round whose remote prefill failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRemoteFailure {
    /// The decode worker prefills it.
    Local,
    /// The client gets an error.
    Fail,
}

impl OnRemoteFailure {
    /// The choice as manifests and flags write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Fail => "fail",
        }
    }
}

/// Where the load of prefill workers is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("self.source != 'prometheus' || has(self.url)", "is required where source is prometheus", ".url")]))]
pub struct Signals {
    /// Which way.
    pub source: SignalSource,
    /// Base address of the Prometheus server, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^http://[^\s/@?#$]+(/[^\s?#$]*)?$"))]
    pub url: Option<String>,
}

impl Default for Signals {
    fn default() -> Self {
        Self { source: SignalSource::Direct, url: None }
    }
}

/// Ways to read the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalSource {
    /// From each worker.
    Direct,
    /// From a Prometheus server, where the cluster forbids direct reads.
    Prometheus,
}

impl SignalSource {
    /// The source as manifests and flags write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Prometheus => "prometheus",
        }
    }
}
