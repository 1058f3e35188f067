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
}

/// The load of a prefill worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PrefillLoad {
    /// Mean TTFT over the window of the rounds it prefilled, seconds; `None` when there were none.
    pub windowed_ttft_s: Option<f64>,
    /// Predicted seconds of the prefills that wait or run there.
    pub backlog_s: f64,
    /// Tokens of this session's history that it still caches, where known.
    pub cached_history: Option<u32>,
    /// Whether the signal is recent enough to decide on.
    pub fresh: bool,
    /// Whether it takes this task: it is ready, and its KV pool has room for history and increment.
    pub ready: bool,
}

/// One round's prefill, to be routed.
#[derive(Debug, Clone, Copy)]
pub struct RouteInput<'a> {
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
    /// The prefill workers.
    pub prefills: &'a [PrefillLoad],
    /// The performance model.
    pub model: &'a PerfModel,
}
