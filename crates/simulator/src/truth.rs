//! How long steps really take, which no policy knows.

mod corrections;
mod csv;
mod error;
mod grid;

use ampd_perfmodel::{DecodePoint, PerfModel, Points, PrefillPoint, TransferPoint, fit};
use rand_distr::{Distribution, StandardNormal};

use crate::random::{Rng, stream};
pub use corrections::Corrections;
pub use csv::{PointsError, read_points};
pub use error::TruthError;
use grid::Grid;

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
