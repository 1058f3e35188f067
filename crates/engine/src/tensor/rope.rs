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

impl RopeTable {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Self {
        let frequencies = config.rope.frequencies(config.head_dim);
        Self { frequencies, interleaved: config.rope.interleaved, device: device.clone() }
    }

    /// Rotates `x` `[rows, heads, head_dim]`, row `r` by `positions[r]`.
    pub(super) fn apply(&self, x: &Tensor, positions: &[usize]) -> candle_core::Result<Tensor> {
        let (rows, heads, head_dim) = x.dims3()?;
        let half = head_dim / 2;
        let angles =
            positions.iter().flat_map(|position| self.frequencies.iter().map(|f| *position as f32 * f));
        let angles = Tensor::from_iter(angles, &self.device)?.reshape((rows, 1, half))?;
        let (cos, sin) = (angles.cos()?, angles.sin()?);
        let (first, second) = if self.interleaved {
            let pairs = x.reshape((rows, heads, half, 2))?;
            (
                pairs.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?,
                pairs.narrow(D::Minus1, 1, 1)?.squeeze(D::Minus1)?,
            )
        } else {
            (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?)
        };
        let rotated_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
        let rotated_second = (first.broadcast_mul(&sin)? + second.broadcast_mul(&cos)?)?;
        if self.interleaved {
            Tensor::stack(&[rotated_first, rotated_second], D::Minus1)?.reshape((rows, heads, head_dim))
        } else {
            Tensor::cat(&[rotated_first, rotated_second], D::Minus1)
        }
    }
}
