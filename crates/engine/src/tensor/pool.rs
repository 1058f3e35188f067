//! One layer's paged KV pools.

use candle_core::{Device, Tensor};
use half::bf16;

use super::KV_DTYPE;
use crate::backend::{BLOCK_TOKENS, BackendError, KvShape, KvSpan};

/// K and V of one layer, each `[blocks, kv_heads, BLOCK_TOKENS, head_dim]`.
#[derive(Debug)]
pub(super) struct LayerPool {
    k: Tensor,
    v: Tensor,
}

/// Rows `rows` of block `block`, as a span cuts them.
struct Piece {
    block: usize,
    row: usize,
    rows: usize,
}

fn pieces(span: KvSpan<'_>) -> impl Iterator<Item = Piece> + '_ {
    let blocks = span.start / BLOCK_TOKENS..span.end.div_ceil(BLOCK_TOKENS);
    blocks.map(move |index| {
        let first = span.start.max(index * BLOCK_TOKENS);
        let last = span.end.min((index + 1) * BLOCK_TOKENS);
        Piece { block: span.block_table[index] as usize, row: first % BLOCK_TOKENS, rows: last - first }
    })
}

impl LayerPool {
    pub(super) fn new(shape: KvShape, device: &Device) -> Result<Self, BackendError> {
        let dims = (shape.blocks, shape.kv_heads, BLOCK_TOKENS, shape.head_dim);
        Ok(Self { k: Tensor::zeros(dims, KV_DTYPE, device)?, v: Tensor::zeros(dims, KV_DTYPE, device)? })
    }

    /// Writes `k` and `v` `[tokens, kv_heads, head_dim]` to the span's places, rounded to bf16.
    pub(super) fn write(&self, span: KvSpan<'_>, k: &Tensor, v: &Tensor) -> Result<(), BackendError> {
        for (pool, new) in [(&self.k, k), (&self.v, v)] {
            let new = new.to_dtype(KV_DTYPE)?.transpose(0, 1)?;
            let mut token = 0;
            for piece in pieces(span) {
                let rows = new.narrow(1, token, piece.rows)?.unsqueeze(0)?.contiguous()?;
                store(pool, &piece, &rows)?;
                token += piece.rows;
            }
        }
        Ok(())
    }

    /// The span's K and V, each `[kv_heads, tokens, head_dim]`.
    pub(super) fn gather(&self, span: KvSpan<'_>) -> Result<(Tensor, Tensor), BackendError> {
        let part = |pool: &Tensor, piece: Piece| pool.get(piece.block)?.narrow(1, piece.row, piece.rows);
        let all = |pool| Tensor::cat(&pieces(span).map(|p| part(pool, p)).collect::<Result<Vec<_>, _>>()?, 1);
        Ok((all(&self.k)?, all(&self.v)?))
    }

    /// Appends the span's bytes to `out`, in the layout of [`crate::backend::KvRead::read_kv`].
    pub(super) fn export(&self, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        for pool in [&self.k, &self.v] {
            for piece in pieces(span) {
                let part = pool.get(piece.block)?.narrow(1, piece.row, piece.rows)?;
                let values: Vec<bf16> = part.flatten_all()?.to_vec1()?;
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        Ok(())
    }

    /// The reverse of [`Self::export`]; `data` has the span's length.
    pub(super) fn import(&self, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        let (_, kv_heads, _, head_dim) = self.k.dims4()?;
        let mut values = data.chunks_exact(2).map(|bytes| bf16::from_le_bytes([bytes[0], bytes[1]]));
        for pool in [&self.k, &self.v] {
            for piece in pieces(span) {
                let count = kv_heads * piece.rows * head_dim;
                let part = Tensor::from_iter(values.by_ref().take(count), &Device::Cpu)?;
                let part = part.reshape((1, kv_heads, piece.rows, head_dim))?.to_device(pool.device())?;
                store(pool, &piece, &part)?;
            }
        }
        Ok(())
    }

    /// Copies one block to another.
    pub(super) fn copy(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        for pool in [&self.k, &self.v] {
            let block = pool.narrow(0, from as usize, 1)?.copy()?;
            pool.slice_set(&block, 0, to as usize)?;
        }
        Ok(())
    }
}

/// Puts `rows` `[1, kv_heads, rows, head_dim]` in place, by rewriting their block: the operation that sets a slice in
/// place takes whole slices of one dimension only.
fn store(pool: &Tensor, piece: &Piece, rows: &Tensor) -> Result<(), BackendError> {
    let block = pool.narrow(0, piece.block, 1)?.copy()?;
    block.slice_set(rows, 2, piece.row)?;
    pool.slice_set(&block, 0, piece.block)?;
    Ok(())
}
