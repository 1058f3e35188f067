//! From logits to a token: parameters, penalties, truncation, the draw itself, and log-probabilities.

mod logprobs;
mod params;
mod penalties;
mod sampler;

pub use logprobs::Distribution;
pub use params::{InvalidSampling, Sampling};
pub use sampler::Sampler;

/// A logit was infinite or not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the logits are not finite")]
pub struct NonFinite;
