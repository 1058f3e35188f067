//! Letting KV leave layer by layer while later layers compute.

use std::ops::Range;

use super::RoundId;
use crate::backend::{KvRead, KvSpan};

/// Called during a step after each layer, once for every prefill-role round in the batch.
pub trait LayerHook {
    /// The KV of `tokens` in `layer` is final and can be read through `kv` with `span` (the same tokens, with the
    /// round's block table). A round's tokens come in order, each exactly once per layer, even if the round had to be
    /// recomputed in between.
    fn after_layer(
        &mut self,
        layer: usize,
        round: RoundId,
        tokens: Range<usize>,
        kv: &dyn KvRead,
        span: KvSpan<'_>,
    );
}

/// Does nothing: for engines without a prefill role.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHook;

impl LayerHook for NoHook {
    fn after_layer(&mut self, _: usize, _: RoundId, _: Range<usize>, _: &dyn KvRead, _: KvSpan<'_>) {}
}
