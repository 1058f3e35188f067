//! What lies between composed measurements and a real engine.

use super::TruthError;

/// What lies between composed measurements and a real engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrections {
    /// Prefill times are multiplied by this.
    pub prefill_factor: f64,
    /// Added to every decode step, seconds.
    pub decode_extra_s: f64,
    /// Deviation of the logarithm of every step's time.
    pub noise: f64,
}

impl Corrections {
    /// Measured points as they are, without noise.
    pub const NONE: Self = Self { prefill_factor: 1.0, decode_extra_s: 0.0, noise: 0.0 };
    /// What runs of vLLM on H100 show over operators composed: prefill 1.2 times (one report, Llama-3.3-70B on four of
    /// them), a decode step 2 ms longer (`AIConfigurator`'s measured rows of Qwen3-32B). That steps scatter by 4 % is
    /// assumed.
    pub const ENGINE: Self = Self { prefill_factor: 1.2, decode_extra_s: 0.002, noise: 0.04 };

    pub(super) fn check(&self) -> Result<(), TruthError> {
        let fields = [
            ("prefill_factor", self.prefill_factor, self.prefill_factor > 0.0, "positive"),
            ("decode_extra_s", self.decode_extra_s, self.decode_extra_s >= 0.0, "zero or more"),
            ("noise", self.noise, (0.0..=1.0).contains(&self.noise), "from 0 to 1"),
        ];
        match fields.into_iter().find(|(_, value, good, _)| !(value.is_finite() && *good)) {
            Some((field, value, _, wanted)) => Err(TruthError::Correction { field, value, wanted }),
            None => Ok(()),
        }
    }
}
