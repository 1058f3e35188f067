//! Rounds: opening, running, and the events of a running one.

use serde::{Deserialize, Serialize};

use super::{ErrorDetail, LoadReport, Salt};

/// How output tokens are chosen; see the engine's sampling for each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// 1 keeps all tokens.
    pub top_p: f32,
    /// 0 keeps all tokens.
    pub top_k: u32,
    /// 0 keeps all tokens.
    pub min_p: f32,
    /// 1 is neutral.
    pub repetition_penalty: f32,
    /// 0 is neutral.
    pub presence_penalty: f32,
    /// 0 is neutral.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Makes the draws repeatable.
    pub seed: Option<u64>,
}

impl Default for SamplingParams {
    /// Greedy, nothing penalised.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// Body of `POST /internal/v1/rounds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRound {
    /// The client's request, for logs.
    pub request_id: String,
    /// The session.
    pub session: String,
    /// The binding's epoch.
    pub epoch: u64,
    /// The tenant's salt.
    pub salt: Salt,
    /// The whole prompt.
    pub tokens: Vec<u32>,
    /// How output tokens are chosen.
    #[serde(default)]
    pub sampling: SamplingParams,
    /// Most output tokens.
    pub max_tokens: usize,
    /// Tokens that end the output, besides the model's own.
    #[serde(default)]
    pub stop_tokens: Vec<u32>,
    /// Goes on after the model's end tokens.
    #[serde(default)]
    pub ignore_eos: bool,
    /// Log-probability of each output token with this many alternatives.
    #[serde(default)]
    pub logprobs: Option<u32>,
    /// The same for the prompt's tokens.
    #[serde(default)]
    pub prompt_logprobs: Option<u32>,
    /// Milliseconds since the round arrived at the service.
    #[serde(default)]
    pub age_ms: u64,
}

/// The answer: the round waits a few seconds for its `run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundOpened {
    /// Names the round in further calls.
    pub round: u64,
    /// Prompt tokens whose KV is here.
    pub history: usize,
    /// The other prompt tokens.
    pub increment: usize,
    /// The worker's load, this round not counted.
    pub load: LoadReport,
}

/// The prefill worker of a remote prefill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemotePrefill {
    /// Its name.
    pub worker: String,
    /// Base address of its control API.
    pub url: String,
    /// Longest time for the whole prefill, waiting included, milliseconds, 10 minutes at most; the worker's own prediction
    /// decides if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// Where a round's prefill shall run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefillTarget {
    /// On this worker.
    Local,
    /// On a prefill worker; here if that fails.
    Remote(RemotePrefill),
}

/// Body of `POST /internal/v1/rounds/{id}/run`. Dropping the response cancels the round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRound {
    /// Where the prefill shall run.
    pub prefill: PrefillTarget,
    /// Milliseconds since the round arrived at the service.
    #[serde(default)]
    pub age_ms: u64,
    /// The round's TTFT objective, milliseconds.
    pub ttft_slo_ms: u64,
}

/// Where a prefill ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefillPlace {
    /// On the decode worker.
    Local,
    /// On a prefill worker.
    Remote,
}

/// Why a remote prefill was given up and done locally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The prefill worker could not be reached.
    ConnectRefused,
    /// It refused the task: full, draining, or not able to run it.
    Rejected,
    /// It was silent for too long.
    Frozen,
    /// The connection to it broke.
    Disconnected,
    /// The whole prefill took too long.
    Deadline,
    /// KV could not be moved.
    TransferFailed,
    /// The transfer's lease ran out.
    LeaseExpired,
    /// Too few KV blocks here to lease.
    KvExhausted,
    /// Nothing of the round can be computed elsewhere, or it is too long for that worker.
    NothingRemote,
    /// The prefill worker failed while it computed.
    WorkerFailed,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl Fallback {
    /// The reason as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::Rejected => "rejected",
            Self::Frozen => "frozen",
            Self::Disconnected => "disconnected",
            Self::Deadline => "deadline",
            Self::TransferFailed => "transfer_failed",
            Self::LeaseExpired => "lease_expired",
            Self::KvExhausted => "kv_exhausted",
            Self::NothingRemote => "nothing_remote",
            Self::WorkerFailed => "worker_failed",
            Self::Other => "other",
        }
    }
}

/// How a round's prefill went; sent when it is settled where the prefill runs and, for a remote one, done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefillReport {
    /// Where it ran in the end.
    pub place: PrefillPlace,
    /// The prefill worker that was asked.
    pub worker: Option<String>,
    /// Why a remote one was given up.
    pub fallback: Option<Fallback>,
    /// Seconds in the prefill worker's queue.
    pub queue_s: f64,
    /// Seconds from `run` until this report.
    pub seconds: f64,
    /// History tokens that the prefill worker pulled.
    pub pulled_tokens: u64,
    /// Tokens that its prefix cache had.
    pub cached_tokens: u64,
}

/// An output token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputToken {
    /// The token.
    pub id: u32,
    /// Its log-probability, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f32>,
    /// The most likely tokens at its place, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(u32, f32)>,
}

/// A prompt token's log-probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// Its log-probability.
    pub logprob: f32,
    /// The most likely tokens at its place.
    pub top: Vec<(u32, f32)>,
}

/// Why a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A stop token was sampled; it is the last output token.
    Stop,
    /// `max_tokens` or the context's end was reached.
    Length,
}

/// The end of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundDone {
    /// Why.
    pub finish_reason: FinishReason,
    /// Prompt tokens, history included.
    pub prompt_tokens: usize,
    /// Prompt tokens whose KV was there.
    pub history: usize,
    /// Output tokens, a stop token included.
    pub output_tokens: usize,
}

/// A line of a running round's stream. `Done` or `Error` is the last; a stream that ends without either was cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundEvent {
    /// How the prefill went, before the first token.
    Prefill(PrefillReport),
    /// Log-probabilities of the prompt's tokens after the first, before the first token.
    PromptLogprobs(Vec<TokenLogprob>),
    /// Output tokens of one step.
    Tokens(Vec<OutputToken>),
    /// Nothing else was sent for a second.
    Ping {},
    /// The round is complete.
    Done(RoundDone),
    /// The round failed.
    Error(ErrorDetail),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_their_written_form() {
        let token = OutputToken { id: 7, logprob: None, top: Vec::new() };
        let forms = [
            (RoundEvent::Tokens(vec![token]), r#"{"tokens":[{"id":7}]}"#),
            (RoundEvent::Ping {}, r#"{"ping":{}}"#),
            (
                RoundEvent::Prefill(PrefillReport {
                    place: PrefillPlace::Local,
                    worker: Some("p0".into()),
                    fallback: Some(Fallback::Frozen),
                    queue_s: 0.0,
                    seconds: 2.5,
                    pulled_tokens: 0,
                    cached_tokens: 0,
                }),
                r#"{"prefill":{"place":"local","worker":"p0","fallback":"frozen","queue_s":0.0,"seconds":2.5,"pulled_tokens":0,"cached_tokens":0}}"#,
            ),
        ];
        for (event, text) in forms {
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
            assert_eq!(serde_json::from_str::<RoundEvent>(text).unwrap(), event);
        }
        assert_eq!(serde_json::from_str::<PrefillTarget>("\"local\"").unwrap(), PrefillTarget::Local);
    }

    #[test]
    fn every_fallback_is_written_as_it_is_named() {
        use Fallback::{
            ConnectRefused, Deadline, Disconnected, Frozen, KvExhausted, LeaseExpired, NothingRemote,
            Rejected, TransferFailed, WorkerFailed,
        };
        for reason in [
            ConnectRefused,
            Rejected,
            Frozen,
            Disconnected,
            Deadline,
            TransferFailed,
            LeaseExpired,
            KvExhausted,
            NothingRemote,
            WorkerFailed,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
