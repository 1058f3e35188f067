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

    /// Takes in a step of both kinds that lasted `measured_s` seconds: predicted were `decode_s` for its rows alone and
    /// `mixed_s` for all of it. What the rows do not explain is the prefill's; steps of which that is the smaller part
    /// say too little of it.
    pub fn mixed(&mut self, decode_s: f64, mixed_s: f64, measured_s: f64) {
        let prefill_s = mixed_s - decode_s;
        if prefill_s > decode_s {
            update(&mut self.prefill, prefill_s, measured_s - decode_s * self.decode);
        }
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
    fn mixed_steps_tell_of_their_prefill_where_it_is_the_larger_part() {
        let mut calibration = Calibration::default();
        for _ in 0..200 {
            calibration.decode(1.0, 2.0);
            calibration.mixed(1.0, 4.0, 2.0 + 3.0 * 0.5);
            calibration.mixed(1.0, 1.5, 50.0);
        }
        assert!((calibration.prefill_ratio() - 0.5).abs() < 0.02, "{calibration:?}");
        assert!((calibration.decode_ratio() - 2.0).abs() < 0.02, "{calibration:?}");
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
