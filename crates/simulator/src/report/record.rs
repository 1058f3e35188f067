//! Records of rounds.

use ampd_scheduler::Slo;
use serde::Serialize;

/// Where a round's prefill ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the bound decode worker.
    Local,
    /// On this prefill worker.
    Remote(u32),
    /// Nowhere yet.
    Undecided,
    /// Nowhere: its session was refused.
    Refused,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoundRecord {
    /// Its session, from 0 in the order of arrival.
    pub session: u32,
    /// Which of the session's rounds, from 1.
    pub round: u32,
    /// When it arrived, seconds.
    pub arrival_s: f64,
    /// Time to first token, seconds; `None` if it never came.
    pub ttft_s: Option<f64>,
    /// Mean time between tokens, seconds; `None` for a single token and for a round that never ended.
    pub itl_mean_s: Option<f64>,
    /// 99th percentile of the times between its tokens, seconds; as above.
    pub itl_p99_s: Option<f64>,
    /// Whether it ended.
    pub finished: bool,
    /// Where its prefill ran.
    pub place: Place,
    /// Why, as decisions are labelled.
    pub reason: Option<&'static str>,
    /// Tokens whose KV its decode worker had.
    pub history: u32,
    /// Tokens that had to be prefilled.
    pub increment: u32,
    /// Output, tokens.
    pub output: u32,
    /// How often it lost its KV to an older round and started over.
    pub preempted: u32,
}

impl RoundRecord {
    /// Whether the round met its objectives: it ended, its TTFT and its mean ITL are within them.
    #[must_use]
    pub fn attains(&self, slo: &Slo) -> bool {
        self.finished
            && self.ttft_s.is_some_and(|ttft| ttft <= slo.ttft_s)
            && self.itl_mean_s.is_none_or(|itl| itl <= slo.itl_s)
    }
}

/// What a run gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Run {
    /// All rounds that arrived, in the order of their ends; those that never ended come last.
    pub rounds: Vec<RoundRecord>,
    /// When the last event was, seconds.
    pub ended_s: f64,
    /// Steps of all decode workers.
    pub decode_steps: u64,
    /// Steps of all prefill workers.
    pub prefill_steps: u64,
    /// Output tokens of all rounds.
    pub output_tokens: u64,
    /// Tokens that decode workers prefilled.
    pub local_tokens: u64,
    /// Tokens that prefill workers prefilled.
    pub remote_tokens: u64,
    /// Tokens of idle sessions' KV that decode workers gave up.
    pub evicted_tokens: u64,
    /// Whether, at the end, every KV block of every worker was in exactly one class.
    pub blocks_conserved: bool,
}
