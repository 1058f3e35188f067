//! One layer's paged KV pools.

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::attention::KvBlock;
use crate::backend::{BLOCK_TOKENS, BackendError, KvPiece, KvShape, KvSpan};

/// K and V of one layer, each `[blocks, kv_heads, BLOCK_TOKENS, head_dim]`.
#[derive(Debug)]
pub(super) struct LayerPool {
    k: Tensor,
    v: Tensor,
}

/// A piece of a pool, `[kv_heads, rows, head_dim]`.
fn get(pool: &Tensor, piece: KvPiece) -> candle_core::Result<Tensor> {
    pool.get(piece.block as usize)?.narrow(1, piece.row, piece.rows)
}

/// Puts `part` `[kv_heads, rows, head_dim]` into a piece of a pool, in place.
fn put(pool: &Tensor, piece: KvPiece, part: &Tensor) -> candle_core::Result<()> {
    pool.get(piece.block as usize)?.slice_set(&part.contiguous()?, 1, piece.row)
}

impl LayerPool {
    pub(super) fn new(shape: KvShape, dtype: DType, device: &Device) -> Result<Self, BackendError> {
        let dims = (shape.blocks, shape.kv_heads, BLOCK_TOKENS, shape.head_dim);
        Ok(Self { k: Tensor::zeros(dims, dtype, device)?, v: Tensor::zeros(dims, dtype, device)? })
    }

    /// Writes `k` and `v` `[tokens, kv_heads, head_dim]` to the span's places, rounded to the pool's type.
    pub(super) fn write(&self, span: KvSpan<'_>, k: &Tensor, v: &Tensor) -> Result<(), BackendError> {
        for (pool, new) in [(&self.k, k), (&self.v, v)] {
            let new = new.to_dtype(pool.dtype())?.transpose(0, 1)?;
            let mut token = 0;
            for piece in span.pieces() {
                put(pool, piece, &new.narrow(1, token, piece.rows)?)?;
                token += piece.rows;
            }
        }
        Ok(())
    }

    /// The blocks of a sequence's first `tokens` tokens in f32.
    pub(super) fn blocks(&self, block_table: &[u32], tokens: usize) -> Result<Vec<KvBlock>, BackendError> {
        let whole = |pool: &Tensor, piece: KvPiece| {
            // What lies behind the sequence's end is left over from others; it must not reach the sums.
            let part = get(pool, piece)?.to_dtype(DType::F32)?;
            part.pad_with_zeros(1, 0, BLOCK_TOKENS - piece.rows)?.contiguous()
        };
        let span = KvSpan { block_table, start: 0, end: tokens };
        let blocks = span
            .pieces()
            .map(|piece| Ok(KvBlock { keys: whole(&self.k, piece)?, values: whole(&self.v, piece)? }));
        blocks.collect()
    }

    /// Appends the span's bytes to `out`, in the layout of [`crate::backend::KvRead::read_kv`].
    pub(super) fn export(&self, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        for pool in [&self.k, &self.v] {
            for piece in span.pieces() {
                let values: Vec<bf16> = get(pool, piece)?.to_dtype(DType::BF16)?.flatten_all()?.to_vec1()?;
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
            for piece in span.pieces() {
                let count = kv_heads * piece.rows * head_dim;
                let part = Tensor::from_iter(values.by_ref().take(count), &Device::Cpu)?;
                let part = part.reshape((kv_heads, piece.rows, head_dim))?.to_dtype(pool.dtype())?;
                put(pool, piece, &part.to_device(pool.device())?)?;
            }
        }
        Ok(())
    }

    /// Copies one block to another.
    pub(super) fn copy(&self, from: u32, to: u32) -> Result<(), BackendError> {
        for pool in [&self.k, &self.v] {
            let block = pool.narrow(0, from as usize, 1)?.copy()?;
            pool.slice_set(&block, 0, to as usize)?;
        }
        Ok(())
    }
}
