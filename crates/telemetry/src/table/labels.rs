//! Values of labels that metrics of several programs have.

/// How a round, a prefill or a transfer ended.
pub const OUTCOMES: &[&str] = &["ok", "error", "cancelled", "refused"];
/// Where a prefill runs.
pub const PLACES: &[&str] = &["local", "remote"];
/// What tokens are: computed ones of prompts, those of histories whose KV was there, outputs.
pub const TOKEN_KINDS: &[&str] = &["prompt", "history", "output"];
/// Reasons are named by the code that gives them, and there are fewer.
pub const REASONS: usize = 32;
