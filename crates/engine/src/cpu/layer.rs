//! One transformer layer over a ragged batch.

#![allow(unsafe_code)]

use std::sync::Mutex;

use super::attention::{Scratch, Task};
use super::elementwise::{rms_norm, rotate, swiglu};
use super::isa::Isa;
use super::matmul::{Product, multiply};
use super::pool::KvPool;
use super::threads::Pool;
use super::tiles::Tiles;
use crate::backend::{BLOCK_TOKENS, BackendError, RaggedBatch};
use crate::model::{FeedForward, LayerWeights, ModelConfig};

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
    pub(super) isa: Isa,
    pub(super) config: &'a ModelConfig,
    pub(super) batch: &'a RaggedBatch,
    pub(super) layer: usize,
}

/// Activations of all rows of a step, kept between steps.
#[derive(Default)]
pub(super) struct Rows {
    count: usize,
    /// The residual stream, `[rows, hidden]`.
    pub(super) x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    y: Vec<f32>,
    /// (cosine, sine) of each row's pairs, `[rows, head_dim / 2]`.
    turns: Vec<(f32, f32)>,
    scratch: Vec<Mutex<Scratch>>,
}

impl Rows {
    /// Embeds the batch's tokens and computes their rotations.
    pub(super) fn start(
        &mut self,
        batch: &RaggedBatch,
        c: &ModelConfig,
        embedding: &Tiles,
        frequencies: &[f32],
    ) {
        self.count = batch.rows();
        let sizes = [
            (&mut self.x, c.hidden),
            (&mut self.normed, c.hidden),
            (&mut self.y, c.hidden),
            (&mut self.q, c.heads * c.head_dim),
            (&mut self.attended, c.heads * c.head_dim),
            (&mut self.k, c.kv_heads * c.head_dim),
            (&mut self.v, c.kv_heads * c.head_dim),
            (&mut self.gate, c.intermediate),
            (&mut self.up, c.intermediate),
        ];
        for (buffer, width) in sizes {
            buffer.resize(self.count * width, 0.0);
        }
        self.turns.clear();
        let tokens = batch.sequences.iter().flat_map(|sequence| &sequence.tokens);
        for (token, out) in tokens.zip(self.x.chunks_exact_mut(c.hidden)) {
            embedding.row(*token as usize, out);
        }
        for position in batch.sequences.iter().flat_map(|s| s.start..s.start + s.tokens.len()) {
            let turns = frequencies.iter().map(|frequency| {
                let angle = position as f32 * frequency;
                (angle.cos(), angle.sin())
            });
            self.turns.extend(turns);
        }
    }

    fn norm(&mut self, weight: &[f32], eps: f32) {
        let width = weight.len();
        for (x, out) in self.x.chunks_exact(width).zip(self.normed.chunks_exact_mut(width)).take(self.count) {
            rms_norm(x, weight, eps, out);
        }
    }

    fn add_y(&mut self) {
        for (x, y) in self.x.iter_mut().zip(&self.y) {
            *x += y;
        }
    }
}

impl Layer {
    pub(super) fn new(weights: &LayerWeights) -> Result<Self, BackendError> {
        let FeedForward::Dense { gate, up, down } = &weights.ffn;
        Ok(Self {
            attention_norm: weights.attention_norm.clone(),
            q: Tiles::new(&weights.q)?,
            k: Tiles::new(&weights.k)?,
            v: Tiles::new(&weights.v)?,
            o: Tiles::new(&weights.o)?,
            q_bias: weights.q_bias.clone(),
            k_bias: weights.k_bias.clone(),
            v_bias: weights.v_bias.clone(),
            q_norm: weights.q_norm.clone(),
            k_norm: weights.k_norm.clone(),
            ffn_norm: weights.ffn_norm.clone(),
            gate: Tiles::new(gate)?,
            up: Tiles::new(up)?,
            down: Tiles::new(down)?,
        })
    }

    /// Runs the layer: the residual stream in `rows` is updated, new KV goes to `kv`.
    pub(super) fn forward(&self, context: &Context<'_>, rows: &mut Rows, kv: &mut KvPool) {
        let (c, count) = (context.config, rows.count);
        let product =
            |x: &[f32], products: &mut [Product<'_>]| multiply(context.pool, context.isa, x, count, products);
        rows.norm(&self.attention_norm, c.rms_eps);
        product(
            &rows.normed,
            &mut [
                Product { weights: &self.q, y: &mut rows.q },
                Product { weights: &self.k, y: &mut rows.k },
                Product { weights: &self.v, y: &mut rows.v },
            ],
        );
        self.finish_qkv(c, rows);
        store_kv(context, rows, kv);
        attend(context, rows, kv);
        product(&rows.attended, &mut [Product { weights: &self.o, y: &mut rows.y }]);
        rows.add_y();
        rows.norm(&self.ffn_norm, c.rms_eps);
        product(
            &rows.normed,
            &mut [
                Product { weights: &self.gate, y: &mut rows.gate },
                Product { weights: &self.up, y: &mut rows.up },
            ],
        );
        swiglu(context.isa, &mut rows.gate[..count * c.intermediate], &rows.up);
        product(&rows.gate, &mut [Product { weights: &self.down, y: &mut rows.y }]);
        rows.add_y();
    }

    /// Biases, norms of heads, and rotation.
    fn finish_qkv(&self, c: &ModelConfig, rows: &mut Rows) {
        let parts = [(&mut rows.q, &self.q_bias), (&mut rows.k, &self.k_bias), (&mut rows.v, &self.v_bias)];
        for (values, bias) in parts {
            if let Some(bias) = bias {
                for row in values.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
                }
            }
        }
        let parts = [(&mut rows.q, &self.q_norm, c.heads), (&mut rows.k, &self.k_norm, c.kv_heads)];
        let mut normed = vec![0.0; c.head_dim];
        for (values, norm, heads) in parts {
            let turns = rows.turns.chunks_exact(c.head_dim / 2);
            for (row, turns) in values.chunks_exact_mut(heads * c.head_dim).zip(turns) {
                for head in row.chunks_exact_mut(c.head_dim) {
                    if let Some(norm) = norm {
                        rms_norm(head, norm, c.rms_eps, &mut normed);
                        head.copy_from_slice(&normed);
                    }
                    rotate(head, turns, c.rope.interleaved);
                }
            }
        }
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

/// A pointer that threads share to write disjoint parts.
#[derive(Clone, Copy)]
struct Out(*mut f32);
// SAFETY: every task writes the heads and rows of its own.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    /// # Safety
    /// `at` and `values` must lie inside the buffer, and no other task may write there.
    unsafe fn write(self, at: usize, values: &[f32]) {
        // SAFETY: passes its caller's promise on.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.0.add(at), values.len()) };
    }
}

fn attend(context: &Context<'_>, rows: &mut Rows, kv: &KvPool) {
    let c = context.config;
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
    let out = Out(rows.attended.as_mut_ptr());
    let (q, scratch) = (&rows.q, &rows.scratch);
    context.pool.each(tasks.len(), &|thread, index| {
        let (sequence, row, start, count, kv_head) = tasks[index];
        let task = Task {
            pool: kv,
            layer: context.layer,
            block_table: &sequence.block_table,
            kv_head,
            start,
            rows: count,
            group,
            q: &q[row * stride..(row + count) * stride],
            q_stride: stride,
            scale: 1.0 / (c.head_dim as f32).sqrt(),
        };
        let mut scratch = scratch[thread].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        task.run(context.isa, &mut scratch, &mut |query, head, values| {
            let at = (row + query) * stride + (kv_head * group + head) * c.head_dim;
            // SAFETY: row and head lie inside `attended`, and belong to this task alone.
            unsafe { out.write(at, values) };
        });
    });
}
