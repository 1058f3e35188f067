//! The engine under measurement, with sequences whose KV costs nothing to make.

use std::time::Instant;

use ampd_engine::BackendKind;
use ampd_engine::backend::{BLOCK_TOKENS, KvShape};
use ampd_engine::core::{Engine, EngineOptions, RoundId, RoundRequest, Sampling};
use ampd_engine::model::Model;

/// Memory for the KV pool, bytes.
const POOL_BYTES: usize = 384 << 20;

/// An engine for measuring. What a step takes does not depend on what the KV holds, so that histories are zeros
/// written through the door of remote prefills.
pub(super) struct Bench {
    pub(super) engine: Engine,
    next: u64,
}

impl Bench {
    pub(super) fn new(model: &Model, kind: BackendKind, threads: usize) -> anyhow::Result<Self> {
        let token_bytes = KvShape::of(&model.config, 0).token_bytes();
        Self::with_blocks(model, kind, threads, (POOL_BYTES / (token_bytes * BLOCK_TOKENS)).clamp(16, 4096))
    }

    /// With a KV pool of so many blocks.
    fn with_blocks(model: &Model, kind: BackendKind, threads: usize, blocks: usize) -> anyhow::Result<Self> {
        let backend = ampd_engine::build_backend(model, kind, threads, blocks)?;
        Ok(Self { engine: Engine::new(backend, EngineOptions::default()), next: 0 })
    }

    /// Tokens that the pool holds.
    pub(super) fn pool_tokens(&self) -> usize {
        self.engine.kv_shape().blocks * BLOCK_TOKENS
    }

    /// A salt that shares no KV with any sequence before.
    pub(super) fn salt(&mut self) -> [u8; 32] {
        self.next += 1;
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&self.next.to_le_bytes());
        salt
    }

    /// `length` ordinary tokens.
    pub(super) fn tokens(&self, length: usize) -> Vec<u32> {
        let vocab = self.engine.config().vocab as u64;
        (0..length as u64).map(|index| (index.wrapping_mul(2_654_435_761) % vocab) as u32).collect()
    }

    /// Zeros for the KV of `tokens` tokens of one layer.
    pub(super) fn zeros(&self, tokens: usize) -> Vec<u8> {
        vec![0; tokens * self.engine.kv_shape().token_layer_bytes()]
    }

    /// Opens a round of a new session with a prompt of `prompt` tokens.
    pub(super) fn open(&mut self, prompt: usize, max_tokens: usize) -> anyhow::Result<(RoundId, String)> {
        let salt = self.salt();
        let session = format!("measure-{}", self.next);
        let request = RoundRequest {
            session: session.clone(),
            epoch: 1,
            salt,
            tokens: self.tokens(prompt),
            sampling: Sampling::default(),
            max_tokens,
            stop_tokens: Vec::new(),
            ignore_eos: true,
            logprobs: None,
            prompt_logprobs: None,
        };
        Ok((self.engine.open(request, Instant::now())?.id, session))
    }

    /// Ends a round and forgets its session.
    pub(super) fn end(&mut self, id: RoundId, session: &str) {
        self.engine.cancel(id, Instant::now());
        self.engine.drop_session(session);
    }
}

#[cfg(test)]
mod tests {
    use ampd_testkit::tiny_model::{Family, TinyModel};
    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::profile::{decode, grid, prefill};

    /// The KV of large models leaves little room in the pool.
    #[test]
    fn every_size_of_the_grids_fits_into_the_smallest_pool() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(Family::Llama).write_gguf(&path, GgmlDType::F32).unwrap();
        let model = ampd_engine::model::load(&path).unwrap();
        let mut bench = Bench::with_blocks(&model, BackendKind::Cpu, 1, 8).unwrap();
        let (context, pool) = (model.config.max_context, bench.pool_tokens());
        assert!(pool < context, "the pool is what is short here");
        for (history, increment) in grid::prefills(true, context, pool) {
            prefill::measure(&mut bench, history, increment).unwrap();
        }
        for (batch, context) in grid::decodes(true, context, pool) {
            decode::measure(&mut bench, batch, context).unwrap();
        }
    }
}
