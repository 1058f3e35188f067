//! How likely an objective is missed.

/// A logistic probability of missing an objective, by the predicted value as a share of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MissCurve {
    /// Share of the objective at which a miss is as likely as not.
    pub centre: f64,
    /// Width: at `centre + 3 * width` a miss is 95 % certain.
    pub width: f64,
}

/// Beyond this many widths from the centre a miss is certain or impossible: what the curve still has there, 0.0025, is
/// less than any prediction is worth, and most rounds are there, where no exponential is needed.
const CERTAIN: f64 = 6.0;

impl MissCurve {
    /// For times to first token at a decision: others decide at the same time, and queues are reordered.
    pub const TTFT_ROUTED: Self = Self { centre: 0.9, width: 0.16 };
    /// For times to first token on the worker itself, which knows its queue.
    pub const TTFT_PACED: Self = Self { centre: 0.97, width: 0.04 };
    /// For mean times between tokens: most of a round's mean is measured already.
    pub const ITL: Self = Self { centre: 1.0, width: 0.03 };

    /// The probability that a value predicted at `share` of its objective misses it; certain where that is not a
    /// number.
    #[must_use]
    pub fn probability(&self, share: f64) -> f64 {
        let distance = (share - self.centre) / self.width;
        if distance <= -CERTAIN {
            0.0
        } else if distance < CERTAIN {
            1.0 / (1.0 + (-distance).exp())
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_from_never_to_certain() {
        let curve = MissCurve { centre: 1.0, width: 0.05 };
        assert_eq!((curve.probability(0.5), curve.probability(1.5)), (0.0, 1.0));
        assert!((curve.probability(1.0) - 0.5).abs() < 1e-12);
        assert!(curve.probability(0.95) < curve.probability(1.05));
        assert_eq!(curve.probability(f64::NAN), 1.0);
        assert_eq!(curve.probability(f64::INFINITY), 1.0);
    }
}
