//! Linear layers whose results do not depend on the rows beside a row.

use candle_core::{Device, Tensor};

use crate::model::Matrix;

/// Rows that go through a product at once.
///
/// A matrix product picks its blocking, and with it the order of its sums, by the shapes of its operands. With one shape
/// for every product, a row gives the same bits whatever else is in the batch.
pub(super) const ROW_TILE: usize = 32;

/// A weight, transposed to `[columns, rows]`, with an optional bias.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Puts a weight matrix on `device`.
    pub(super) fn new(matrix: &Matrix, bias: Option<&[f32]>, device: &Device) -> candle_core::Result<Self> {
        let bias = bias.map(|bias| Tensor::new(bias, device)).transpose()?;
        Ok(Self { weight: matrix.to_tensor(device)?.t()?, bias })
    }

    /// An output head that shares the embedding `[vocab, hidden]`.
    pub(super) fn tied(embedding: &Tensor) -> candle_core::Result<Self> {
        Ok(Self { weight: embedding.t()?, bias: None })
    }

    /// Applies the layer to `x` `[rows, columns]`.
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let rows = x.dim(0)?;
        let padded = rows.next_multiple_of(ROW_TILE);
        let x = x.pad_with_zeros(0, 0, padded - rows)?;
        let tiles = (0..padded).step_by(ROW_TILE).map(|row| x.narrow(0, row, ROW_TILE)?.matmul(&self.weight));
        let y = Tensor::cat(&tiles.collect::<Result<Vec<_>, _>>()?, 0)?.narrow(0, 0, rows)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
