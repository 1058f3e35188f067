//! Measured points that a model is fitted to.

use serde::{Deserialize, Serialize};

/// One measured prefill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrefillPoint {
    /// Tokens whose KV was there before.
    pub history: u64,
    /// Tokens prefilled.
    pub increment: u64,
    /// Seconds taken.
    pub seconds: f64,
}

/// One measured decode step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecodePoint {
    /// Rows in the step.
    pub batch: u64,
    /// Mean context of the rows, tokens.
    pub context: u64,
    /// Seconds taken.
    pub seconds: f64,
}

/// One measured KV transfer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TransferPoint {
    /// Tokens moved.
    pub tokens: u64,
    /// Seconds taken.
    pub seconds: f64,
}

/// Everything measured on one worker type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// Prefills.
    pub prefill: Vec<PrefillPoint>,
    /// Decode steps.
    pub decode: Vec<DecodePoint>,
    /// Transfers.
    pub transfer: Vec<TransferPoint>,
}
