//! Distributions of lengths, counts and gaps.

use rand_distr::{Distribution, LogNormal, Uniform};

use super::WorkloadError;
use crate::random::Rng;

/// A distribution's shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Always the same.
    Fixed(f64),
    /// The logarithm is normal with this mean and deviation.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Deviation of the logarithm.
        sigma: f64,
    },
    /// As likely anywhere between two values.
    Uniform(f64, f64),
    /// The inverse of the distribution function, linear between points of probability and value; the first has
    /// probability 0 and the last 1.
    Quantiles(&'static [(f64, f64)]),
    /// Values with their probabilities.
    Weighted(&'static [(f64, f64)]),
}

/// A distribution with bounds on its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// The shape.
    pub shape: Shape,
    /// Values below count as this.
    pub least: f64,
    /// Values above count as this.
    pub most: f64,
}

impl Draw {
    /// A distribution without bounds of its own.
    #[must_use]
    pub const fn of(shape: Shape) -> Self {
        Self { shape, least: 0.0, most: 1e9 }
    }

    /// A distribution with bounds.
    #[must_use]
    pub const fn clipped(shape: Shape, least: f64, most: f64) -> Self {
        Self { shape, least, most }
    }

    /// A value.
    pub(crate) fn sample(&self, rng: &mut Rng) -> Result<f64, WorkloadError> {
        let Self { least, most, .. } = *self;
        if least.is_nan() || most.is_nan() || least > most {
            return Err(WorkloadError::Bounds { least, most });
        }
        let bad = |_| WorkloadError::Shape(self.shape);
        let unit = |rng: &mut Rng| {
            Ok(Uniform::new(0.0, 1.0).map_err(|_| WorkloadError::Shape(self.shape))?.sample(rng))
        };
        let value = match self.shape {
            Shape::Fixed(value) => value,
            Shape::LogNormal { mu, sigma } => {
                LogNormal::new(mu, sigma).map_err(|_| WorkloadError::Shape(self.shape))?.sample(rng)
            }
            Shape::Uniform(low, high) => Uniform::new_inclusive(low, high).map_err(bad)?.sample(rng),
            Shape::Quantiles(points) => inverse(points, unit(rng)?),
            Shape::Weighted(values) => weighted(values, unit(rng)?),
        };
        if value.is_finite() { Ok(value.clamp(least, most)) } else { Err(WorkloadError::Shape(self.shape)) }
    }
}

fn inverse(points: &[(f64, f64)], u: f64) -> f64 {
    for pair in points.windows(2) {
        let [(p0, v0), (p1, v1)] = [pair[0], pair[1]];
        if u <= p1 {
            return v0 + (v1 - v0) * (u - p0) / (p1 - p0);
        }
    }
    points.last().map_or(f64::NAN, |(_, value)| *value)
}

fn weighted(values: &[(f64, f64)], u: f64) -> f64 {
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mut left = u * total;
    for &(value, weight) in values {
        left -= weight;
        if left <= 0.0 {
            return value;
        }
    }
    values.last().map_or(f64::NAN, |(value, _)| *value)
}
