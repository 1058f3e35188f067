//! What is known of a round afterwards.

use std::io;

use serde::{Deserialize, Serialize};

use crate::client::RoundError;

/// Why a round has no end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The service refused it.
    Refused,
    /// The connection failed.
    Connection,
    /// Its deadline came first.
    Timeout,
    /// The answer could not be understood, or had no token.
    Malformed,
    /// An earlier round of its session failed, so that it was not sent.
    NotSent,
}

impl From<&RoundError> for Failure {
    fn from(error: &RoundError) -> Self {
        match error {
            RoundError::Refused { .. } => Self::Refused,
            RoundError::Connection(_) => Self::Connection,
            RoundError::Timeout(_) => Self::Timeout,
            RoundError::Malformed(_) | RoundError::Empty => Self::Malformed,
        }
    }
}

/// One round as its client saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// The session, from 0, in the order of arrival.
    pub session: usize,
    /// The round in it, from 1.
    pub round: usize,
    /// When it was sent, seconds from the run's beginning; when it would have been at the earliest, where it was not.
    pub sent_s: f64,
    /// From sending to the first text, seconds.
    pub ttft_s: Option<f64>,
    /// Mean time between output tokens after the first, seconds; none with one token.
    pub itl_s: Option<f64>,
    /// The longest time between two parts of the answer, seconds.
    pub longest_gap_s: Option<f64>,
    /// From sending to the last text, seconds.
    pub total_s: Option<f64>,
    /// Prompt tokens, as the service counted them.
    pub prompt_tokens: Option<u64>,
    /// Those whose KV was there.
    pub cached_tokens: Option<u64>,
    /// Output tokens; the parts of the answer where the service did not count them.
    pub output_tokens: Option<u64>,
    /// Where the prefill ran, as the service says: `local` or `remote`.
    pub prefill: Option<String>,
    /// Why, as the service says.
    pub reason: Option<String>,
    /// Why it has no end.
    pub failure: Option<Failure>,
    /// What the client was told then.
    pub words: Option<String>,
}

/// Writes the records as CSV with a head line.
///
/// # Errors
/// When they cannot be written.
pub fn write_csv(records: &[RoundRecord], to: impl io::Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(to);
    for record in records {
        writer.serialize(record)?;
    }
    writer.flush().map_err(csv::Error::from)
}
