//! A worker's load at one moment.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Every response of a worker carries its load in this header, as Open Request Cost Aggregation defines it.
pub const ORCA_HEADER: &str = "endpoint-load-metrics";

/// What a worker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs prefills sent to it.
    Prefill,
    /// Owns sessions and all their decoding.
    Decode,
}

impl Role {
    /// The role as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// KV blocks by class; free + active + leased + cached = total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvBlocks {
    /// In the pool.
    pub total: u64,
    /// Held by nobody.
    pub free: u64,
    /// Of opened and running rounds.
    pub active: u64,
    /// Reserved for KV on its way in.
    pub leased: u64,
    /// Held only by idle sessions and the prefix cache.
    pub cached: u64,
}

/// Most entries of each list of a report: more rounds than a step has rows tell nothing new.
pub const MOST_TOLD: usize = 64;

/// A round that decodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecodingRound {
    /// Output tokens so far.
    pub tokens: u32,
    /// Seconds since its first output token.
    pub elapsed_s: f64,
    /// Output tokens that are expected to follow.
    pub expected: f64,
}

/// A local prefill that waits or runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WaitingPrefill {
    /// The round's name, as in [`super::RoundOpened::round`].
    pub round: u64,
    /// Tokens whose KV is there.
    pub history: u32,
    /// Tokens still to compute.
    pub increment: u32,
    /// Seconds since its round arrived at the service.
    pub age_s: f64,
}

/// A worker's load. Fields that are not in every version of it have defaults that say nothing, and unknown ones are
/// ignored, so that members of different versions understand each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The worker's role.
    pub role: Role,
    /// Rounds that decode.
    pub running: u64,
    /// Prefills that wait or run; on a prefill worker all its tasks.
    pub queued_prefills: u64,
    /// Their tokens still to compute.
    pub queued_prefill_tokens: u64,
    /// Predicted seconds until all of them are computed.
    pub backlog_s: f64,
    /// Mean context of the decoding rounds, tokens.
    pub mean_context: f64,
    /// Mean time to first token over the last 10 s, seconds: on a prefill worker from a round's arrival to the end of its
    /// prefill.
    pub windowed_ttft_s: Option<f64>,
    /// Mean time between output tokens over the last 10 s, seconds.
    pub windowed_itl_s: Option<f64>,
    /// The KV pool.
    pub kv: KvBlocks,
    /// Sessions held.
    pub sessions: u64,
    /// Longest prompt with its output that it can hold, tokens.
    pub max_context: u64,
    /// Most tokens of one step; 0 where that is not told.
    #[serde(default)]
    pub token_budget: u64,
    /// Predicted seconds of a prefill of 512 tokens without history, as corrected by what was measured; 0 where that is
    /// not told.
    #[serde(default)]
    pub reference_prefill_s: f64,
    /// Predicted seconds of a decode step of 8 rounds with 512 tokens each, likewise.
    #[serde(default)]
    pub reference_step_s: f64,
    /// Predicted seconds until the present step ends.
    #[serde(default)]
    pub step_left_s: f64,
    /// The rounds that decode, one by one, at most [`MOST_TOLD`]: told to whoever opens a round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decoding: Vec<DecodingRound>,
    /// The local prefills in the order in which they are served, likewise; the last entry stands for all that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingPrefill>,
}

impl LoadReport {
    /// The value of [`ORCA_HEADER`]: Open Request Cost Aggregation's text form.
    #[must_use]
    pub fn to_orca(&self) -> String {
        let used = self.kv.total.saturating_sub(self.kv.free + self.kv.cached);
        let utilization = used as f64 / self.kv.total.max(1) as f64;
        let mut text = format!("TEXT application_utilization={utilization:.4}");
        let mut named = |name: &str, value: f64| {
            // Writing to a string cannot fail.
            let _ = write!(text, ", named_metrics.{name}={value}");
        };
        named("kv_cache_usage_perc", utilization);
        named("num_requests_running", self.running as f64);
        named("num_requests_waiting", self.queued_prefills as f64);
        named("queued_prefill_tokens", self.queued_prefill_tokens as f64);
        named("backlog_s", self.backlog_s);
        named("mean_context", self.mean_context);
        if let Some(ttft) = self.windowed_ttft_s {
            named("windowed_ttft_s", ttft);
        }
        if let Some(itl) = self.windowed_itl_s {
            named("windowed_itl_s", itl);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orca_text_holds_the_load() {
        let report = LoadReport {
            role: Role::Decode,
            running: 3,
            queued_prefills: 1,
            queued_prefill_tokens: 40,
            backlog_s: 0.25,
            mean_context: 100.5,
            windowed_ttft_s: None,
            windowed_itl_s: Some(0.02),
            kv: KvBlocks { total: 10, free: 5, active: 2, leased: 1, cached: 2 },
            sessions: 4,
            max_context: 320,
            token_budget: 512,
            reference_prefill_s: 0.4,
            reference_step_s: 0.02,
            step_left_s: 0.01,
            decoding: vec![DecodingRound { tokens: 4, elapsed_s: 0.1, expected: 60.0 }],
            waiting: vec![WaitingPrefill { round: 7, history: 10, increment: 40, age_s: 0.3 }],
        };
        assert_eq!(
            report.to_orca(),
            "TEXT application_utilization=0.3000, named_metrics.kv_cache_usage_perc=0.3, \
             named_metrics.num_requests_running=3, named_metrics.num_requests_waiting=1, \
             named_metrics.queued_prefill_tokens=40, named_metrics.backlog_s=0.25, \
             named_metrics.mean_context=100.5, named_metrics.windowed_itl_s=0.02"
        );
        let back: LoadReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(back, report);
    }

    #[test]
    fn reports_of_other_versions_are_read() {
        let text = r#"{"role":"decode","running":1,"queued_prefills":0,"queued_prefill_tokens":0,"backlog_s":0.0,
            "mean_context":3.0,"windowed_ttft_s":null,"windowed_itl_s":null,"kv":{"total":1,"free":1,"active":0,
            "leased":0,"cached":0},"sessions":1,"max_context":32,"of_tomorrow":{"x":1}}"#;
        let report: LoadReport = serde_json::from_str(text).unwrap();
        assert_eq!((report.running, report.token_budget, report.reference_prefill_s), (1, 0, 0.0));
        assert!(report.decoding.is_empty() && report.waiting.is_empty());
    }
}
