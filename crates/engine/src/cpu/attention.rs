//! Causal attention over paged KV with an online softmax.
//!
//! A query walks the keys of its sequence in blocks of 32 from position 0; nothing in its arithmetic depends on the
//! queries beside it. Queries are taken together only so that keys and values are read once for several of them.

#![allow(unsafe_code)]

use super::dispatch::{Kernel, Native, dispatch};
use super::pool::KvPool;
use super::simd::{LANES, Simd, exp};
use crate::backend::BLOCK_TOKENS;

/// Queries of one sequence and one KV head: `rows` rows from position `start` on, `group` query heads each.
pub(super) struct Task<'a> {
    pub(super) pool: &'a KvPool,
    pub(super) layer: usize,
    pub(super) block_table: &'a [u32],
    pub(super) kv_head: usize,
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) group: usize,
    /// `[rows][q_stride]`, the task's heads from `kv_head * group * head_dim` on.
    pub(super) q: &'a [f32],
    pub(super) q_stride: usize,
    pub(super) scale: f32,
}

/// Working memory of one thread, kept between tasks.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keys of a block, transposed: `[padded][BLOCK_TOKENS]`.
    keys: Vec<f32>,
    /// Values of a block, `[BLOCK_TOKENS][padded]`.
    values: Vec<f32>,
    /// `[queries][padded]`, scaled.
    queries: Vec<f32>,
    /// Weighted sums of values so far, `[queries][padded]`.
    sums: Vec<f32>,
    /// Running maximum and sum of weights of each query.
    state: Vec<(f32, f32)>,
}

impl Task<'_> {
    /// Computes the task and calls `store(row, head, output)` for each of its queries.
    pub(super) fn run(
        &self,
        isa: Native,
        scratch: &mut Scratch,
        store: &mut dyn FnMut(usize, usize, &[f32]),
    ) {
        self.prepare(scratch);
        dispatch(isa, Walk { task: self, scratch });
        let (dim, padded) = self.dims();
        let outputs = scratch.sums.chunks_exact_mut(padded).zip(&scratch.state);
        for (query, (sums, (_, total))) in outputs.enumerate() {
            for value in sums.iter_mut() {
                *value /= total;
            }
            store(query / self.group, query % self.group, &sums[..dim]);
        }
    }

    /// Elements of a head, and the same rounded up to whole vectors.
    fn dims(&self) -> (usize, usize) {
        let dim = self.pool.shape().head_dim;
        (dim, dim.next_multiple_of(LANES))
    }

    /// Scales the queries and empties everything else.
    fn prepare(&self, scratch: &mut Scratch) {
        let (dim, padded) = self.dims();
        let queries = self.rows * self.group;
        for (buffer, size) in [
            (&mut scratch.queries, queries * padded),
            (&mut scratch.sums, queries * padded),
            (&mut scratch.keys, BLOCK_TOKENS * padded),
            (&mut scratch.values, BLOCK_TOKENS * padded),
        ] {
            buffer.clear();
            buffer.resize(size, 0.0);
        }
        scratch.state.clear();
        scratch.state.resize(queries, (f32::NEG_INFINITY, 0.0));
        for (query, to) in scratch.queries.chunks_exact_mut(padded).enumerate() {
            let head = self.kv_head * self.group + query % self.group;
            let from = &self.q[query / self.group * self.q_stride + head * dim..][..dim];
            for (to, from) in to.iter_mut().zip(from) {
                *to = from * self.scale;
            }
        }
    }
}

/// A task's queries on their way along the keys.
struct Walk<'a> {
    task: &'a Task<'a>,
    scratch: &'a mut Scratch,
}

impl Kernel for Walk<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let (task, (dim, padded)) = (self.task, self.task.dims());
        let (end, queries) = (task.start + task.rows, task.rows * task.group);
        for (index, block) in task.block_table[..end.div_ceil(BLOCK_TOKENS)].iter().enumerate() {
            let (k, v) = task.pool.pages(task.layer, *block, task.kv_head);
            let base = index * BLOCK_TOKENS;
            // The first query that sees any of the block, and the first that sees all of it.
            let first_query = |position: usize| position.saturating_sub(task.start) * task.group;
            let (some, whole) = (first_query(base), first_query(base + BLOCK_TOKENS - 1).min(queries));
            // SAFETY: the pages hold whole blocks, the scratch room for them and for all queries.
            unsafe {
                transpose::<S>(k, &mut self.scratch.keys, dim);
                widen::<S>(v, &mut self.scratch.values, dim, padded, (end - base).min(BLOCK_TOKENS));
                for query in some..whole {
                    let seen = task.start + query / task.group + 1 - base;
                    self.step::<S, 1, 1>(query, dim, padded, seen);
                }
                let mut query = whole;
                while query < queries {
                    query += match queries - query {
                        4.. if S::ROWS >= 8 => self.step::<S, 4, 4>(query, dim, padded, BLOCK_TOKENS),
                        2.. => self.step::<S, 2, 2>(query, dim, padded, BLOCK_TOKENS),
                        _ => self.step::<S, 1, 4>(query, dim, padded, BLOCK_TOKENS),
                    };
                }
            }
        }
    }
}

impl Walk<'_> {
    /// Takes the first `seen` keys of a block into the running softmax of `Q` queries, `W` vectors of a value at a time.
    /// Returns `Q`.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`; the scratch must hold one block's keys and values
    /// and queries `query..query + Q` with heads of `padded` elements, and `seen` be at most a block.
    #[inline(always)]
    unsafe fn step<S: Simd, const Q: usize, const W: usize>(
        &mut self,
        query: usize,
        dim: usize,
        padded: usize,
        seen: usize,
    ) -> usize {
        let scratch = &mut *self.scratch;
        let mut weights = [[0.0; BLOCK_TOKENS]; Q];
        let mut fades = [0.0; Q];
        // SAFETY: whole padded heads lie behind each pointer.
        unsafe {
            scores::<S, Q>(scratch, query, dim, padded, &mut weights);
            for (q, weights) in weights.iter_mut().enumerate() {
                fades[q] = soften::<S>(weights, seen, &mut scratch.state[query + q]);
            }
            let sums = scratch.sums.as_mut_ptr().add(query * padded);
            let mut at = 0;
            while at + W * LANES <= padded {
                gather::<S, Q, W>(sums.add(at), &scratch.values[at..], padded, &weights, fades, seen);
                at += W * LANES;
            }
            while at < padded {
                gather::<S, Q, 1>(sums.add(at), &scratch.values[at..], padded, &weights, fades, seen);
                at += LANES;
            }
        }
        Q
    }
}

/// Products of `Q` queries with all keys of a block; those of keys that are not there are of no use.
///
/// # Safety
/// The machine must have the instruction set of `S`, and the scratch hold a block's keys and queries
/// `query..query + Q` with heads of `padded` elements.
#[inline(always)]
unsafe fn scores<S: Simd, const Q: usize>(
    scratch: &Scratch,
    query: usize,
    dim: usize,
    padded: usize,
    out: &mut [[f32; BLOCK_TOKENS]; Q],
) {
    // SAFETY: the caller vouches for `Q` queries, and keys have `dim` rows of two vectors.
    unsafe {
        let queries = scratch.queries.as_ptr().add(query * padded);
        let mut sums = [[S::splat(0.0); 2]; Q];
        for element in 0..dim {
            let keys = scratch.keys.as_ptr().add(element * BLOCK_TOKENS);
            let (low, high) = (S::load(keys), S::load(keys.add(LANES)));
            for (q, [a, b]) in sums.iter_mut().enumerate() {
                let value = S::splat(*queries.add(q * padded + element));
                *a = S::fma(low, value, *a);
                *b = S::fma(high, value, *b);
            }
        }
        for ([a, b], out) in sums.into_iter().zip(out) {
            S::store(out.as_mut_ptr(), a);
            S::store(out.as_mut_ptr().add(LANES), b);
        }
    }
}

/// Turns the scores of the first `seen` keys into weights relative to the running maximum, and the rest into zeros.
/// Returns what earlier sums must be multiplied with.
///
/// # Safety
/// The machine must have the instruction set of `S`.
#[inline(always)]
unsafe fn soften<S: Simd>(
    weights: &mut [f32; BLOCK_TOKENS],
    seen: usize,
    (max, total): &mut (f32, f32),
) -> f32 {
    // SAFETY: passes its caller's promise on; a block is two vectors.
    unsafe {
        weights[seen..].fill(f32::NEG_INFINITY);
        let at = weights.as_mut_ptr();
        let (low, high) = (S::load(at), S::load(at.add(LANES)));
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), S::max(low, high));
        let new_max = lanes.into_iter().fold(*max, f32::max);
        let shift = S::splat(-new_max);
        S::store(at, exp::<S>(S::add(low, shift)));
        S::store(at.add(LANES), exp::<S>(S::add(high, shift)));
        weights[seen..].fill(0.0);
        let sum = S::sum(S::add(S::load(at), S::load(at.add(LANES))));
        S::store(lanes.as_mut_ptr(), exp::<S>(S::splat(*max - new_max)));
        let fade = if *total == 0.0 { 0.0 } else { lanes[0] };
        (*max, *total) = (new_max, total.mul_add(fade, sum));
        fade
    }
}

/// Adds the weighted values of the first `seen` keys to the faded sums of `Q` queries, `W` vectors wide.
///
/// # Safety
/// The machine must have the instruction set of `S`; behind `sums` must lie `Q` rows and in `values` `seen`
/// rows, `padded` elements apart, with `W` whole vectors in each.
#[inline(always)]
unsafe fn gather<S: Simd, const Q: usize, const W: usize>(
    sums: *mut f32,
    values: &[f32],
    padded: usize,
    weights: &[[f32; BLOCK_TOKENS]; Q],
    fades: [f32; Q],
    seen: usize,
) {
    // SAFETY: the caller vouches for `Q` queries and `W` vectors in each row of values.
    unsafe {
        let at = |q: usize, w: usize| sums.add(q * padded + w * LANES);
        let mut totals: [[S::V; W]; Q] =
            std::array::from_fn(|q| std::array::from_fn(|w| S::mul(S::load(at(q, w)), S::splat(fades[q]))));
        for key in 0..seen {
            let value = values.as_ptr().add(key * padded);
            let value: [S::V; W] = std::array::from_fn(|w| S::load(value.add(w * LANES)));
            for (totals, weights) in totals.iter_mut().zip(weights) {
                let weight = S::splat(weights[key]);
                for (total, value) in totals.iter_mut().zip(value) {
                    *total = S::fma(weight, value, *total);
                }
            }
        }
        for (q, totals) in totals.into_iter().enumerate() {
            for (w, total) in totals.into_iter().enumerate() {
                S::store(at(q, w), total);
            }
        }
    }
}

/// Converts a bf16 page to f32 and transposes it.
///
/// # Safety
/// The machine must have the instruction set of `S`, `page` hold a whole block of `dim` elements a row,
/// and `out` as many elements.
#[inline(always)]
unsafe fn transpose<S: Simd>(page: &[u16], out: &mut [f32], dim: usize) {
    let whole = dim / LANES * LANES;
    for first in (0..BLOCK_TOKENS).step_by(LANES) {
        for element in (0..whole).step_by(LANES) {
            // SAFETY: 16 rows of a page and 16 rows of `out` have a whole vector there.
            unsafe {
                let at = |row: usize| page.as_ptr().add((first + row) * dim + element).cast();
                let columns = S::transpose(std::array::from_fn(|row| S::load_bf16(at(row))));
                for (column, values) in columns.into_iter().enumerate() {
                    S::store(out.as_mut_ptr().add((element + column) * BLOCK_TOKENS + first), values);
                }
            }
        }
    }
    for element in whole..dim {
        for token in 0..BLOCK_TOKENS {
            out[element * BLOCK_TOKENS + token] =
                f32::from_bits(u32::from(page[token * dim + element]) << 16);
        }
    }
}

/// Converts `rows` rows of a bf16 page to f32, padded to whole vectors.
///
/// # Safety
/// The machine must have the instruction set of `S`, `page` hold `rows` rows of `dim` elements and
/// `out` as many of `padded`.
#[inline(always)]
unsafe fn widen<S: Simd>(page: &[u16], out: &mut [f32], dim: usize, padded: usize, rows: usize) {
    if dim == padded {
        for at in (0..rows * dim).step_by(LANES) {
            // SAFETY: whole vectors inside both slices.
            unsafe { S::store(out.as_mut_ptr().add(at), S::load_bf16(page.as_ptr().add(at).cast())) };
        }
    } else {
        for row in 0..rows {
            for (to, bits) in out[row * padded..][..dim].iter_mut().zip(&page[row * dim..]) {
                *to = f32::from_bits(u32::from(*bits) << 16);
            }
        }
    }
}
