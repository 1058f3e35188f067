//! Tiny random models as files, the same for the same seed: Hugging Face folders and GGUF files of every supported
//! family, with a byte-level tokenizer and a chat template. Both forms of a model hold the same values.

mod gguf;
mod huggingface;
mod tokenizer;
mod weights;

use std::ops::Range;

pub use gguf::write_gguf;
pub use tokenizer::{END_OF_TEXT, TURN_END, TURN_START};

/// `count` tokens within `ids` that depend on `seed`, the same in every run.
///
/// # Panics
/// When `ids` is empty.
#[must_use]
pub fn tokens(seed: u32, count: usize, ids: Range<u32>) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ids.start + (state >> 8) % (ids.end - ids.start)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A decoder family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama, with Llama 3's rotary scaling.
    Llama,
    /// Mistral; it has no GGUF form of its own and is written there as a Llama without scaling.
    Mistral,
    /// Qwen2: biases on Q, K and V.
    Qwen2,
    /// Qwen3: norms on Q and K heads, heads wider than `hidden / heads`.
    Qwen3,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];
}

/// A tiny model: what to write.
#[derive(Debug, Clone)]
pub struct TinyModel {
    /// The family.
    pub family: Family,
    /// Decides every weight.
    pub seed: u64,
    /// Width of the residual stream: a multiple of 64. K-quants need a multiple of 256.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Longest sequence, tokens.
    pub context: usize,
    /// Whether the embedding serves as output head.
    pub tied: bool,
}

impl TinyModel {
    /// Two layers of width 64, with a context of 512 tokens.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self { family, seed: 1, hidden: 64, layers: 2, context: 512, tied: family == Family::Qwen2 }
    }

    /// The same with another width.
    #[must_use]
    pub fn with_hidden(self, hidden: usize) -> Self {
        Self { hidden, ..self }
    }

    /// The same with other weights.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Elements per head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        let even = self.hidden / HEADS;
        if self.family == Family::Qwen3 { 2 * even } else { even }
    }

    /// Width of the feed-forward layers.
    #[must_use]
    pub fn intermediate(&self) -> usize {
        2 * self.hidden
    }

    /// Vocabulary size: that of the tokenizer.
    #[must_use]
    pub fn vocab(&self) -> usize {
        tokenizer::vocabulary().len()
    }
}

/// Query heads of every tiny model.
pub const HEADS: usize = 4;
/// KV heads of every tiny model.
pub const KV_HEADS: usize = 2;
/// Base of the rotary frequencies.
const THETA: f32 = 10_000.0;
/// Epsilon of the RMS norms.
const RMS_EPS: f32 = 1e-5;

/// Llama 3's rotary scaling, strong enough to matter within the tiny context.
#[derive(Debug, Clone, Copy)]
struct Llama3Scaling {
    factor: f32,
    low_freq_factor: f32,
    high_freq_factor: f32,
    original_context: usize,
}

/// The scaling that tiny Llamas use.
const SCALING: Llama3Scaling =
    Llama3Scaling { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
