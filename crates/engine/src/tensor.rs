//! The reference backend: plain candle operations on any candle device, over the same paged KV pools, block tables and
//! ragged batches as every other backend. Clear before fast; other backends are compared with it.

mod attention;
mod layer;
mod linear;
mod pool;
mod rope;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use crate::backend::{Backend, BackendError, KvRead, KvShape, KvSpan, Logits, RaggedBatch};
use crate::model::{Model, ModelConfig, Weights};
use layer::Layer;
use linear::Linear;
use pool::LayerPool;
use rope::RopeTable;

/// The candle backend. Weights are held as f32 on the device. On the CPU candle computes with thread pools of its own,
/// one for the whole process, whose size only the environment sets (`RAYON_NUM_THREADS`).
#[derive(Debug)]
pub struct TensorBackend {
    config: ModelConfig,
    device: Device,
    shape: KvShape,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Linear,
    rope: RopeTable,
    pools: Vec<LayerPool>,
}

impl TensorBackend {
    /// Puts `model` and a pool of `kv_blocks` blocks on `device`.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn new(model: &Model, device: Device, kv_blocks: usize) -> Result<Self, BackendError> {
        Self::with_kv_dtype(model, device, kv_blocks, DType::BF16)
    }

    /// The same with KV pools of another type. In f32 nothing is rounded, so that results can be compared with
    /// implementations that keep their KV in f32; what [`KvRead::read_kv`] gives is bf16 all the same.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn with_kv_dtype(
        model: &Model,
        device: Device,
        kv_blocks: usize,
        kv_dtype: DType,
    ) -> Result<Self, BackendError> {
        let config = model.config.clone();
        let shape = KvShape::of(&config, kv_blocks);
        let Weights { embedding, layers, norm, output } = &model.weights;
        let embedding = embedding.to_tensor(&device)?;
        let output = match output {
            Some(output) => Linear::new(output, None, &device)?,
            None => Linear::tied(&embedding)?,
        };
        let layers = layers.iter().map(|layer| Layer::new(layer, &device)).collect::<Result<_, _>>()?;
        let pools =
            (0..config.layers).map(|_| LayerPool::new(shape, kv_dtype, &device)).collect::<Result<_, _>>()?;
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

    fn logits(&self, batch: &RaggedBatch, x: &Tensor) -> Result<Logits, BackendError> {
        let wanted: Vec<u32> = batch.logit_rows().into_iter().map(|row| row as u32).collect();
        let vocab = self.config.vocab;
        if wanted.is_empty() {
            return Ok(Logits { vocab, data: Vec::new() });
        }
        let rows = x.index_select(&Tensor::new(wanted, &self.device)?, 0)?;
        let rows = ops::rms_norm(&rows, &self.norm, self.config.rms_eps)?;
        let data = self.output.forward(&rows)?.flatten_all()?.to_vec1()?;
        Ok(Logits { vocab, data })
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
        batch.check(&self.config, self.shape)?;
        let tokens: Vec<u32> =
            batch.sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied()).collect();
        let positions: Vec<usize> =
            batch.sequences.iter().flat_map(|s| s.start..s.start + s.tokens.len()).collect();
        if tokens.is_empty() {
            return Ok(Logits { vocab: self.config.vocab, data: Vec::new() });
        }
        let rotation = self.rope.rotation(&positions)?;
        let mut x = self.embedding.index_select(&Tensor::new(tokens, &self.device)?, 0)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&self.config, &self.pools[index], batch, &x, &rotation)?;
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
        self.pools.iter().try_for_each(|pool| pool.copy(from, to))
    }
}
