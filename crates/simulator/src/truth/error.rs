//! What can be wrong with measurements.

use ampd_perfmodel::FitError;

/// Measurements that give no truth.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TruthError {
    /// Not enough to interpolate.
    #[error("{kind} needs measurements at two sizes at least in both directions")]
    TooFew {
        /// `prefill` or `decode`.
        kind: &'static str,
    },
    /// A time that is none.
    #[error("{kind} lasts {seconds} s at {at:?}, it must be a positive number")]
    Time {
        /// `prefill` or `decode`.
        kind: &'static str,
        /// History and increment, or batch and context.
        at: (u64, u64),
        /// The time.
        seconds: f64,
    },
    /// A size that grows while the time falls by more than noise can explain.
    #[error("{kind} takes less time at {larger:?} than at {smaller:?}: the profile is not monotone")]
    NotMonotone {
        /// `prefill` or `decode`.
        kind: &'static str,
        /// The smaller size.
        smaller: (u64, u64),
        /// The larger size.
        larger: (u64, u64),
    },
    /// A correction out of its range.
    #[error("{field} is {value}, it must be {wanted}")]
    Correction {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// No model can be fitted to what is measured of it.
    #[error("no model can be fitted")]
    Fit(#[from] FitError),
}
