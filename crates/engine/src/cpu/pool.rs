//! The KV pool in host memory.

use std::ops::Range;

use memmap2::MmapMut;

use super::memory;
use crate::backend::{BLOCK_TOKENS, BackendError, KvShape, KvSpan};

/// K and V of all layers, each layer K, then V, each `[blocks, kv_heads, BLOCK_TOKENS, head_dim]` as bf16 bits.
pub(super) struct KvPool {
    shape: KvShape,
    data: MmapMut,
}

/// K or V.
#[derive(Debug, Clone, Copy)]
enum Side {
    K,
    V,
}

/// Rounds to the nearest bf16, ties to even; written so that the compiler makes vectors of it.
#[inline]
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    // The sum would carry some values that are no numbers over to infinity.
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded }
}

impl KvPool {
    /// A pool of zeros.
    pub(super) fn new(shape: KvShape) -> Result<Self, BackendError> {
        Ok(Self { shape, data: memory::zeroed(shape.blocks * BLOCK_TOKENS * shape.token_bytes())? })
    }

    pub(super) fn shape(&self) -> KvShape {
        self.shape
    }

    fn values(&self) -> &[u16] {
        // A mapping starts at a page's start, and holds whole elements.
        bytemuck::cast_slice(&self.data[..self.shape.blocks * BLOCK_TOKENS * self.shape.token_bytes()])
    }

    fn values_mut(&mut self) -> &mut [u16] {
        bytemuck::cast_slice_mut(
            &mut self.data[..self.shape.blocks * BLOCK_TOKENS * self.shape.token_bytes()],
        )
    }

    /// Index of the first element of one head of one block.
    fn page(&self, layer: usize, side: Side, block: u32, head: usize) -> usize {
        let blocks = (2 * layer + side as usize) * self.shape.blocks + block as usize;
        (blocks * self.shape.kv_heads + head) * BLOCK_TOKENS * self.shape.head_dim
    }

    /// One head of one block, K and V: `[BLOCK_TOKENS, head_dim]`.
    pub(super) fn pages(&self, layer: usize, block: u32, head: usize) -> (&[u16], &[u16]) {
        let size = BLOCK_TOKENS * self.shape.head_dim;
        let page = |side| &self.values()[self.page(layer, side, block, head)..][..size];
        (page(Side::K), page(Side::V))
    }

    /// Writes one token's `k` and `v`, each `[kv_heads, head_dim]`, rounded to bf16.
    pub(super) fn write(&mut self, layer: usize, block: u32, row: usize, k: &[f32], v: &[f32]) {
        let dim = self.shape.head_dim;
        for (side, values) in [(Side::K, k), (Side::V, v)] {
            for (head, values) in values.chunks_exact(dim).enumerate() {
                let start = self.page(layer, side, block, head) + row * dim;
                for (bits, value) in self.values_mut()[start..start + dim].iter_mut().zip(values) {
                    *bits = to_bf16(*value);
                }
            }
        }
    }

    /// The runs of elements of `span`, in the order of [`crate::backend::KvRead::read_kv`].
    fn runs(&self, layer: usize, span: KvSpan<'_>) -> impl Iterator<Item = Range<usize>> {
        let dim = self.shape.head_dim;
        [Side::K, Side::V].into_iter().flat_map(move |side| {
            span.pieces().flat_map(move |piece| {
                (0..self.shape.kv_heads).map(move |head| {
                    let start = self.page(layer, side, piece.block, head) + piece.row * dim;
                    start..start + piece.rows * dim
                })
            })
        })
    }

    pub(super) fn export(
        &self,
        layer: usize,
        span: KvSpan<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), BackendError> {
        self.shape.check_span(layer, span)?;
        out.reserve(span.tokens().len() * self.shape.token_layer_bytes());
        for run in self.runs(layer, span) {
            out.extend_from_slice(bytemuck::cast_slice(&self.values()[run]));
        }
        Ok(())
    }

    pub(super) fn import(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        self.shape.check_span(layer, span)?;
        let expected = span.tokens().len() * self.shape.token_layer_bytes();
        if data.len() != expected {
            return Err(BackendError::KvLength { layer, got: data.len(), expected });
        }
        let runs: Vec<_> = self.runs(layer, span).collect();
        let mut data = data;
        for run in runs {
            let (here, rest) = data.split_at(2 * run.len());
            data = rest;
            bytemuck::cast_slice_mut(&mut self.values_mut()[run]).copy_from_slice(here);
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        for block in [from, to] {
            self.shape.check_span(0, KvSpan { block_table: &[block], start: 0, end: 1 })?;
        }
        let size = self.shape.kv_heads * BLOCK_TOKENS * self.shape.head_dim;
        for layer in 0..self.shape.layers {
            for side in [Side::K, Side::V] {
                let (start, target) = (self.page(layer, side, from, 0), self.page(layer, side, to, 0));
                self.values_mut().copy_within(start..start + size, target);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_format() {
        let patterns = (0..u32::MAX).step_by(4093).chain(
            (0..=0xffff_u32)
                .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| high << 16 | low)),
        );
        for bits in patterns {
            let value = f32::from_bits(bits);
            assert_eq!(to_bf16(value), half::bf16::from_f32(value).to_bits(), "{bits:#x}");
        }
    }
}
