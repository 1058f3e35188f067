//! What came back for a round.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// Token counts of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens.
    pub prompt: u64,
    /// Of these, tokens whose KV was there.
    pub cached: u64,
    /// Output tokens.
    pub completion: u64,
    /// What the service says is their sum.
    pub total: u64,
}

impl Usage {
    pub(super) fn read(value: &Value) -> Option<Self> {
        Some(Self {
            prompt: value["prompt_tokens"].as_u64()?,
            cached: value["prompt_tokens_details"]["cached_tokens"].as_u64()?,
            completion: value["completion_tokens"].as_u64()?,
            total: value["total_tokens"].as_u64()?,
        })
    }
}

/// The answer to a round.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// All text together.
    pub text: String,
    /// Why the output ended.
    pub finish_reason: Option<String>,
    /// Token counts.
    pub usage: Option<Usage>,
    /// The error, of a refused round or in the stream.
    pub error: Option<Value>,
    /// Whether the stream ended with its mark.
    pub done: bool,
    /// From sending the request to the first text.
    pub first: Option<Duration>,
    /// From sending the request to the end.
    pub total: Duration,
}

impl Answer {
    /// Whether the round ran to its end without an error.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.status == 200 && self.error.is_none() && self.done && self.finish_reason.is_some()
    }

    /// A header, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}
