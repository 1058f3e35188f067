//! Matrix products of activations with weight tiles.
//!
//! An output element is the sum over input features in rising order, one fused multiply-add after the other, in both
//! kernels: the narrow one decodes weights as it goes and suits a few rows, the wide one decodes a pair of tiles once for
//! all rows.

#![allow(unsafe_code)]

use super::encoding::{Encoding, GROUP};
use super::isa::Isa;
use super::simd::{LANES, Simd};
use super::simd_scalar::Scalar;
use super::threads::Pool;
use super::tiles::{Tiles, with_encoding};

#[cfg(target_arch = "x86_64")]
use super::{simd_avx2::Avx2, simd_avx512::Avx512};

/// Rows up to which the narrow kernel is used.
const NARROW_ROWS: usize = 8;
/// Tiles that one task of the narrow kernel takes.
const NARROW_TILES: usize = 8;

/// One product: `y = x * weights^T`, with `x` `[rows, columns]` and `y` `[rows, weights.rows]`.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Tiles,
    pub(super) y: &'a mut [f32],
}

/// A pointer that threads share to write disjoint parts.
#[derive(Clone, Copy)]
struct Out(*mut f32);
// SAFETY: every task writes the columns of its own tiles only.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// Computes several products of the same `x`, as one piece of parallel work.
///
/// # Panics
/// When a slice is shorter than its shape says.
pub(super) fn multiply(pool: &Pool, isa: Isa, x: &[f32], rows: usize, products: &mut [Product<'_>]) {
    let mut tasks = Vec::new();
    let step = if rows <= NARROW_ROWS { NARROW_TILES } else { 2 };
    for product in products.iter_mut() {
        assert!(x.len() >= rows * product.weights.columns && product.y.len() >= rows * product.weights.rows);
        let out = Out(product.y.as_mut_ptr());
        let weights = product.weights;
        tasks.extend((0..weights.tiles()).step_by(step).map(|tile| (weights, out, tile)));
    }
    pool.each(tasks.len(), &|_, index| {
        let (weights, out, first) = tasks[index];
        let last = weights.tiles().min(first + step);
        let mut panel = Vec::new();
        for tile in (first..last).step_by(2) {
            let job = Job { weights, x, rows, out, tile, pair: tile + 1 < weights.tiles() };
            // SAFETY: the slices have the lengths asserted above, and the instruction set is one of this machine.
            unsafe { job.run(isa, &mut panel) };
        }
    });
}

/// One tile, or two beside each other, for all rows.
struct Job<'a> {
    weights: &'a Tiles,
    x: &'a [f32],
    rows: usize,
    out: Out,
    tile: usize,
    pair: bool,
}

impl Job<'_> {
    unsafe fn run(&self, isa: Isa, panel: &mut Vec<f32>) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            match isa {
                Isa::Scalar => self.with::<Scalar>(panel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => self.avx2(panel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => self.avx512(panel),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx2 | Isa::Avx512 => self.with::<Scalar>(panel),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn avx2(&self, panel: &mut Vec<f32>) {
        // SAFETY: passes its caller's promise on.
        unsafe { self.with::<Avx2>(panel) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn avx512(&self, panel: &mut Vec<f32>) {
        // SAFETY: passes its caller's promise on.
        unsafe { self.with::<Avx512>(panel) }
    }

    #[inline(always)]
    unsafe fn with<S: Simd>(&self, panel: &mut Vec<f32>) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            with_encoding!(self.weights.kind, E => {
                if self.rows <= NARROW_ROWS { self.narrow::<S, E>() } else { self.wide::<S, E>(panel) }
            });
        }
    }

    /// Decodes each weight once for up to four rows at a time.
    #[inline(always)]
    unsafe fn narrow<S: Simd, E: Encoding>(&self) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: passes its caller's promise on; the rows lie inside `x`.
            unsafe {
                match self.rows - row {
                    1 => self.narrow_rows::<S, E, 1>(row),
                    2 => self.narrow_rows::<S, E, 2>(row),
                    3 => self.narrow_rows::<S, E, 3>(row),
                    _ => self.narrow_rows::<S, E, 4>(row),
                }
            }
            row += (self.rows - row).min(4);
        }
    }

    #[inline(always)]
    unsafe fn narrow_rows<S: Simd, E: Encoding, const R: usize>(&self, row: usize) {
        let columns = self.weights.columns;
        let second_tile = self.tile + usize::from(self.pair);
        let (first, second) =
            (self.weights.tile(self.tile).as_ptr(), self.weights.tile(second_tile).as_ptr());
        // SAFETY: groups and rows lie inside their slices; `columns` is even, as head dimensions are.
        unsafe {
            let x: [*const f32; R] = std::array::from_fn(|r| self.x.as_ptr().add((row + r) * columns));
            let (mut a, mut b) = ([S::splat(0.0); R], [S::splat(0.0); R]);
            for group in 0..columns.div_ceil(GROUP) {
                let (at, base) = (group * E::BYTES, group * GROUP);
                let (ga, gb) = (first.add(at), second.add(at));
                let (ha, hb) = (E::header::<S>(ga), E::header::<S>(gb));
                for pair in 0..(columns - base).min(GROUP) / 2 {
                    let (wa, wb) = (E::pair::<S>(ga, ha, pair), E::pair::<S>(gb, hb, pair));
                    let column = base + 2 * pair;
                    for r in 0..R {
                        let (x0, x1) = (S::splat(*x[r].add(column)), S::splat(*x[r].add(column + 1)));
                        a[r] = S::fma(wa.1, x1, S::fma(wa.0, x0, a[r]));
                        b[r] = S::fma(wb.1, x1, S::fma(wb.0, x0, b[r]));
                    }
                }
            }
            for r in 0..R {
                self.store::<S>(row + r, self.tile, a[r]);
                if self.pair {
                    self.store::<S>(row + r, self.tile + 1, b[r]);
                }
            }
        }
    }

    /// Decodes both tiles into `panel`, `[columns][2][LANES]`, then runs blocks of rows over it.
    #[inline(always)]
    unsafe fn wide<S: Simd, E: Encoding>(&self, panel: &mut Vec<f32>) {
        let columns = self.weights.columns;
        panel.resize(columns * 2 * LANES, 0.0);
        // SAFETY: the panel has room for all columns of both tiles.
        unsafe {
            for side in 0..=usize::from(self.pair) {
                let tile = self.weights.tile(self.tile + side).as_ptr();
                for group in 0..columns.div_ceil(GROUP) {
                    let (from, base) = (tile.add(group * E::BYTES), group * GROUP);
                    let header = E::header::<S>(from);
                    for pair in 0..(columns - base).min(GROUP) / 2 {
                        let (w0, w1) = E::pair::<S>(from, header, pair);
                        let to = panel.as_mut_ptr().add(((base + 2 * pair) * 2 + side) * LANES);
                        S::store(to, w0);
                        S::store(to.add(2 * LANES), w1);
                    }
                }
            }
            let mut row = 0;
            while row + S::ROWS <= self.rows {
                match S::ROWS {
                    12 => self.block::<S, 12>(panel, row),
                    4 => self.block::<S, 4>(panel, row),
                    _ => self.block::<S, 3>(panel, row),
                }
                row += match S::ROWS {
                    12 => 12,
                    4 => 4,
                    _ => 3,
                };
            }
            while row < self.rows {
                self.block::<S, 1>(panel, row);
                row += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize>(&self, panel: &[f32], row: usize) {
        let columns = self.weights.columns;
        // SAFETY: rows and columns lie inside their slices.
        unsafe {
            let x = self.x.as_ptr().add(row * columns);
            let (mut a, mut b) = ([S::splat(0.0); R], [S::splat(0.0); R]);
            for column in 0..columns {
                let w = panel.as_ptr().add(column * 2 * LANES);
                let (wa, wb) = (S::load(w), S::load(w.add(LANES)));
                for r in 0..R {
                    let value = S::splat(*x.add(r * columns + column));
                    a[r] = S::fma(wa, value, a[r]);
                    b[r] = S::fma(wb, value, b[r]);
                }
            }
            for r in 0..R {
                self.store::<S>(row + r, self.tile, a[r]);
                if self.pair {
                    self.store::<S>(row + r, self.tile + 1, b[r]);
                }
            }
        }
    }

    /// Writes one tile's outputs of one row; the last tile may stand over the edge.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, row: usize, tile: usize, value: S::V) {
        let (width, first) = (self.weights.rows, tile * LANES);
        // SAFETY: row and tile lie inside `y`, and what stands over is cut off.
        unsafe {
            let to = self.out.0.add(row * width + first);
            if first + LANES <= width {
                S::store(to, value);
            } else {
                let mut lanes = [0.0; LANES];
                S::store(lanes.as_mut_ptr(), value);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, width - first);
            }
        }
    }
}
