//! Fitting a model to measured points.

use crate::model::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use crate::nnls;
use crate::points::{DecodePoint, Points, PrefillPoint, TransferPoint};
use crate::profile::{Residual, Residuals};

/// Borders between prefill segments, tokens of increment, after where measured curves bend (matrix products change
/// from memory-bound to compute-bound).
const PREFILL_BORDERS: [u64; 4] = [64, 512, 4096, u64::MAX];
/// Borders between decode segments, rows.
const DECODE_BORDERS: [u64; 3] = [4, 64, u64::MAX];
/// Points that a segment needs; with fewer it joins the next one.
const MIN_POINTS: usize = 4;

/// Why no model could be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Too few points of one kind.
    #[error("{kind} needs at least {needed} measured points, got {got}")]
    TooFewPoints {
        /// `prefill`, `decode` or `transfer`.
        kind: &'static str,
        /// Points needed.
        needed: usize,
        /// Points given.
        got: usize,
    },
    /// A point that cannot be a measurement.
    #[error("{kind} point {index} has {what}")]
    BadPoint {
        /// `prefill`, `decode` or `transfer`.
        kind: &'static str,
        /// Index among the points of its kind.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A size that must be positive is not.
    #[error("bytes per token is {0}, it must be positive")]
    BytesPerToken(f64),
}

/// Fits a model to `points` by non-negative least squares on relative errors, one segment at a time, and reports how far
/// it is from them. `bytes_per_token` is the KV size of one token in all layers.
///
/// # Errors
/// When a kind has too few points, or a point is no measurement.
pub fn fit(points: &Points, bytes_per_token: f64) -> Result<(PerfModel, Residuals), FitError> {
    if !(bytes_per_token.is_finite() && bytes_per_token > 0.0) {
        return Err(FitError::BytesPerToken(bytes_per_token));
    }
    check("prefill", 3, points.prefill.iter().map(|p| (p.increment, p.seconds)))?;
    check("decode", 2, points.decode.iter().map(|p| (p.batch, p.seconds)))?;
    check("transfer", 2, points.transfer.iter().map(|p| (p.tokens, p.seconds)))?;
    let model = PerfModel {
        prefill: fit_prefill(&points.prefill),
        decode: fit_decode(&points.decode),
        transfer: fit_transfer(&points.transfer, bytes_per_token),
    };
    let prefill =
        points.prefill.iter().map(|p| (model.prefill_s(p.history as f64, p.increment as f64), p.seconds));
    let decode = points.decode.iter().map(|p| (model.decode_s(p.batch as f64, p.context as f64), p.seconds));
    let transfer = points.transfer.iter().map(|p| (model.transfer_s(p.tokens as f64), p.seconds));
    let residuals = Residuals {
        prefill: Residual::of(prefill),
        decode: Residual::of(decode),
        transfer: Residual::of(transfer),
    };
    Ok((model, residuals))
}

fn check(
    kind: &'static str,
    needed: usize,
    points: impl ExactSizeIterator<Item = (u64, f64)>,
) -> Result<(), FitError> {
    if points.len() < needed {
        return Err(FitError::TooFewPoints { kind, needed, got: points.len() });
    }
    for (index, (size, seconds)) in points.enumerate() {
        if size == 0 {
            return Err(FitError::BadPoint { kind, index, what: "a size of zero" });
        }
        if !(seconds.is_finite() && seconds > 0.0) {
            return Err(FitError::BadPoint {
                kind,
                index,
                what: "a time that is not a positive number of seconds",
            });
        }
    }
    Ok(())
}

/// Cuts `points` at `borders`; a part with too few points joins the part above it, the last joins the one below.
fn segments<P: Copy>(points: &[P], borders: &[u64], size: impl Fn(&P) -> u64) -> Vec<(u64, Vec<P>)> {
    let mut parts: Vec<(u64, Vec<P>)> = Vec::new();
    let (mut pending, mut low) = (Vec::new(), 0);
    for &border in borders {
        pending.extend(points.iter().copied().filter(|p| size(p) > low && size(p) <= border));
        low = border;
        if pending.len() >= MIN_POINTS {
            parts.push((border, std::mem::take(&mut pending)));
        }
    }
    match parts.last_mut() {
        Some(last) => {
            last.0 = u64::MAX;
            last.1.extend(pending);
        }
        None => parts.push((u64::MAX, pending)),
    }
    parts
}

fn fit_prefill(points: &[PrefillPoint]) -> Vec<PrefillSegment> {
    let fit_part = |(max_increment, part): (u64, Vec<PrefillPoint>)| {
        let rows: Vec<[f64; 3]> = part
            .iter()
            .map(|p| {
                let (h, i) = (p.history as f64, p.increment as f64);
                [1.0 / p.seconds, i / p.seconds, i * (h + i / 2.0) / p.seconds]
            })
            .collect();
        let [k0, k1, k2] = nnls::solve(&rows, &vec![1.0; rows.len()]);
        PrefillSegment { max_increment, k0, k1, k2 }
    };
    segments(points, &PREFILL_BORDERS, |p| p.increment).into_iter().map(fit_part).collect()
}

fn fit_decode(points: &[DecodePoint]) -> Vec<DecodeSegment> {
    let fit_part = |(max_batch, part): (u64, Vec<DecodePoint>)| {
        let rows: Vec<[f64; 3]> = part
            .iter()
            .map(|p| {
                let (b, c) = (p.batch as f64, p.context as f64);
                [1.0 / p.seconds, b / p.seconds, b * c / p.seconds]
            })
            .collect();
        let [k0, k1, k2] = nnls::solve(&rows, &vec![1.0; rows.len()]);
        DecodeSegment { max_batch, k0, k1, k2 }
    };
    segments(points, &DECODE_BORDERS, |p| p.batch).into_iter().map(fit_part).collect()
}

/// Bandwidth that stands for "too fast to measure", bytes per second.
const MAX_BANDWIDTH: f64 = 1e13;

fn fit_transfer(points: &[TransferPoint], bytes_per_token: f64) -> Transfer {
    let rows: Vec<[f64; 2]> =
        points.iter().map(|p| [1.0 / p.seconds, p.tokens as f64 * bytes_per_token / p.seconds]).collect();
    let [latency_s, seconds_per_byte] = nnls::solve(&rows, &vec![1.0; rows.len()]);
    Transfer { latency_s, bytes_per_s: (1.0 / seconds_per_byte).min(MAX_BANDWIDTH), bytes_per_token }
}
