//! Profiles: a fitted model with what it was measured on, as JSON.

use serde::{Deserialize, Serialize};

use crate::model::PerfModel;
use crate::points::Points;

/// The profile format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// How far predictions are from measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// Points compared.
    pub points: usize,
    /// Mean absolute relative error.
    pub mape: f64,
    /// Largest absolute relative error.
    pub max: f64,
}

impl Residual {
    /// Compares pairs of (predicted, measured) seconds.
    pub fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut points, mut sum, mut max) = (0, 0.0, 0.0_f64);
        for (predicted, measured) in pairs {
            let error = ((predicted - measured) / measured).abs();
            points += 1;
            sum += error;
            max = max.max(error);
        }
        Self { points, mape: if points == 0 { 0.0 } else { sum / points as f64 }, max }
    }
}

/// Residuals of the three parts of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// Of prefill times.
    pub prefill: Residual,
    /// Of decode step times.
    pub decode: Residual,
    /// Of transfer times.
    pub transfer: Residual,
}

/// A performance model with where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Format version, [`FORMAT_VERSION`].
    pub format: u32,
    /// Model name.
    pub model: String,
    /// Hex digest of the model's files.
    pub model_digest: String,
    /// Processor or accelerator.
    pub hardware: String,
    /// Engine backend.
    pub backend: String,
    /// CPU threads of the engine.
    pub threads: u32,
    /// Parallel degree (accelerators per worker); 1 on a CPU.
    pub theta: u32,
    /// When it was measured, RFC 3339.
    pub created: String,
    /// The fitted model.
    pub perf: PerfModel,
    /// How well it fits its own points.
    pub residuals: Residuals,
    /// What was measured.
    pub points: Points,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not the JSON of a profile; the message names line, column and field.
    #[error("profile is not valid")]
    Json(#[from] serde_json::Error),
    /// Written by another version.
    #[error("profile has format {got}, this version reads format {FORMAT_VERSION}: measure it again")]
    Format {
        /// The file's format.
        got: u64,
    },
    /// A value out of its range.
    #[error("profile field {field}: {what}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl Profile {
    /// Writes the profile as indented JSON.
    ///
    /// # Errors
    /// When a value cannot be written, which valid profiles never run into.
    pub fn to_json(&self) -> Result<String, ProfileError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads and checks a profile.
    ///
    /// # Errors
    /// When it is not JSON, of another format, lacks a field, or holds a value out of range.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        if let Some(got) = value.get("format").and_then(serde_json::Value::as_u64)
            && got != u64::from(FORMAT_VERSION)
        {
            return Err(ProfileError::Format { got });
        }
        let profile: Self = serde_json::from_str(text)?;
        profile.check()?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), ProfileError> {
        let bad = |field: String, what| Err(ProfileError::Field { field, what });
        if self.perf.prefill.is_empty() {
            return bad("perf.prefill".into(), "needs at least one segment");
        }
        if self.perf.decode.is_empty() {
            return bad("perf.decode".into(), "needs at least one segment");
        }
        if !self.perf.prefill.is_sorted_by_key(|s| s.max_increment) {
            return bad("perf.prefill".into(), "segments must come by rising max_increment");
        }
        if !self.perf.decode.is_sorted_by_key(|s| s.max_batch) {
            return bad("perf.decode".into(), "segments must come by rising max_batch");
        }
        let prefill = self
            .perf
            .prefill
            .iter()
            .enumerate()
            .map(|(n, s)| (format!("perf.prefill[{n}]"), [s.k0, s.k1, s.k2]));
        let decode = self
            .perf
            .decode
            .iter()
            .enumerate()
            .map(|(n, s)| (format!("perf.decode[{n}]"), [s.k0, s.k1, s.k2]));
        for (field, coefficients) in prefill.chain(decode) {
            if coefficients.iter().any(|k| !k.is_finite() || *k < 0.0) {
                return bad(field, "coefficients must be finite and not negative");
            }
        }
        let transfer = self.perf.transfer;
        if !(transfer.latency_s.is_finite() && transfer.latency_s >= 0.0) {
            return bad("perf.transfer.latency_s".into(), "must be finite and not negative");
        }
        for (field, value) in
            [("bytes_per_s", transfer.bytes_per_s), ("bytes_per_token", transfer.bytes_per_token)]
        {
            if !(value.is_finite() && value > 0.0) {
                return bad(format!("perf.transfer.{field}"), "must be finite and positive");
            }
        }
        Ok(())
    }
}
