//! Causal attention of one sequence's new rows over its paged KV.

use candle_core::{D, Device, Tensor};

use super::linear::ROW_TILE;
use crate::backend::BLOCK_TOKENS;

/// K and V of one block in f32, each `[kv_heads, BLOCK_TOKENS, head_dim]`; rows that hold no token are zero.
pub(super) struct KvBlock {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

/// Attends `q` `[rows, heads, head_dim]`, whose first row is at position `start`, to the sequence's `blocks`; gives
/// `[rows, heads * head_dim]`.
///
/// Rows are taken in tiles of one size, and each tile walks the blocks from the first one with a running maximum and
/// sum (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"). A block that a row may not see leaves
/// its sums as they are to the last bit, so a row's result depends on its position and the KV before it alone.
pub(super) fn attend(q: &Tensor, blocks: &[KvBlock], start: usize) -> candle_core::Result<Tensor> {
    let (rows, heads, head_dim) = q.dims3()?;
    let padded = rows.next_multiple_of(ROW_TILE);
    let q = (q * (1.0 / (head_dim as f64).sqrt()))?.pad_with_zeros(0, 0, padded - rows)?;
    let tiles = (0..padded).step_by(ROW_TILE).map(|row| {
        let last = start + (row + ROW_TILE).min(rows);
        let seen = &blocks[..last.div_ceil(BLOCK_TOKENS)];
        attend_tile(&q.narrow(0, row, ROW_TILE)?, seen, start + row)?.reshape((ROW_TILE, heads * head_dim))
    });
    Tensor::cat(&tiles.collect::<Result<Vec<_>, _>>()?, 0)?.narrow(0, 0, rows)
}

/// One tile of queries `[ROW_TILE, heads, head_dim]` from position `start` on.
fn attend_tile(q: &Tensor, blocks: &[KvBlock], start: usize) -> candle_core::Result<Tensor> {
    let (rows, heads, head_dim) = q.dims3()?;
    let kv_heads = match blocks.first() {
        Some(block) => block.keys.dim(0)?,
        None => return q.zeros_like(),
    };
    let group = heads / kv_heads;
    // Query heads that share a KV head become rows of one product: `[kv_heads, rows * group, head_dim]`.
    let q = q.reshape((rows, kv_heads, group, head_dim))?.transpose(0, 1)?.contiguous()?;
    let q = q.reshape((kv_heads, rows * group, head_dim))?;
    let mut maximum = Tensor::full(f32::NEG_INFINITY, (kv_heads, rows * group, 1), q.device())?;
    let mut sum = maximum.zeros_like()?;
    let mut output = q.zeros_like()?;
    for (index, block) in blocks.iter().enumerate() {
        let scores = q.matmul(&block.keys.t()?)?;
        let scores = match mask(start, rows, group, index * BLOCK_TOKENS, q.device())? {
            Some(mask) => scores.broadcast_add(&mask)?,
            None => scores,
        };
        let next = maximum.maximum(&scores.max_keepdim(D::Minus1)?)?;
        let weights = scores.broadcast_sub(&next)?.exp()?;
        let keep = (maximum - &next)?.exp()?;
        sum = ((sum * &keep)? + weights.sum_keepdim(D::Minus1)?)?;
        output = (output.broadcast_mul(&keep)? + weights.matmul(&block.values)?)?;
        maximum = next;
    }
    let output = output.broadcast_div(&sum)?.reshape((kv_heads, rows, group, head_dim))?;
    output.transpose(0, 1)?.contiguous()
}

/// What to add to the scores `[rows * group, BLOCK_TOKENS]` of queries from position `start` on and the block's keys
/// from position `first` on, so that no query sees a later key; `None` where all are seen.
fn mask(
    start: usize,
    rows: usize,
    group: usize,
    first: usize,
    device: &Device,
) -> candle_core::Result<Option<Tensor>> {
    if first + BLOCK_TOKENS <= start + 1 {
        return Ok(None);
    }
    let values = (0..rows * group).flat_map(|row| {
        let position = start + row / group;
        (first..first + BLOCK_TOKENS).map(move |key| if key > position { f32::NEG_INFINITY } else { 0.0 })
    });
    Tensor::from_iter(values, device)?.reshape((rows * group, BLOCK_TOKENS)).map(Some)
}
