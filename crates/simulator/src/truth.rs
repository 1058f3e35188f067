//! How long steps really take, which no policy knows.

mod csv;
mod grid;

use ampd_perfmodel::{DecodePoint, FitError, PerfModel, Points, PrefillPoint, TransferPoint, fit};
use rand_distr::{Distribution, StandardNormal};

use crate::random::{Rng, stream};
pub use csv::{PointsError, read_points};
use grid::Grid;

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

    fn check(&self) -> Result<(), TruthError> {
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

#[derive(Debug, Clone)]
enum Source {
    /// Measured points, interpolated.
    Points(Box<[Grid; 2]>),
    /// A model's own formulas.
    Model(PerfModel),
}

/// The times of a worker type's steps.
#[derive(Debug, Clone)]
pub struct Truth {
    source: Source,
    corrections: Corrections,
    /// Smallest prefill and decode step, whose smaller one a mixed step saves.
    shared_s: f64,
}

impl Truth {
    /// Interpolates measured points: linear in the logarithms of both sizes and of the time. Sizes beyond the measured
    /// ones go on as the last two do.
    ///
    /// # Errors
    /// When there are too few points, a time is none, times fall with size, or a correction is out of range.
    pub fn from_points(points: &Points, corrections: Corrections) -> Result<Self, TruthError> {
        corrections.check()?;
        let prefill = points.prefill.iter().map(|p| (p.history, p.increment, p.seconds));
        let decode = points.decode.iter().map(|p| (p.batch, p.context, p.seconds));
        let grids = [Grid::new("prefill", prefill)?, Grid::new("decode", decode)?];
        Ok(Self::with(Source::Points(Box::new(grids)), corrections))
    }

    /// Takes a model at its word: a machine's own profile, or formulas with a closed form.
    ///
    /// # Errors
    /// When a correction is out of range.
    pub fn from_model(model: PerfModel, corrections: Corrections) -> Result<Self, TruthError> {
        corrections.check()?;
        Ok(Self::with(Source::Model(model), corrections))
    }

    fn with(source: Source, corrections: Corrections) -> Self {
        let mut truth = Self { source, corrections, shared_s: 0.0 };
        truth.shared_s = match &truth.source {
            Source::Model(model) => {
                let decode = model.decode.first().map_or(0.0, |segment| segment.k0);
                (model.prefill_constant_s() * corrections.prefill_factor)
                    .min(decode + corrections.decode_extra_s)
            }
            Source::Points(grids) => {
                let [prefill, decode] = grids.as_ref();
                (prefill.least() * corrections.prefill_factor)
                    .min(decode.least() + corrections.decode_extra_s)
            }
        };
        truth
    }

    /// Seconds of a prefill step of parts with these sums: tokens, and pairs of query and key. It is taken for one part
    /// with as many of both; where there are fewer pairs than one part without history has, it counts as that.
    #[must_use]
    pub fn prefill_s(&self, tokens: f64, pairs: f64) -> f64 {
        if tokens <= 0.0 {
            return 0.0;
        }
        // The history of one part with as many pairs.
        let history = (pairs / tokens - tokens / 2.0).max(0.0);
        let seconds = match &self.source {
            Source::Points(grids) => grids[0].at(history, tokens),
            Source::Model(model) => model.prefill_s(history, tokens),
        };
        seconds * self.corrections.prefill_factor
    }

    /// Seconds of a decode step of `batch` rows with a mean context of `context` tokens.
    #[must_use]
    pub fn decode_s(&self, batch: f64, context: f64) -> f64 {
        if batch <= 0.0 {
            return 0.0;
        }
        let seconds = match &self.source {
            Source::Points(grids) => grids[1].at(batch, context),
            Source::Model(model) => model.decode_s(batch, context),
        };
        seconds + self.corrections.decode_extra_s
    }

    /// Seconds of a step with rows and prefill parts: both read the same weights, so that the smaller constant is paid
    /// once only.
    #[must_use]
    pub fn mixed_s(&self, batch: f64, context: f64, tokens: f64, pairs: f64) -> f64 {
        let (decode, prefill) = (self.decode_s(batch, context), self.prefill_s(tokens, pairs));
        if decode == 0.0 || prefill == 0.0 {
            return decode + prefill;
        }
        decode + prefill - self.shared_s.min(decode).min(prefill)
    }

    /// A factor by which a step deviates.
    pub(crate) fn noise(&self, rng: &mut Rng) -> f64 {
        if self.corrections.noise == 0.0 {
            return 1.0;
        }
        let normal: f64 = StandardNormal.sample(rng);
        (self.corrections.noise * normal).exp()
    }

    /// What a profiler that measures this truth once, with its noise, tells: a fitted model. Transfers are told as they
    /// are configured.
    ///
    /// # Errors
    /// When no model can be fitted.
    pub fn profile(
        &self,
        transfers: [TransferPoint; 2],
        bytes_per_token: f64,
        seed: u64,
    ) -> Result<PerfModel, TruthError> {
        let mut rng = stream(seed, "profile");
        let mut points = Points { transfer: transfers.to_vec(), ..Points::default() };
        for history in [0, 512, 2048, 8192, 32_768] {
            for increment in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192] {
                let (h, i) = (history as f64, increment as f64);
                let seconds = self.prefill_s(i, i * (h + i / 2.0)) * self.noise(&mut rng);
                points.prefill.push(PrefillPoint { history, increment, seconds });
            }
        }
        for context in [256, 1024, 4096, 16_384] {
            for batch in [1, 2, 4, 8, 16, 32, 64, 96, 128, 192] {
                let seconds = self.decode_s(batch as f64, context as f64) * self.noise(&mut rng);
                points.decode.push(DecodePoint { batch, context, seconds });
            }
        }
        Ok(fit(&points, bytes_per_token)?.0)
    }
}
