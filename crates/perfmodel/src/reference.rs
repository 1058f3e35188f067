//! What two workers tell each other of their speed, whatever their models are made of.

use crate::{PerfModel, sane};

/// Tokens of the prefill that speeds are compared by.
pub const REFERENCE_TOKENS: f64 = 512.0;
/// Rows of the decode step that speeds are compared by, each with [`REFERENCE_TOKENS`] of context.
pub const REFERENCE_ROWS: f64 = 8.0;

/// A worker's speed: what its calibrated model predicts for one prefill and one decode step of fixed sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// Seconds of a prefill of [`REFERENCE_TOKENS`] without history.
    pub prefill_s: f64,
    /// Seconds of a decode step of [`REFERENCE_ROWS`].
    pub step_s: f64,
}

impl PerfModel {
    /// The model's own speed.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference {
            prefill_s: self.prefill_s(0.0, REFERENCE_TOKENS),
            step_s: self.decode_s(REFERENCE_ROWS, REFERENCE_TOKENS),
        }
    }

    /// The same forms at another worker's speed; what that worker does not tell stays as it is.
    #[must_use]
    pub fn at_speed(&self, of: &Reference) -> Self {
        let own = self.reference();
        self.scaled(ratio(of.prefill_s, own.prefill_s), ratio(of.step_s, own.step_s))
    }

    /// Decode steps of another worker, which tells `step_s` seconds for that of reference, as a multiple of this model's;
    /// 1 where it tells nothing.
    #[must_use]
    pub fn step_ratio(&self, step_s: f64) -> f64 {
        ratio(step_s, self.reference().step_s)
    }
}

/// Other over own; 1 where one of them says nothing.
fn ratio(other_s: f64, own_s: f64) -> f64 {
    let ratio = sane(sane(other_s) / own_s);
    if ratio > 0.0 { ratio } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeSegment, PrefillSegment, Transfer};

    #[test]
    fn a_model_takes_on_another_workers_speed() {
        let model = PerfModel {
            prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.1, k1: 1e-3, k2: 1e-6 }],
            decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.01, k1: 1e-3, k2: 1e-6 }],
            transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
        };
        let Reference { prefill_s, step_s } = model.reference();
        let slower = model.at_speed(&Reference { prefill_s: 8.0 * prefill_s, step_s: 0.5 * step_s });
        assert!((slower.prefill_s(30.0, 70.0) - 8.0 * model.prefill_s(30.0, 70.0)).abs() < 1e-12);
        assert!((slower.decode_s(3.0, 90.0) - 0.5 * model.decode_s(3.0, 90.0)).abs() < 1e-12);
        assert!((model.step_ratio(3.0 * step_s) - 3.0).abs() < 1e-12);
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(model.at_speed(&Reference { prefill_s: nothing, step_s: nothing }), model);
            assert_eq!(model.step_ratio(nothing), 1.0);
        }
    }
}
