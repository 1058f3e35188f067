//! One transformer layer.

use candle_core::{Device, Tensor};
use candle_nn::ops;

use super::attention;
use super::linear::Linear;
use super::pool::LayerPool;
use super::rope::Rotation;
use crate::backend::{BackendError, KvSpan, RaggedBatch};
use crate::model::{FeedForward, LayerWeights, ModelConfig};

/// A layer's weights on the device.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Option<Tensor>,
    k_norm: Option<Tensor>,
    ffn_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    pub(super) fn new(weights: &LayerWeights, device: &Device) -> candle_core::Result<Self> {
        let vector = |values: &[f32]| Tensor::new(values, device);
        let optional = |values: &Option<Vec<f32>>| values.as_deref().map(vector).transpose();
        let FeedForward::Dense { gate, up, down } = &weights.ffn;
        Ok(Self {
            attention_norm: vector(&weights.attention_norm)?,
            q: Linear::new(&weights.q, weights.q_bias.as_deref(), device)?,
            k: Linear::new(&weights.k, weights.k_bias.as_deref(), device)?,
            v: Linear::new(&weights.v, weights.v_bias.as_deref(), device)?,
            o: Linear::new(&weights.o, None, device)?,
            q_norm: optional(&weights.q_norm)?,
            k_norm: optional(&weights.k_norm)?,
            ffn_norm: vector(&weights.ffn_norm)?,
            gate: Linear::new(gate, None, device)?,
            up: Linear::new(up, None, device)?,
            down: Linear::new(down, None, device)?,
        })
    }

    /// Takes the batch's rows `x` `[rows, hidden]` through the layer and writes their KV to `pool`.
    pub(super) fn forward(
        &self,
        config: &ModelConfig,
        pool: &LayerPool,
        batch: &RaggedBatch,
        x: &Tensor,
        rotation: &Rotation,
    ) -> Result<Tensor, BackendError> {
        let rows = x.dim(0)?;
        let normed = ops::rms_norm(x, &self.attention_norm, config.rms_eps)?;
        let heads = |y: Tensor, heads: usize, norm: Option<&Tensor>| -> candle_core::Result<Tensor> {
            let y = y.reshape((rows, heads, config.head_dim))?;
            match norm {
                Some(norm) => ops::rms_norm(&y.contiguous()?, norm, config.rms_eps),
                None => Ok(y),
            }
        };
        let q = heads(self.q.forward(&normed)?, config.heads, self.q_norm.as_ref())?;
        let k = heads(self.k.forward(&normed)?, config.kv_heads, self.k_norm.as_ref())?;
        let v = heads(self.v.forward(&normed)?, config.kv_heads, None)?;
        let (q, k) = (rotation.apply(&q)?, rotation.apply(&k)?);
        let mut attended = Vec::with_capacity(batch.sequences.len());
        let mut row = 0;
        for sequence in &batch.sequences {
            let (block_table, count) = (sequence.block_table.as_slice(), sequence.tokens.len());
            let span = KvSpan { block_table, start: sequence.start, end: sequence.start + count };
            pool.write(span, &k.narrow(0, row, count)?, &v.narrow(0, row, count)?)?;
            // The new rows' KV is read back from the pool too, so that every row sees the rounded values.
            let blocks = pool.blocks(block_table, span.end)?;
            attended.push(attention::attend(&q.narrow(0, row, count)?, &blocks, sequence.start)?);
            row += count;
        }
        let x = (x + self.o.forward(&Tensor::cat(&attended, 0)?)?)?;
        let normed = ops::rms_norm(&x, &self.ffn_norm, config.rms_eps)?;
        let gated = (ops::silu(&self.gate.forward(&normed)?)? * self.up.forward(&normed)?)?;
        Ok((x + self.down.forward(&gated)?)?)
    }
}
