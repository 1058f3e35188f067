//! Bounds of a request's fields.

/// Fields of a request.
pub(super) const FIELDS: usize = 256;
/// Messages of a conversation.
pub(super) const MESSAGES: usize = 4096;
/// Parts of a message's content.
pub(super) const PARTS: usize = 1024;
/// Bytes of a speaker's name.
pub(super) const NAME: usize = 256;
/// Prompts of a completion.
pub(super) const PROMPTS: usize = 64;
/// Choices for each prompt.
pub(super) const N: u64 = 16;
/// Choices of a whole request.
pub(super) const CHOICES: usize = 128;
/// Stop strings.
pub(super) const STOPS: usize = 16;
/// Bytes of a stop string.
pub(super) const STOP: usize = 256;
/// Stop tokens.
pub(super) const STOP_TOKENS: usize = 256;
/// Tokens with a bias.
pub(super) const LOGIT_BIAS: usize = 1024;
/// Alternatives beside a token's log-probability.
pub(super) const TOP_LOGPROBS: u64 = 20;
/// Highest temperature.
pub(super) const TEMPERATURE: f64 = 2.0;
/// Bytes of a session's name or a cache salt.
pub(super) const TOKEN: usize = 256;
