//! The performance model: how long a prefill, a decode step and a KV transfer take, in seconds.
//!
//! The forms are piecewise alpha-beta fits after AMPD (arXiv 2602.14516), with the context term that decode and
//! incremental prefill need and the paper leaves out: see [`PerfModel`]. Everything here is pure: measured points come
//! in, predictions go out.

mod batches;
mod calibration;
mod fit;
mod model;
mod nnls;
mod points;
mod profile;
mod reference;

pub use calibration::Calibration;
pub use fit::{FitError, fit};
pub use model::{DecodeSegment, PerfModel, PrefillSegment, Transfer, sane};
pub use points::{DecodePoint, Points, PrefillPoint, TransferPoint};
pub use profile::{FORMAT_VERSION, Profile, ProfileError, Residual, Residuals};
pub use reference::{REFERENCE_ROWS, REFERENCE_TOKENS, Reference};
