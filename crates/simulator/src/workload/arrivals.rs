//! When sessions arrive.

use rand_distr::{Bernoulli, Distribution, Exp, Gamma};

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
    /// Poisson with a higher rate for a while.
    Surge {
        /// Sessions a second before and after it.
        rate: f64,
        /// How many times as many come in it; at least 1.
        factor: f64,
        /// When it begins, seconds.
        from_s: f64,
        /// When it is over, seconds.
        until_s: f64,
    },
}

impl Arrivals {
    /// Sessions a second, in the mean; outside of a surge.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let (Self::Poisson { rate }
        | Self::Gamma { rate, .. }
        | Self::Swinging { rate, .. }
        | Self::Surge { rate, .. }) = *self;
        rate
    }

    /// The same process at another rate, sessions a second.
    #[must_use]
    pub fn at(self, new: f64) -> Self {
        let mut changed = self;
        let (Self::Poisson { rate }
        | Self::Gamma { rate, .. }
        | Self::Swinging { rate, .. }
        | Self::Surge { rate, .. }) = &mut changed;
        *rate = new;
        changed
    }

    /// All arrivals before `until_s`, seconds, in order.
    pub(crate) fn before(&self, until_s: f64, rng: &mut Rng) -> Result<Vec<f64>, WorkloadError> {
        let rate = self.rate();
        if !(rate.is_finite() && rate > 0.0) {
            return Err(WorkloadError::Rate(rate));
        }
        if rate * until_s > MOST as f64 {
            return Err(WorkloadError::TooMany(MOST));
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
                    if !((0.0..1.0).contains(&swing) && period_s.is_finite() && period_s > 0.0) {
                        return Err(WorkloadError::Swing { swing, period_s });
                    }
                    exponential(rate * (1.0 + swing), rng)?
                }
                Self::Surge { rate, factor, .. } => {
                    if !(factor.is_finite() && factor >= 1.0) {
                        return Err(WorkloadError::Surge(factor));
                    }
                    exponential(rate * factor, rng)?
                }
            };
            if now >= until_s {
                return Ok(times);
            }
            if times.len() >= MOST {
                return Err(WorkloadError::TooMany(MOST));
            }
            if self.happens(now, rng)? {
                times.push(now);
            }
        }
    }

    /// Whether an arrival at the highest rate is one at the rate of that moment.
    fn happens(&self, now_s: f64, rng: &mut Rng) -> Result<bool, WorkloadError> {
        let (high, low_share) = match *self {
            Self::Poisson { .. } | Self::Gamma { .. } => return Ok(true),
            Self::Swinging { swing, period_s, .. } => {
                ((now_s / period_s).fract() < 0.5, (1.0 - swing) / (1.0 + swing))
            }
            Self::Surge { factor, from_s, until_s, .. } => (now_s >= from_s && now_s < until_s, 1.0 / factor),
        };
        let share = if high { 1.0 } else { low_share };
        let happens = Bernoulli::new(share).map_err(|_| WorkloadError::Probability(share))?;
        Ok(happens.sample(rng))
    }
}

/// Most arrivals: more than any deployment's day, and less than memory.
const MOST: usize = 50_000_000;

fn exponential(rate: f64, rng: &mut Rng) -> Result<f64, WorkloadError> {
    Ok(Exp::new(rate).map_err(|_| WorkloadError::Rate(rate))?.sample(rng))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;

    fn drawn(arrivals: &Arrivals) -> Vec<f64> {
        arrivals.before(20_000.0, &mut stream(3, "test")).unwrap()
    }

    #[test]
    fn each_process_keeps_its_mean_rate() {
        for arrivals in [
            Arrivals::Poisson { rate: 5.0 },
            Arrivals::Gamma { rate: 5.0, cv: 3.0 },
            Arrivals::Swinging { rate: 5.0, swing: 0.4, period_s: 0.1 },
            Arrivals::Swinging { rate: 5.0, swing: 0.4, period_s: 30.0 },
            Arrivals::Surge { rate: 5.0, factor: 3.0, from_s: 1e6, until_s: 2e6 },
        ] {
            let rate = drawn(&arrivals).len() as f64 / 20_000.0;
            assert!((rate / 5.0 - 1.0).abs() < 0.03, "{arrivals:?}: {rate}");
        }
    }

    #[test]
    fn in_a_surge_more_come_and_only_then() {
        let times =
            drawn(&Arrivals::Surge { rate: 1.0, factor: 3.0, from_s: 5000.0, until_s: 10_000.0 }.at(5.0));
        let within = times.iter().filter(|now_s| (5000.0..10_000.0).contains(*now_s)).count();
        assert!((within as f64 / 75_000.0 - 1.0).abs() < 0.03, "{within}");
        assert!(((times.len() - within) as f64 / 75_000.0 - 1.0).abs() < 0.03, "{}", times.len());
    }

    #[test]
    fn a_swinging_rate_swings() {
        let times = drawn(&Arrivals::Swinging { rate: 5.0, swing: 0.4, period_s: 30.0 });
        let high = times.iter().filter(|now_s| (**now_s / 30.0).fract() < 0.5).count();
        let share = high as f64 / times.len() as f64;
        assert!((share - 0.7).abs() < 0.01, "{share}");
    }
}
