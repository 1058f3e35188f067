//! Causal attention of one sequence's new rows over its gathered KV.

use candle_core::{D, DType, Tensor};
use candle_nn::ops;

/// Attends `q` `[rows, heads, head_dim]`, whose first row is at position `start`, to `keys` and `values`
/// `[kv_heads, tokens, head_dim]`; gives `[rows, heads * head_dim]`.
///
/// Each row is computed alone over exactly the keys it may see, so that its result does not depend on the rows beside it.
pub(super) fn attend(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    start: usize,
) -> candle_core::Result<Tensor> {
    let (rows, heads, head_dim) = q.dims3()?;
    let kv_heads = keys.dim(0)?;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let (keys, values) = (keys.to_dtype(DType::F32)?, values.to_dtype(DType::F32)?);
    let attended = (0..rows).map(|row| {
        let seen = start + row + 1;
        let query = q.narrow(0, row, 1)?.reshape((kv_heads, heads / kv_heads, head_dim))?;
        let keys = keys.narrow(1, 0, seen)?.transpose(1, 2)?.contiguous()?;
        let scores = (query.contiguous()?.matmul(&keys)? * scale)?;
        let weights = ops::softmax(&scores, D::Minus1)?;
        weights.matmul(&values.narrow(1, 0, seen)?.contiguous()?)?.reshape((1, heads * head_dim))
    });
    Tensor::cat(&attended.collect::<Result<Vec<_>, _>>()?, 0)
}
