//! Prefills of a worker that computes them in batches, as prefill workers do.

use crate::PerfModel;

impl PerfModel {
    /// Seconds to compute `(history, increment)` prefills in steps of at most `budget` tokens each: every step pays the
    /// constant once, whatever is in it.
    #[must_use]
    pub fn batches_s(&self, parts: impl IntoIterator<Item = (f64, f64)>, budget: f64) -> f64 {
        let (mut seconds, mut tokens) = (0.0, 0.0);
        for (history, increment) in parts {
            if increment > 0.0 {
                seconds += (self.prefill_s(history, increment) - self.prefill_constant_s()).max(0.0);
                tokens += increment;
            }
        }
        if tokens > 0.0 {
            seconds += self.prefill_constant_s() * (tokens / budget.max(1.0)).ceil();
        }
        seconds
    }

    /// Seconds that one more prefill keeps such a worker busy: the constant of a step counts in proportion to the
    /// prefill's share of the budget.
    #[must_use]
    pub fn share_s(&self, history: f64, increment: f64, budget: f64) -> f64 {
        let share = (increment / budget.max(1.0)).min(1.0);
        (self.prefill_s(history, increment) - self.prefill_constant_s() * (1.0 - share)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::{PerfModel, PrefillSegment, Transfer};

    #[test]
    fn short_prefills_share_a_steps_constant() {
        let segment = PrefillSegment { max_increment: u64::MAX, k0: 1.0, k1: 0.1, k2: 0.0 };
        let transfer = Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 };
        let model = PerfModel { prefill: vec![segment], decode: Vec::new(), transfer };
        assert!((model.batches_s([(5.0, 10.0), (0.0, 10.0)], 20.0) - 3.0).abs() < 1e-12);
        assert!((model.batches_s([(5.0, 10.0), (0.0, 11.0)], 20.0) - 4.1).abs() < 1e-12);
        assert_eq!(model.batches_s([], 20.0), 0.0);
        assert!((model.share_s(0.0, 10.0, 20.0) - 1.5).abs() < 1e-12);
        assert!((model.share_s(0.0, 40.0, 20.0) - 5.0).abs() < 1e-12);
    }
}
