//! The two decoders, driven alike.

use std::fs::File;
use std::path::Path;

use ampd_engine::backend::{BLOCK_TOKENS, Backend, BatchSequence, LogitsWanted, RaggedBatch};
use ampd_engine::cpu::{CpuBackend, CpuOptions};
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

/// Tokens that each sequence has room for.
pub(crate) const ROOM: usize = 1024;

/// Some text: any tokens cost the same.
fn tokens(start: usize, count: usize) -> Vec<u32> {
    (start..start + count).map(|position| 100 + (position as u32 * 7919) % 40_000).collect()
}

/// A decoder with some sequences that advance together.
pub(crate) trait Decoder {
    /// Gives every sequence `count` tokens from position `start` on, as one step, and computes the last one's logits.
    fn advance(&mut self, start: usize, count: usize) -> anyhow::Result<()>;
}

/// The engine's CPU backend.
pub(crate) struct Ours {
    pub(crate) backend: CpuBackend,
    batch: usize,
}

impl Ours {
    pub(crate) fn load(path: &Path, threads: usize, batch: usize) -> anyhow::Result<Self> {
        let model = ampd_engine::model::load(path)?;
        let options = CpuOptions { threads, isa: None, kv_blocks: batch * ROOM / BLOCK_TOKENS };
        Ok(Self { backend: CpuBackend::new(&model, options)?, batch })
    }

    /// The blocks of one sequence.
    pub(crate) fn blocks(sequence: usize) -> Vec<u32> {
        let blocks = ROOM / BLOCK_TOKENS;
        (sequence * blocks..(sequence + 1) * blocks).map(|block| block as u32).collect()
    }
}

impl Decoder for Ours {
    fn advance(&mut self, start: usize, count: usize) -> anyhow::Result<()> {
        let sequence = |index| BatchSequence {
            tokens: tokens(start, count),
            start,
            block_table: Self::blocks(index),
            logits: LogitsWanted::Last,
        };
        let batch = RaggedBatch { sequences: (0..self.batch).map(sequence).collect() };
        self.backend.step(&batch, &mut |_, _| {})?;
        Ok(())
    }
}

/// `quantized_llama` of candle-transformers.
pub(crate) struct Stock {
    model: ModelWeights,
    batch: usize,
}

impl Stock {
    pub(crate) fn load(path: &Path, batch: usize) -> anyhow::Result<Self> {
        let mut file = File::open(path)?;
        let content = gguf_file::Content::read(&mut file)?;
        Ok(Self { model: ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?, batch })
    }
}

impl Decoder for Stock {
    fn advance(&mut self, start: usize, count: usize) -> anyhow::Result<()> {
        let input = Tensor::new(tokens(start, count), &Device::Cpu)?.unsqueeze(0)?.repeat((self.batch, 1))?;
        self.model.forward(&input, start)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(())
    }
}
