//! The reference backend: plain candle operations on any candle device, over the same paged KV pools, block tables and
//! ragged batches as every other backend. Clear before fast; other backends are compared with it.

mod attention;
mod pool;
mod rope;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use crate::backend::{Backend, BackendError, KvRead, KvShape, KvSpan, Logits, LogitsWanted, RaggedBatch};
use crate::model::{FeedForward, Model, ModelConfig, Weights};
use pool::LayerPool;
use rope::RopeTable;

/// The candle backend. Weights are held as f32 on the device, KV as bf16.
#[derive(Debug)]
pub struct TensorBackend {
    config: ModelConfig,
    device: Device,
    shape: KvShape,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Tensor,
    rope: RopeTable,
    pools: Vec<LayerPool>,
}

#[derive(Debug)]
struct Layer {
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

/// A transposed weight `[columns, rows]` with an optional bias.
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Applies the weight row by row: candle's matrix product picks its blocking, and with it the order of sums, by the
    /// number of rows, and a step's results must not depend on what else is in the batch.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let rows: Vec<Tensor> =
            (0..x.dim(0)?).map(|row| x.narrow(0, row, 1)?.matmul(&self.weight)).collect::<Result<_, _>>()?;
        let y = Tensor::cat(&rows, 0)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

impl TensorBackend {
    /// Puts `model` and a pool of `kv_blocks` blocks on `device`.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn new(model: &Model, device: Device, kv_blocks: usize) -> Result<Self, BackendError> {
        let config = model.config.clone();
        let shape = KvShape {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            blocks: kv_blocks,
        };
        let Weights { embedding, layers, norm, output } = &model.weights;
        let embedding = embedding.to_tensor(&device)?;
        let output = match output {
            Some(output) => output.to_tensor(&device)?.t()?,
            None => embedding.t()?,
        };
        let layers = layers.iter().map(|layer| Layer::new(layer, &device)).collect::<Result<_, _>>()?;
        let pools = (0..config.layers).map(|_| LayerPool::new(shape, &device)).collect::<Result<_, _>>()?;
        Ok(Self {
            rope: RopeTable::new(&config, &device),
            norm: Tensor::new(norm.as_slice(), &device)?,
            config,
            device,
            shape,
            embedding,
            layers,
            output,
            pools,
        })
    }

    fn check(&self, batch: &RaggedBatch) -> Result<(), BackendError> {
        for sequence in &batch.sequences {
            let end = sequence.start + sequence.tokens.len();
            let bad = if sequence.tokens.is_empty() {
                "a sequence has no rows".to_owned()
            } else if end > self.config.max_context {
                format!("position {end} lies beyond the context of {}", self.config.max_context)
            } else if let Some(token) =
                sequence.tokens.iter().find(|token| **token as usize >= self.config.vocab)
            {
                format!("token {token} lies beyond the vocabulary of {}", self.config.vocab)
            } else {
                let span = KvSpan { block_table: &sequence.block_table, start: sequence.start, end };
                self.shape.check_span(0, span)?;
                continue;
            };
            return Err(BackendError::InvalidBatch(bad));
        }
        Ok(())
    }

    fn layer(
        &mut self,
        index: usize,
        batch: &RaggedBatch,
        x: &Tensor,
        positions: &[usize],
    ) -> Result<Tensor, BackendError> {
        let (config, layer) = (&self.config, &self.layers[index]);
        let rows = x.dim(0)?;
        let normed = ops::rms_norm(x, &layer.attention_norm, config.rms_eps)?;
        let heads = |y: Tensor, heads: usize, norm: Option<&Tensor>| -> candle_core::Result<Tensor> {
            let y = y.reshape((rows, heads, config.head_dim))?;
            match norm {
                Some(norm) => ops::rms_norm(&y.contiguous()?, norm, config.rms_eps),
                None => Ok(y),
            }
        };
        let q = heads(layer.q.forward(&normed)?, config.heads, layer.q_norm.as_ref())?;
        let k = heads(layer.k.forward(&normed)?, config.kv_heads, layer.k_norm.as_ref())?;
        let v = heads(layer.v.forward(&normed)?, config.kv_heads, None)?;
        let (q, k) = (self.rope.apply(&q, positions)?, self.rope.apply(&k, positions)?);
        let mut attended = Vec::with_capacity(batch.sequences.len());
        let mut row = 0;
        for sequence in &batch.sequences {
            let count = sequence.tokens.len();
            let end = sequence.start + count;
            let span = KvSpan { block_table: &sequence.block_table, start: sequence.start, end };
            self.pools[index].write(span, &k.narrow(0, row, count)?, &v.narrow(0, row, count)?)?;
            let whole = KvSpan { start: 0, ..span };
            let (keys, values) = self.pools[index].gather(whole)?;
            attended.push(attention::attend(&q.narrow(0, row, count)?, &keys, &values, sequence.start)?);
            row += count;
        }
        let layer = &self.layers[index];
        let x = (x + layer.o.forward(&Tensor::cat(&attended, 0)?)?)?;
        let normed = ops::rms_norm(&x, &layer.ffn_norm, self.config.rms_eps)?;
        let gated = (ops::silu(&layer.gate.forward(&normed)?)? * layer.up.forward(&normed)?)?;
        Ok((x + layer.down.forward(&gated)?)?)
    }

    fn logits(&self, batch: &RaggedBatch, x: &Tensor) -> Result<Logits, BackendError> {
        let mut wanted: Vec<u32> = Vec::new();
        let mut row = 0;
        for sequence in &batch.sequences {
            let count = sequence.tokens.len() as u32;
            match sequence.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => wanted.push(row + count - 1),
                LogitsWanted::All => wanted.extend(row..row + count),
            }
            row += count;
        }
        let vocab = self.config.vocab;
        if wanted.is_empty() {
            return Ok(Logits { vocab, data: Vec::new() });
        }
        let rows = x.index_select(&Tensor::new(wanted, &self.device)?, 0)?;
        let rows = ops::rms_norm(&rows, &self.norm, self.config.rms_eps)?;
        let output = Linear { weight: self.output.clone(), bias: None };
        let data = output.forward(&rows)?.flatten_all()?.to_vec1()?;
        Ok(Logits { vocab, data })
    }
}

impl Layer {
    fn new(weights: &crate::model::LayerWeights, device: &Device) -> candle_core::Result<Self> {
        let vector = |values: &Vec<f32>| Tensor::new(values.as_slice(), device);
        let optional = |values: &Option<Vec<f32>>| values.as_ref().map(vector).transpose();
        let linear =
            |matrix: &crate::model::Matrix, bias: &Option<Vec<f32>>| -> candle_core::Result<Linear> {
                Ok(Linear { weight: matrix.to_tensor(device)?.t()?, bias: optional(bias)? })
            };
        let FeedForward::Dense { gate, up, down } = &weights.ffn;
        Ok(Self {
            attention_norm: vector(&weights.attention_norm)?,
            q: linear(&weights.q, &weights.q_bias)?,
            k: linear(&weights.k, &weights.k_bias)?,
            v: linear(&weights.v, &weights.v_bias)?,
            o: linear(&weights.o, &None)?,
            q_norm: optional(&weights.q_norm)?,
            k_norm: optional(&weights.k_norm)?,
            ffn_norm: vector(&weights.ffn_norm)?,
            gate: linear(gate, &None)?,
            up: linear(up, &None)?,
            down: linear(down, &None)?,
        })
    }
}

impl KvRead for TensorBackend {
    fn kv_shape(&self) -> KvShape {
        self.shape
    }

    fn read_kv(&self, layer: usize, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        self.shape.check_span(layer, span)?;
        self.pools[layer].export(span, out)
    }
}

impl Backend for TensorBackend {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn step(
        &mut self,
        batch: &RaggedBatch,
        after_layer: &mut dyn FnMut(usize, &dyn KvRead),
    ) -> Result<Logits, BackendError> {
        self.check(batch)?;
        let tokens: Vec<u32> =
            batch.sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied()).collect();
        let positions: Vec<usize> =
            batch.sequences.iter().flat_map(|s| s.start..s.start + s.tokens.len()).collect();
        if tokens.is_empty() {
            return Ok(Logits { vocab: self.config.vocab, data: Vec::new() });
        }
        let mut x = self.embedding.index_select(&Tensor::new(tokens, &self.device)?, 0)?;
        for index in 0..self.layers.len() {
            x = self.layer(index, batch, &x, &positions)?;
            after_layer(index, self);
        }
        self.logits(batch, &x)
    }

    fn write_kv(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        self.shape.check_span(layer, span)?;
        let expected = span.tokens().len() * self.shape.token_layer_bytes();
        if data.len() != expected {
            return Err(BackendError::KvLength { layer, got: data.len(), expected });
        }
        self.pools[layer].import(span, data)
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        for block in [from, to] {
            self.shape.check_span(0, KvSpan { block_table: &[block], start: 0, end: 1 })?;
        }
        self.pools.iter_mut().try_for_each(|pool| pool.copy(from, to))
    }
}

/// The element type of the pools.
const KV_DTYPE: DType = DType::BF16;
