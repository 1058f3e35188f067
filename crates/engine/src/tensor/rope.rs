//! Rotary position embedding with per-row positions.

use candle_core::{D, Device, Tensor};

use crate::model::ModelConfig;

/// The pair frequencies of a model.
#[derive(Debug)]
pub(super) struct RopeTable {
    frequencies: Vec<f32>,
    interleaved: bool,
    device: Device,
}

/// The rotation of each row of a step; cosines and sines are `[rows, 1, head_dim / 2]`.
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
}

impl RopeTable {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Self {
        let frequencies = config.rope.frequencies(config.head_dim);
        Self { frequencies, interleaved: config.rope.interleaved, device: device.clone() }
    }

    /// The rotation of rows at `positions`.
    pub(super) fn rotation(&self, positions: &[usize]) -> candle_core::Result<Rotation> {
        let angles =
            positions.iter().flat_map(|position| self.frequencies.iter().map(|f| *position as f32 * f));
        let angles =
            Tensor::from_iter(angles, &self.device)?.reshape((positions.len(), 1, self.frequencies.len()))?;
        Ok(Rotation { cos: angles.cos()?, sin: angles.sin()?, interleaved: self.interleaved })
    }
}

impl Rotation {
    /// Rotates the heads of `x` `[rows, heads, head_dim]`.
    pub(super) fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (rows, heads, head_dim) = x.dims3()?;
        let half = head_dim / 2;
        let (first, second) = if self.interleaved {
            let pairs = x.reshape((rows, heads, half, 2))?;
            let part = |index| pairs.narrow(D::Minus1, index, 1)?.squeeze(D::Minus1);
            (part(0)?, part(1)?)
        } else {
            (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?)
        };
        let rotated_first = (first.broadcast_mul(&self.cos)? - second.broadcast_mul(&self.sin)?)?;
        let rotated_second = (first.broadcast_mul(&self.sin)? + second.broadcast_mul(&self.cos)?)?;
        if self.interleaved {
            Tensor::stack(&[rotated_first, rotated_second], D::Minus1)?.reshape((rows, heads, head_dim))
        } else {
            Tensor::cat(&[rotated_first, rotated_second], D::Minus1)
        }
    }
}
