//! What a routing policy sees.

use ampd_perfmodel::PerfModel;

/// The objectives of a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// Time to first token, seconds.
    pub ttft_s: f64,
    /// Mean time between tokens, seconds.
    pub itl_s: f64,
}

/// The load of the session's own decode worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DecodeLoad {
    /// Mean ITL over the window, seconds; `None` when it decoded nothing in it.
    pub windowed_itl_s: Option<f64>,
    /// Rounds decoding.
    pub running: u32,
    /// Their mean context, tokens.
    pub mean_context: f64,
    /// Predicted seconds of the local prefills that wait or run there.
    pub queued_prefill_s: f64,
    /// Seconds until its present step ends; 0 where that is not known.
    pub step_left_s: f64,
}

/// A round that decodes on the session's own decode worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoding {
    /// Output tokens so far.
    pub tokens: u32,
    /// Seconds since its first output token.
    pub elapsed_s: f64,
    /// Output tokens that are expected to follow.
    pub expected: f64,
}

/// A local prefill that waits or runs on the session's own decode worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalPrefill {
    /// Tokens whose KV exists.
    pub history: u32,
    /// Tokens that are still to be prefilled.
    pub remaining: u32,
    /// Seconds since its round arrived at the service.
    pub age_s: f64,
}

/// The load of a prefill worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillLoad {
    /// Mean TTFT over the window of the rounds it prefilled, seconds; `None` when there were none.
    pub windowed_ttft_s: Option<f64>,
    /// Predicted seconds of the prefills that wait or run there.
    pub backlog_s: f64,
    /// Tokens of this session whose KV it still caches and that are valid, where known: up to the whole prompt, and
    /// more than the history where the decode worker has lost some of that.
    pub cached_history: Option<u32>,
    /// Measured over predicted time of its prefills, by the model of the input; 1 where that is not known.
    pub prefill_ratio: f64,
    /// Whether the signal is recent enough to decide on.
    pub fresh: bool,
    /// Whether it takes this task: it is ready, and its KV pool has room for history and increment.
    pub ready: bool,
}

impl Default for PrefillLoad {
    /// A worker of which nothing is known, and that takes nothing.
    fn default() -> Self {
        Self {
            windowed_ttft_s: None,
            backlog_s: 0.0,
            cached_history: None,
            prefill_ratio: 1.0,
            fresh: false,
            ready: false,
        }
    }
}

impl PrefillLoad {
    /// Tokens that need not be computed there, of a prompt with this history and increment: what is pulled or cached.
    /// The last token is always computed.
    #[must_use]
    pub fn known(&self, history: u32, increment: u32) -> u32 {
        let most = history.saturating_add(increment.saturating_sub(1));
        history.max(self.cached_history.unwrap_or(0).min(most))
    }
}

/// One round's prefill, to be routed.
#[derive(Debug, Clone, Copy)]
pub struct RouteInput<'a> {
    /// A number that is the same in all rounds of the session. Where the caller gives 0 to all, policies that spread
    /// sessions see one session.
    pub session: u64,
    /// Tokens whose KV the bound decode worker holds.
    pub history: u32,
    /// New tokens to prefill.
    pub increment: u32,
    /// The round's objectives.
    pub slo: Slo,
    /// Seconds since the round arrived at the service.
    pub age_s: f64,
    /// The bound decode worker.
    pub decode: DecodeLoad,
    /// The rounds decoding there, one by one. Empty where the caller does not know them: policies that need them then
    /// take [`DecodeLoad::running`] rounds, each as far from its objective as [`DecodeLoad::windowed_itl_s`] says. Where
    /// they are fewer than that, those that are told stand for all.
    pub decoding: &'a [Decoding],
    /// The local prefills there, in the order in which they are served. Empty where the caller does not know them: then
    /// [`DecodeLoad::queued_prefill_s`] is all there is.
    pub waiting: &'a [LocalPrefill],
    /// Most tokens that a step of the decode worker computes, rows and prefills together; never 0.
    pub token_budget: u32,
    /// The prefill workers.
    pub prefills: &'a [PrefillLoad],
    /// The performance model.
    pub model: &'a PerfModel,
}
