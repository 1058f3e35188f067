//! One transformer layer over a ragged batch.

#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use super::attention::Task;
use super::disjoint::Disjoint;
use super::dispatch::Native;
use super::elementwise::{add, rms_norm, rotate};
use super::matmul::{Product, multiply};
use super::memory::Arena;
use super::pool::KvPool;
use super::rows::Rows;
use super::threads::Pool;
use super::tiles::Tiles;
use crate::backend::{BLOCK_TOKENS, BackendError, RaggedBatch};
use crate::model::{FeedForward, LayerWeights, ModelConfig};

/// Rows that one task of row-wise work takes.
const TASK_ROWS: usize = 16;
/// Query rows that one attention task takes.
const ATTENTION_ROWS: usize = 16;

/// A layer's weights, re-tiled.
pub(super) struct Layer {
    attention_norm: Vec<f32>,
    q: Tiles,
    k: Tiles,
    v: Tiles,
    o: Tiles,
    q_bias: Option<Vec<f32>>,
    k_bias: Option<Vec<f32>>,
    v_bias: Option<Vec<f32>>,
    q_norm: Option<Vec<f32>>,
    k_norm: Option<Vec<f32>>,
    ffn_norm: Vec<f32>,
    gate: Tiles,
    up: Tiles,
    down: Tiles,
}

/// What a step's layers share.
pub(super) struct Context<'a> {
    pub(super) pool: &'a Pool,
    pub(super) isa: Native,
    pub(super) config: &'a ModelConfig,
    pub(super) batch: &'a RaggedBatch,
    pub(super) layer: usize,
}

impl Context<'_> {
    /// Calls `visit` once for each row, on all threads if there are many.
    pub(super) fn each_row(&self, visit: &(dyn Fn(usize) + Sync)) {
        let rows = self.batch.rows();
        self.pool.each(rows.div_ceil(TASK_ROWS), &|_, task| {
            (task * TASK_ROWS..rows.min((task + 1) * TASK_ROWS)).for_each(visit);
        });
    }
}

impl Layer {
    pub(super) fn new(weights: &LayerWeights, arena: &mut Arena) -> Result<Self, BackendError> {
        let FeedForward::Dense { gate, up, down } = &weights.ffn;
        Ok(Self {
            attention_norm: weights.attention_norm.clone(),
            q: Tiles::new(&weights.q, arena)?,
            k: Tiles::new(&weights.k, arena)?,
            v: Tiles::new(&weights.v, arena)?,
            o: Tiles::new(&weights.o, arena)?,
            q_bias: weights.q_bias.clone(),
            k_bias: weights.k_bias.clone(),
            v_bias: weights.v_bias.clone(),
            q_norm: weights.q_norm.clone(),
            k_norm: weights.k_norm.clone(),
            ffn_norm: weights.ffn_norm.clone(),
            gate: Tiles::new(gate, arena)?,
            up: Tiles::new(up, arena)?,
            down: Tiles::new(down, arena)?,
        })
    }

    /// Runs the layer: the residual stream in `rows` is updated, new KV goes to `kv`.
    pub(super) fn forward(&self, context: &Context<'_>, rows: &mut Rows, kv: &mut KvPool) {
        let product = |x: &[f32], products: &mut [Product<'_>]| {
            multiply(context.pool, context.isa, x, context.batch.rows(), products);
        };
        rows.norm(context, &self.attention_norm);
        product(
            &rows.normed,
            &mut [
                Product { weights: &self.q, y: &mut rows.q },
                Product { weights: &self.k, y: &mut rows.k },
                Product { weights: &self.v, y: &mut rows.v },
            ],
        );
        self.finish_qkv(context, rows);
        store_kv(context, rows, kv);
        attend(context, rows, kv);
        product(&rows.attended, &mut [Product { weights: &self.o, y: &mut rows.y }]);
        rows.add_y(context);
        rows.norm(context, &self.ffn_norm);
        product(
            &rows.normed,
            &mut [
                Product { weights: &self.gate, y: &mut rows.gate },
                Product { weights: &self.up, y: &mut rows.up },
            ],
        );
        rows.swiglu(context);
        product(&rows.gate, &mut [Product { weights: &self.down, y: &mut rows.y }]);
        rows.add_y(context);
    }

    /// Biases, norms of heads, and rotation.
    fn finish_qkv(&self, context: &Context<'_>, rows: &mut Rows) {
        let (c, isa) = (context.config, context.isa);
        let (q_width, kv_width, pairs) = (c.heads * c.head_dim, c.kv_heads * c.head_dim, c.head_dim / 2);
        let (q, k, v) = (Disjoint::new(&mut rows.q), Disjoint::new(&mut rows.k), Disjoint::new(&mut rows.v));
        let turns = &rows.turns;
        context.each_row(&|row| {
            // SAFETY: each row is visited once.
            let [q, k, v] = unsafe {
                [
                    q.part(row * q_width, q_width),
                    k.part(row * kv_width, kv_width),
                    v.part(row * kv_width, kv_width),
                ]
            };
            if let Some(bias) = &self.v_bias {
                add(v, bias);
            }
            let mut normed = vec![0.0; c.head_dim];
            for (values, bias, norm) in [(q, &self.q_bias, &self.q_norm), (k, &self.k_bias, &self.k_norm)] {
                if let Some(bias) = bias {
                    add(values, bias);
                }
                for head in values.chunks_exact_mut(c.head_dim) {
                    if let Some(norm) = norm {
                        rms_norm(isa, head, norm, c.rms_eps, &mut normed);
                        head.copy_from_slice(&normed);
                    }
                    rotate(head, &turns[row * pairs..][..pairs], c.rope.interleaved);
                }
            }
        });
    }
}

fn store_kv(context: &Context<'_>, rows: &Rows, kv: &mut KvPool) {
    let width = context.config.kv_heads * context.config.head_dim;
    let places = context.batch.sequences.iter().flat_map(|sequence| {
        (sequence.start..sequence.start + sequence.tokens.len())
            .map(|position| (sequence.block_table[position / BLOCK_TOKENS], position % BLOCK_TOKENS))
    });
    let values = rows.k.chunks_exact(width).zip(rows.v.chunks_exact(width));
    for ((block, row), (k, v)) in places.zip(values) {
        kv.write(context.layer, block, row, k, v);
    }
}

fn attend(context: &Context<'_>, rows: &mut Rows, kv: &KvPool) {
    let (c, isa, layer) = (context.config, context.isa, context.layer);
    let (group, stride) = (c.heads / c.kv_heads, c.heads * c.head_dim);
    rows.scratch.resize_with(context.pool.threads(), Mutex::default);
    let mut tasks = Vec::new();
    let mut first = 0;
    for sequence in &context.batch.sequences {
        for row in (0..sequence.tokens.len()).step_by(ATTENTION_ROWS) {
            let count = (sequence.tokens.len() - row).min(ATTENTION_ROWS);
            tasks.extend(
                (0..c.kv_heads).map(|kv_head| (sequence, first + row, sequence.start + row, count, kv_head)),
            );
        }
        first += sequence.tokens.len();
    }
    let out = Disjoint::new(&mut rows.attended);
    let (q, scratch) = (&rows.q, &rows.scratch);
    context.pool.each(tasks.len(), &|thread, index| {
        let (sequence, row, start, count, kv_head) = tasks[index];
        let task = Task {
            pool: kv,
            layer,
            block_table: &sequence.block_table,
            kv_head,
            start,
            rows: count,
            group,
            q: &q[row * stride..(row + count) * stride],
            q_stride: stride,
            scale: 1.0 / (c.head_dim as f32).sqrt(),
        };
        let mut scratch = scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
        task.run(isa, &mut scratch, &mut |query, head, values| {
            let at = (row + query) * stride + (kv_head * group + head) * c.head_dim;
            // SAFETY: row and head belong to this task alone.
            unsafe { out.part(at, values.len()) }.copy_from_slice(values);
        });
    });
}
