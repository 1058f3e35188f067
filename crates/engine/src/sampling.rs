//! From logits to a token: parameters, penalties, truncation, the draw itself, and log-probabilities.

mod params;

pub use params::{InvalidSampling, Sampling};
