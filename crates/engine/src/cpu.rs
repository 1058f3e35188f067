//! The CPU backend: weights re-tiled at load, kernels by runtime dispatch, the same bits on every instruction set and with
//! any number of threads.

#![allow(
    clippy::inline_always,
    reason = "a generic kernel gets its instruction set from the function it is inlined into, at every level"
)]

mod attention;
mod disjoint;
mod dispatch;
mod elementwise;
mod encoding;
mod isa;
mod layer;
mod matmul;
mod memory;
mod pool;
mod rows;
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd_avx2;
#[cfg(target_arch = "x86_64")]
mod simd_avx512;
mod simd_scalar;
mod threads;
mod tiles;

pub use isa::Isa;

use crate::backend::{Backend, BackendError, KvRead, KvShape, KvSpan, Logits, RaggedBatch};
use crate::model::{Model, ModelConfig};
use dispatch::Native;
use layer::Layer;
use matmul::{Product, multiply};
use memory::Arena;
use pool::KvPool;
use rows::Rows;
use threads::Pool;
use tiles::Tiles;

/// How the CPU backend runs.
#[derive(Debug, Clone, Copy)]
pub struct CpuOptions {
    /// Threads, the caller's among them; 0 counts as 1.
    pub threads: usize,
    /// Instruction set; `None` takes the fastest of this machine.
    pub isa: Option<Isa>,
    /// Blocks of the KV pool.
    pub kv_blocks: usize,
}

/// The CPU backend.
pub struct CpuBackend {
    config: ModelConfig,
    isa: Native,
    pool: Pool,
    embedding: Tiles,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    output: Option<Tiles>,
    frequencies: Vec<f32>,
    kv: KvPool,
    rows: Rows,
}

impl std::fmt::Debug for CpuBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuBackend")
            .field("config", &self.config)
            .field("isa", &self.isa)
            .field("threads", &self.pool.threads())
            .finish_non_exhaustive()
    }
}

impl CpuBackend {
    /// Re-tiles the model's weights and makes the KV pool.
    ///
    /// # Errors
    /// When a weight cannot be decoded, a thread cannot be started, or this machine lacks the instruction set.
    pub fn new(model: &Model, options: CpuOptions) -> Result<Self, BackendError> {
        let config = model.config.clone();
        let isa = options.isa.unwrap_or_else(Isa::best);
        let missing = || BackendError::Unsupported(format!("{isa:?} on this machine"));
        let isa = Native::new(isa).ok_or_else(missing)?;
        let pool = Pool::new(options.threads).map_err(BackendError::Threads)?;
        let shape = KvShape::of(&config, options.kv_blocks);
        let weights = &model.weights;
        let mut arena = Arena::default();
        let layers = weights.layers.iter().map(|layer| Layer::new(layer, &mut arena));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self {
            isa,
            pool,
            embedding: Tiles::new(&weights.embedding, &mut arena)?,
            layers,
            norm: weights.norm.clone(),
            output: weights.output.as_ref().map(|output| Tiles::new(output, &mut arena)).transpose()?,
            frequencies: config.rope.frequencies(config.head_dim),
            kv: KvPool::new(shape)?,
            rows: Rows::default(),
            config,
        })
    }

    fn logits(&mut self, batch: &RaggedBatch) -> Logits {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let wanted = batch.logit_rows();
        let mut x = vec![0.0; wanted.len() * hidden];
        for (row, out) in wanted.iter().zip(x.chunks_exact_mut(hidden)) {
            elementwise::rms_norm(
                self.isa,
                &self.rows.x[row * hidden..][..hidden],
                &self.norm,
                self.config.rms_eps,
                out,
            );
        }
        let mut data = vec![0.0; wanted.len() * vocab];
        if !wanted.is_empty() {
            let weights = self.output.as_ref().unwrap_or(&self.embedding);
            let mut products = [Product { weights, y: &mut data }];
            multiply(&self.pool, self.isa, &x, wanted.len(), &mut products);
        }
        Logits { vocab, data }
    }
}

impl KvRead for CpuBackend {
    fn kv_shape(&self) -> KvShape {
        self.kv.shape()
    }

    fn read_kv(&self, layer: usize, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        self.kv.export(layer, span, out)
    }
}

/// The pool alone, for reading between two layers of a step.
struct PoolView<'a>(&'a KvPool);

impl KvRead for PoolView<'_> {
    fn kv_shape(&self) -> KvShape {
        self.0.shape()
    }

    fn read_kv(&self, layer: usize, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        self.0.export(layer, span, out)
    }
}

impl Backend for CpuBackend {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn step(
        &mut self,
        batch: &RaggedBatch,
        after_layer: &mut dyn FnMut(usize, &dyn KvRead),
    ) -> Result<Logits, BackendError> {
        batch.check(&self.config, self.kv.shape())?;
        self.rows.start(batch, &self.config, &self.embedding, &self.frequencies);
        for index in 0..self.layers.len() {
            let context =
                layer::Context { pool: &self.pool, isa: self.isa, config: &self.config, batch, layer: index };
            self.layers[index].forward(&context, &mut self.rows, &mut self.kv);
            after_layer(index, &PoolView(&self.kv));
        }
        Ok(self.logits(batch))
    }

    fn write_kv(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        self.kv.import(layer, span, data)
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        self.kv.copy(from, to)
    }
}
