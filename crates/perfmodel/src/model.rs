//! The fitted model and its predictions.

use serde::{Deserialize, Serialize};

/// Prefill cost for increments of up to `max_increment` tokens, and never below that of the segment before at its
/// border: `k0 + k1 * i + k2 * i * (h + i / 2)` seconds for an increment of `i` tokens on a history of `h`.
///
/// `k1` is the cost of the matrix products per token, `k2` that of attention per pair of query and key; `i * (h + i/2)`
/// counts those pairs under the causal mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillSegment {
    /// Largest increment, tokens, that the segment serves; the last segment also serves all longer ones.
    pub max_increment: u64,
    /// Seconds of a prefill whatever its size.
    pub k0: f64,
    /// Seconds per token.
    pub k1: f64,
    /// Seconds per pair of query and key.
    pub k2: f64,
}

/// Decode cost for batches of up to `max_batch` rows, and never below that of the segment before at its border:
/// `k0 + k1 * b + k2 * b * c` seconds a step for `b` rows with a mean context of `c` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeSegment {
    /// Largest batch, rows, that the segment serves; the last segment also serves all larger ones.
    pub max_batch: u64,
    /// Seconds of a step whatever its size.
    pub k0: f64,
    /// Seconds per row.
    pub k1: f64,
    /// Seconds per row and token of context.
    pub k2: f64,
}

/// KV transfer cost: `latency_s + tokens * bytes_per_token / bytes_per_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Seconds of a transfer whatever its size.
    pub latency_s: f64,
    /// Bandwidth, bytes per second.
    pub bytes_per_s: f64,
    /// KV bytes of one token, all layers.
    pub bytes_per_token: f64,
}

/// The performance model of one worker type: model, hardware and parallel degree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerfModel {
    /// Prefill segments, by rising `max_increment`; never empty.
    pub prefill: Vec<PrefillSegment>,
    /// Decode segments, by rising `max_batch`; never empty.
    pub decode: Vec<DecodeSegment>,
    /// KV transfer.
    pub transfer: Transfer,
}

/// Not a number, infinite and negative inputs count as zero: predictions and signals feed decisions that must always be
/// made.
#[must_use]
pub fn sane(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 { value } else { 0.0 }
}

/// The cost at `size` by segments with these largest sizes, in rising order; the last one also serves all larger sizes.
/// `cost` gives that of one segment at a size. Segments are fitted one by one and do not meet at their borders: where
/// one begins below the end of the one before it, the cost stays at that end, so that it never falls as the size grows.
fn piecewise<S>(
    segments: &[S],
    size: f64,
    largest: impl Fn(&S) -> u64,
    cost: impl Fn(&S, f64) -> f64,
) -> f64 {
    let Some((last, others)) = segments.split_last() else { return 0.0 };
    let mut floor: f64 = 0.0;
    for segment in others {
        let border = largest(segment) as f64;
        floor = floor.max(cost(segment, size.min(border)));
        if size <= border {
            return floor;
        }
    }
    floor.max(cost(last, size))
}

impl PerfModel {
    /// Seconds to prefill `increment` tokens on `history` tokens of KV; zero for an empty increment.
    #[must_use]
    pub fn prefill_s(&self, history: f64, increment: f64) -> f64 {
        self.prefill_batch_s(&[(history, increment)])
    }

    /// Seconds to prefill several `(history, increment)` parts as one batch: one constant, the per-token terms by the
    /// sum of increments and the attention terms by the sum of their pairs.
    #[must_use]
    pub fn prefill_batch_s(&self, parts: &[(f64, f64)]) -> f64 {
        let (mut tokens, mut pairs) = (0.0, 0.0);
        for &(history, increment) in parts {
            let (history, increment) = (sane(history), sane(increment));
            tokens += increment;
            pairs += increment * (history + increment / 2.0);
        }
        if tokens == 0.0 {
            return 0.0;
        }
        // The history of one part with as many pairs; below zero where many parts have short ones.
        let history = pairs / tokens - tokens / 2.0;
        piecewise(
            &self.prefill,
            tokens,
            |segment| segment.max_increment,
            |segment, size| {
                let pairs = if size < tokens { size * sane(history + size / 2.0) } else { pairs };
                segment.k0 + segment.k1 * size + segment.k2 * pairs
            },
        )
    }

    /// Seconds of one decode step of `batch` rows with a mean context of `mean_context` tokens; zero for an empty
    /// batch.
    #[must_use]
    pub fn decode_s(&self, batch: f64, mean_context: f64) -> f64 {
        let (batch, context) = (sane(batch), sane(mean_context));
        if batch == 0.0 {
            return 0.0;
        }
        piecewise(
            &self.decode,
            batch,
            |segment| segment.max_batch,
            |segment, size| segment.k0 + segment.k1 * size + segment.k2 * size * context,
        )
    }

    /// Seconds of a step that decodes `batch` rows and prefills `(history, increment)` parts beside them: both read the
    /// same weights, so that the smaller of the two constants is paid once only. Without rows it is a prefill, without
    /// parts a decode step.
    #[must_use]
    pub fn mixed_s(&self, batch: f64, mean_context: f64, parts: &[(f64, f64)]) -> f64 {
        let (decode, prefill) = (self.decode_s(batch, mean_context), self.prefill_batch_s(parts));
        if decode == 0.0 || prefill == 0.0 {
            return decode + prefill;
        }
        let (own, other) = (self.prefill_constant_s(), self.decode.first().map_or(0.0, |s| s.k0));
        decode + prefill - sane(own.min(other)).min(decode).min(prefill)
    }

    /// Seconds that a prefill step takes whatever its size.
    #[must_use]
    pub fn prefill_constant_s(&self) -> f64 {
        self.prefill.first().map_or(0.0, |segment| segment.k0)
    }

    /// Seconds to move the KV of `tokens` tokens; zero for none.
    #[must_use]
    pub fn transfer_s(&self, tokens: f64) -> f64 {
        let tokens = sane(tokens);
        if tokens == 0.0 {
            return 0.0;
        }
        self.transfer.latency_s + tokens * self.transfer.bytes_per_token / self.transfer.bytes_per_s
    }

    /// The model with every prefill and decode coefficient scaled by the measured ratios of `calibration`.
    #[must_use]
    pub fn calibrated(&self, calibration: &crate::Calibration) -> Self {
        self.scaled(calibration.prefill_ratio(), calibration.decode_ratio())
    }

    /// The model with every prefill and every decode coefficient scaled by a ratio of its own.
    pub(crate) fn scaled(&self, prefill_ratio: f64, decode_ratio: f64) -> Self {
        let prefill = self.prefill.iter().map(|s| PrefillSegment {
            k0: s.k0 * prefill_ratio,
            k1: s.k1 * prefill_ratio,
            k2: s.k2 * prefill_ratio,
            ..*s
        });
        let decode = self.decode.iter().map(|s| DecodeSegment {
            k0: s.k0 * decode_ratio,
            k1: s.k1 * decode_ratio,
            k2: s.k2 * decode_ratio,
            ..*s
        });
        Self { prefill: prefill.collect(), decode: decode.collect(), transfer: self.transfer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> PerfModel {
        PerfModel {
            prefill: vec![
                PrefillSegment { max_increment: 64, k0: 0.01, k1: 1e-4, k2: 1e-7 },
                PrefillSegment { max_increment: 512, k0: 0.012, k1: 9e-5, k2: 1e-7 },
            ],
            decode: vec![DecodeSegment { max_batch: 8, k0: 0.005, k1: 1e-3, k2: 1e-6 }],
            transfer: Transfer { latency_s: 1e-3, bytes_per_s: 1e9, bytes_per_token: 1e4 },
        }
    }

    #[test]
    fn formulas_hold_term_by_term() {
        let m = model();
        let expected = 0.01 + 1e-4 * 10.0 + 1e-7 * 10.0 * 105.0;
        assert!((m.prefill_s(100.0, 10.0) - expected).abs() < 1e-12);
        assert!((m.decode_s(4.0, 100.0) - (0.005 + 4e-3 + 4e-4)).abs() < 1e-12);
        assert!((m.transfer_s(100.0) - (1e-3 + 1e-3)).abs() < 1e-12);
    }

    #[test]
    fn sizes_beyond_the_last_segment_use_it() {
        let m = model();
        assert!(m.prefill_s(0.0, 5000.0) > m.prefill_s(0.0, 512.0));
        assert!(m.decode_s(100.0, 10.0) > m.decode_s(8.0, 10.0));
    }

    #[test]
    fn a_batch_pays_the_constant_once() {
        let m = model();
        let alone = m.prefill_s(0.0, 20.0) + m.prefill_s(50.0, 20.0);
        assert!(m.prefill_batch_s(&[(0.0, 20.0), (50.0, 20.0)]) < alone);
    }

    #[test]
    fn a_mixed_step_reads_the_weights_once() {
        let m = model();
        let (decode, prefill) = (m.decode_s(4.0, 100.0), m.prefill_s(50.0, 20.0));
        assert!((m.mixed_s(4.0, 100.0, &[(50.0, 20.0)]) - (decode + prefill - 0.005)).abs() < 1e-12);
        assert_eq!(m.mixed_s(0.0, 0.0, &[(50.0, 20.0)]), prefill);
        assert_eq!(m.mixed_s(4.0, 100.0, &[]), decode);
    }

    #[test]
    fn a_segment_that_begins_too_low_stays_at_the_end_of_the_one_before() {
        let mut m = model();
        m.prefill[1].k0 = 0.0;
        m.prefill.push(PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 0.0, k2: 0.0 });
        let (first, second) = (m.prefill_s(100.0, 64.0), m.prefill_s(100.0, 512.0));
        assert_eq!(m.prefill_s(100.0, 65.0), first);
        assert!(second > first);
        assert_eq!(m.prefill_s(100.0, 5000.0), second);
        m.decode.push(DecodeSegment { max_batch: 64, k0: 0.0, k1: 1e-4, k2: 0.0 });
        assert_eq!(m.decode_s(9.0, 100.0), m.decode_s(8.0, 100.0));
    }

    #[test]
    fn calibration_scales_prefill_and_decode_and_leaves_transfers() {
        let (m, mut calibration) = (model(), crate::Calibration::default());
        assert_eq!(m.calibrated(&calibration), m);
        for _ in 0..500 {
            calibration.prefill(1.0, 2.0);
            calibration.decode(1.0, 0.5);
        }
        let c = m.calibrated(&calibration);
        for (history, increment) in [(0.0, 10.0), (100.0, 300.0), (1e4, 9000.0)] {
            assert!((c.prefill_s(history, increment) / m.prefill_s(history, increment) - 2.0).abs() < 1e-6);
        }
        assert!((c.decode_s(4.0, 100.0) / m.decode_s(4.0, 100.0) - 0.5).abs() < 1e-6);
        assert_eq!(c.transfer_s(100.0), m.transfer_s(100.0));
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        let m = model();
        assert_eq!(m.prefill_s(f64::NAN, f64::NAN), 0.0);
        assert_eq!(m.decode_s(-3.0, 10.0), 0.0);
        assert_eq!(m.transfer_s(f64::INFINITY), 0.0);
    }
}
