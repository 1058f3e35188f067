//! Matrix products of activations with weight tiles.
//!
//! An output element is the sum over input features in rising order, one fused multiply-add after the other, in both
//! kernels: the narrow one decodes weights as it goes and suits a few rows, the wide one decodes a pair of tiles once for
//! all rows.

#![allow(unsafe_code)]

use std::ops::Range;

use super::disjoint::Disjoint;
use super::dispatch::{Kernel, Native, dispatch};
use super::encoding::{Encoding, GROUP};
use super::simd::{LANES, Simd};
use super::threads::Pool;
use super::tiles::{Tiles, with_encoding};

/// Rows up to which the narrow kernel is used.
const NARROW_ROWS: usize = 8;
/// Tiles that one task of the narrow kernel takes.
const NARROW_TILES: usize = 8;

/// One product: `y = x * weights^T`, with `x` `[rows, columns]` and `y` `[rows, weights.rows]`.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Tiles,
    pub(super) y: &'a mut [f32],
}

/// Computes several products of the same `x`, as one piece of parallel work.
///
/// # Panics
/// When a slice is shorter than its shape says.
pub(super) fn multiply(pool: &Pool, isa: Native, x: &[f32], rows: usize, products: &mut [Product<'_>]) {
    let mut tasks = Vec::new();
    let step = if rows <= NARROW_ROWS { NARROW_TILES } else { 2 };
    for product in products.iter_mut() {
        assert!(x.len() >= rows * product.weights.columns && product.y.len() >= rows * product.weights.rows);
        let (weights, out) = (product.weights, Disjoint::new(product.y));
        tasks.extend((0..weights.tiles()).step_by(step).map(|tile| (weights, out, tile)));
    }
    pool.each(tasks.len(), &|_, index| {
        let (weights, out, first) = tasks[index];
        let job = Job { weights, x, rows, out, tiles: first..weights.tiles().min(first + step) };
        dispatch(isa, job);
    });
}

/// Some tiles beside each other for all rows; the wide kernel takes one or two.
struct Job<'a> {
    weights: &'a Tiles,
    x: &'a [f32],
    rows: usize,
    out: Disjoint<'a>,
    tiles: Range<usize>,
}

impl Kernel for Job<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            with_encoding!(self.weights.kind, E => {
                if self.rows <= NARROW_ROWS { self.narrow::<S, E>() } else { self.wide::<S, E>() }
            });
        }
    }
}

impl Job<'_> {
    /// Decodes each weight once for several rows at a time, more of them the more registers there are.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`, `E` be the weights' encoding, and `x` and `out` hold all rows.
    #[inline(always)]
    unsafe fn narrow<S: Simd, E: Encoding>(&self) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: passes its caller's promise on; the rows lie inside `x`.
            row += unsafe {
                match self.rows - row {
                    1 => self.narrow_rows::<S, E, 1, 4>(row),
                    2 => self.narrow_rows::<S, E, 2, 2>(row),
                    3 => self.narrow_rows::<S, E, 3, 2>(row),
                    8.. if S::ROWS >= 8 => self.narrow_rows::<S, E, 8, 2>(row),
                    _ => self.narrow_rows::<S, E, 4, 2>(row),
                }
            };
        }
    }

    /// Computes `R` rows, `T` tiles at a time: enough sums at once to hide how long each addition takes. Returns `R`.
    ///
    /// # Safety
    /// As for [`Self::narrow`], and rows `row..row + R` must be there.
    #[inline(always)]
    unsafe fn narrow_rows<S: Simd, E: Encoding, const R: usize, const T: usize>(&self, row: usize) -> usize {
        let columns = self.weights.columns;
        let mut tile = self.tiles.start;
        while tile < self.tiles.end {
            // A tile beyond the last one is read as the last one and not stored.
            let at = |t: usize| self.weights.tile((tile + t).min(self.tiles.end - 1)).as_ptr();
            let groups: [*const u8; T] = std::array::from_fn(at);
            // SAFETY: groups and rows lie inside their slices; `columns` is even.
            unsafe {
                let x: [*const f32; R] = std::array::from_fn(|r| self.x.as_ptr().add((row + r) * columns));
                let mut sums = [[S::splat(0.0); R]; T];
                for group in 0..columns.div_ceil(GROUP) {
                    let base = group * GROUP;
                    let at: [*const u8; T] = std::array::from_fn(|t| groups[t].add(group * E::BYTES));
                    let headers: [_; T] = std::array::from_fn(|t| E::header::<S>(at[t]));
                    for pair in 0..(columns - base).min(GROUP) / 2 {
                        let column = base + 2 * pair;
                        for t in 0..T {
                            let (w0, w1) = E::pair::<S>(at[t], headers[t], pair);
                            for r in 0..R {
                                let (x0, x1) = (S::splat(*x[r].add(column)), S::splat(*x[r].add(column + 1)));
                                sums[t][r] = S::fma(w1, x1, S::fma(w0, x0, sums[t][r]));
                            }
                        }
                    }
                }
                for (t, sums) in sums.into_iter().enumerate().take(self.tiles.end - tile) {
                    for (r, sum) in sums.into_iter().enumerate() {
                        self.store::<S>(row + r, tile + t, sum);
                    }
                }
            }
            tile += T;
        }
        R
    }

    /// Decodes both tiles into `panel`, `[columns][2][LANES]`, then runs blocks of rows over it.
    ///
    /// # Safety
    /// As for [`Self::narrow`], and the job must have one tile or two.
    #[inline(always)]
    unsafe fn wide<S: Simd, E: Encoding>(&self) {
        let columns = self.weights.columns;
        let mut panel = vec![0.0; columns * 2 * LANES];
        // SAFETY: the panel has room for all columns of both tiles.
        unsafe {
            for side in 0..self.tiles.len() {
                let tile = self.weights.tile(self.tiles.start + side).as_ptr();
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
                    12 => self.block::<S, 12>(&panel, row),
                    4 => self.block::<S, 4>(&panel, row),
                    _ => self.block::<S, 3>(&panel, row),
                }
                row += match S::ROWS {
                    12 => 12,
                    4 => 4,
                    _ => 3,
                };
            }
            while row < self.rows {
                self.block::<S, 1>(&panel, row);
                row += 1;
            }
        }
    }

    /// Multiplies `R` rows with the decoded tiles.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`; `panel` must hold all columns of two tiles, and
    /// `x` and `out` rows `row..row + R`.
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
                self.store::<S>(row + r, self.tiles.start, a[r]);
                if self.tiles.len() > 1 {
                    self.store::<S>(row + r, self.tiles.start + 1, b[r]);
                }
            }
        }
    }

    /// Writes one tile's outputs of one row; the last tile may stand over the edge.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`, and nobody else may use these outputs.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, row: usize, tile: usize, value: S::V) {
        let (width, first) = (self.weights.rows, tile * LANES);
        // SAFETY: these outputs belong to this job alone.
        unsafe {
            let to = self.out.part(row * width + first, LANES.min(width - first));
            if to.len() == LANES {
                S::store(to.as_mut_ptr(), value);
            } else {
                let mut lanes = [0.0; LANES];
                S::store(lanes.as_mut_ptr(), value);
                to.copy_from_slice(&lanes[..to.len()]);
            }
        }
    }
}
