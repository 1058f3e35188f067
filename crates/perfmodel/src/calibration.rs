//! Online calibration: a moving ratio of measured to predicted time.

/// Weight of the newest sample in the moving ratio.
const WEIGHT: f64 = 0.05;
/// Bounds of a ratio: a profile further off than this is of another machine, and one stalled step must not count fully.
const BOUNDS: (f64, f64) = (0.2, 5.0);

/// Moving ratios of measured over predicted time, for prefill and decode apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    prefill: f64,
    decode: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { prefill: 1.0, decode: 1.0 }
    }
}

impl Calibration {
    /// Takes in a prefill step that was predicted to last `predicted_s` and lasted `measured_s` seconds.
    pub fn prefill(&mut self, predicted_s: f64, measured_s: f64) {
        update(&mut self.prefill, predicted_s, measured_s);
    }

    /// Takes in a decode step that was predicted to last `predicted_s` and lasted `measured_s` seconds.
    pub fn decode(&mut self, predicted_s: f64, measured_s: f64) {
        update(&mut self.decode, predicted_s, measured_s);
    }

    /// Measured over predicted prefill time.
    #[must_use]
    pub fn prefill_ratio(&self) -> f64 {
        self.prefill
    }

    /// Measured over predicted decode time.
    #[must_use]
    pub fn decode_ratio(&self) -> f64 {
        self.decode
    }
}

fn update(ratio: &mut f64, predicted_s: f64, measured_s: f64) {
    let sample = measured_s / predicted_s;
    if predicted_s > 0.0 && sample.is_finite() && sample > 0.0 {
        *ratio += WEIGHT * (sample.clamp(BOUNDS.0, BOUNDS.1) - *ratio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_converges_to_a_constant_error() {
        let mut calibration = Calibration::default();
        for _ in 0..200 {
            calibration.prefill(1.0, 1.6);
            calibration.decode(1.0, 0.5);
        }
        assert!((calibration.prefill_ratio() - 1.6).abs() < 0.01);
        assert!((calibration.decode_ratio() - 0.5).abs() < 0.01);
    }

    #[test]
    fn it_ignores_nonsense_and_bounds_outliers() {
        let mut calibration = Calibration::default();
        calibration.prefill(0.0, 1.0);
        calibration.prefill(f64::NAN, 1.0);
        calibration.prefill(1.0, f64::INFINITY);
        assert_eq!(calibration.prefill_ratio(), 1.0);
        calibration.prefill(1.0, 1e9);
        assert!(calibration.prefill_ratio() <= 1.0 + WEIGHT * 4.0);
    }
}
