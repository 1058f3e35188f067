//! Causal attention over paged KV with an online softmax.
//!
//! A query walks the keys of its sequence in blocks of 32 from position 0; nothing in its arithmetic depends on the
//! queries beside it.

#![allow(unsafe_code)]

use super::isa::Isa;
use super::pool::KvPool;
use super::simd::{LANES, Simd, exp};
use super::simd_scalar::Scalar;
use crate::backend::BLOCK_TOKENS;

#[cfg(target_arch = "x86_64")]
use super::{simd_avx2::Avx2, simd_avx512::Avx512};

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
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    sums: Vec<f32>,
    /// Running maximum and sum of weights of each query.
    state: Vec<(f32, f32)>,
}

impl Task<'_> {
    /// Computes the task and calls `store(row, head, output)` for each of its queries.
    pub(super) fn run(&self, isa: Isa, scratch: &mut Scratch, store: &mut dyn FnMut(usize, usize, &[f32])) {
        // SAFETY: the instruction set is one of this machine.
        unsafe {
            match isa {
                Isa::Scalar => self.with::<Scalar>(scratch),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => self.avx2(scratch),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => self.avx512(scratch),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx2 | Isa::Avx512 => self.with::<Scalar>(scratch),
            }
        }
        let (dim, padded) = self.dims();
        for (query, (sums, (_, total))) in
            scratch.sums.chunks_exact_mut(padded).zip(&scratch.state).enumerate()
        {
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

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn avx2(&self, scratch: &mut Scratch) {
        // SAFETY: passes its caller's promise on.
        unsafe { self.with::<Avx2>(scratch) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn avx512(&self, scratch: &mut Scratch) {
        // SAFETY: passes its caller's promise on.
        unsafe { self.with::<Avx512>(scratch) }
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, scratch: &mut Scratch) {
        let (dim, padded) = self.dims();
        let queries = self.rows * self.group;
        scratch.queries.clear();
        scratch.queries.resize(queries * padded, 0.0);
        for query in 0..queries {
            let head = self.kv_head * self.group + query % self.group;
            let from = &self.q[query / self.group * self.q_stride + head * dim..][..dim];
            let to = &mut scratch.queries[query * padded..][..dim];
            for (to, from) in to.iter_mut().zip(from) {
                *to = from * self.scale;
            }
        }
        scratch.sums.clear();
        scratch.sums.resize(queries * padded, 0.0);
        scratch.state.clear();
        scratch.state.resize(queries, (f32::NEG_INFINITY, 0.0));
        scratch.keys.clear();
        scratch.keys.resize(BLOCK_TOKENS * padded, 0.0);
        scratch.values.clear();
        scratch.values.resize(BLOCK_TOKENS * padded, 0.0);
        let end = self.start + self.rows;
        for (index, block) in self.block_table[..end.div_ceil(BLOCK_TOKENS)].iter().enumerate() {
            let (k, v) = self.pool.pages(self.layer, *block, self.kv_head);
            let base = index * BLOCK_TOKENS;
            let filled = (end - base).min(BLOCK_TOKENS);
            // SAFETY: the pages hold whole blocks, the scratch room for them.
            unsafe {
                widen::<S>(k, &mut scratch.keys, dim, padded, filled);
                widen::<S>(v, &mut scratch.values, dim, padded, filled);
            }
            for query in 0..queries {
                let position = self.start + query / self.group;
                if position >= base {
                    let seen = (position + 1 - base).min(BLOCK_TOKENS);
                    // SAFETY: query, keys and values are whole padded heads.
                    unsafe { step::<S>(scratch, query, padded, seen) };
                }
            }
        }
    }
}

/// Converts `rows` rows of a bf16 page to f32, padded to whole vectors.
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

/// Takes the first `seen` keys of a block into the running softmax of one query.
#[inline(always)]
unsafe fn step<S: Simd>(scratch: &mut Scratch, query: usize, padded: usize, seen: usize) {
    let mut weights = [f32::NEG_INFINITY; BLOCK_TOKENS];
    // SAFETY: whole padded heads lie behind each pointer.
    unsafe {
        let q = scratch.queries.as_ptr().add(query * padded);
        for (key, weight) in weights[..seen].iter_mut().enumerate() {
            let k = scratch.keys.as_ptr().add(key * padded);
            let mut sum = S::splat(0.0);
            for at in (0..padded).step_by(LANES) {
                sum = S::fma(S::load(q.add(at)), S::load(k.add(at)), sum);
            }
            *weight = S::sum(sum);
        }
        let (old_max, old_total) = scratch.state[query];
        let max = weights[..seen].iter().copied().fold(old_max, f32::max);
        let shift = S::splat(-max);
        let mut total = S::splat(0.0);
        for half in [0, LANES] {
            let at = weights.as_mut_ptr().add(half);
            S::store(at, exp::<S>(S::add(S::load(at), shift)));
        }
        weights[seen..].fill(0.0);
        for half in [0, LANES] {
            total = S::add(total, S::load(weights.as_ptr().add(half)));
        }
        let mut fade = [0.0; LANES];
        S::store(fade.as_mut_ptr(), exp::<S>(S::splat(old_max - max)));
        let fade = if old_total == 0.0 { 0.0 } else { fade[0] };
        scratch.state[query] = (max, old_total.mul_add(fade, S::sum(total)));
        let sums = scratch.sums.as_mut_ptr().add(query * padded);
        for at in (0..padded).step_by(LANES) {
            let mut sum = S::mul(S::load(sums.add(at)), S::splat(fade));
            for (key, weight) in weights[..seen].iter().enumerate() {
                sum = S::fma(S::splat(*weight), S::load(scratch.values.as_ptr().add(key * padded + at)), sum);
            }
            S::store(sums.add(at), sum);
        }
    }
}
