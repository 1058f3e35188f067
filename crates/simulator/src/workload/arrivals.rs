//! When sessions arrive.

use rand_distr::{Distribution, Exp, Gamma};

use super::WorkloadError;
use crate::random::Rng;

/// An arrival process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Independent of one another.
    Poisson {
        /// Sessions a second.
        rate: f64,
    },
    /// In bursts: times between arrivals are gamma-distributed.
    Gamma {
        /// Sessions a second.
        rate: f64,
        /// Coefficient of variation of the times between arrivals; 1 is Poisson.
        cv: f64,
    },
    /// Poisson with a rate that swings between two values, each for half a period.
    Swinging {
        /// Mean sessions a second.
        rate: f64,
        /// Share of the mean by which the rate is above and below it, 0 to 1.
        swing: f64,
        /// Seconds of a period.
        period_s: f64,
    },
}

impl Arrivals {
    /// Sessions a second, in the mean.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let (Self::Poisson { rate } | Self::Gamma { rate, .. } | Self::Swinging { rate, .. }) = *self;
        rate
    }

    /// All arrivals before `until_s`, seconds, in order.
    pub(crate) fn before(&self, until_s: f64, rng: &mut Rng) -> Result<Vec<f64>, WorkloadError> {
        let rate = self.rate();
        if !(rate.is_finite() && rate > 0.0) {
            return Err(WorkloadError::Rate(rate));
        }
        let (mut now, mut times) = (0.0, Vec::new());
        loop {
            now += match *self {
                Self::Poisson { rate } => exponential(rate, rng)?,
                Self::Gamma { rate, cv } => {
                    let shape = 1.0 / (cv * cv);
                    let gamma =
                        Gamma::new(shape, 1.0 / (rate * shape)).map_err(|_| WorkloadError::Variation(cv))?;
                    gamma.sample(rng)
                }
                Self::Swinging { rate, swing, period_s } => {
                    if !((0.0..1.0).contains(&swing) && period_s > 0.0) {
                        return Err(WorkloadError::Swing { swing, period_s });
                    }
                    let high = (now / period_s).fract() < 0.5;
                    exponential(rate * if high { 1.0 + swing } else { 1.0 - swing }, rng)?
                }
            };
            if now >= until_s {
                return Ok(times);
            }
            times.push(now);
        }
    }
}

fn exponential(rate: f64, rng: &mut Rng) -> Result<f64, WorkloadError> {
    Ok(Exp::new(rate).map_err(|_| WorkloadError::Rate(rate))?.sample(rng))
}
