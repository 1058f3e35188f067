//! Sweeps: the same cell under several policies, splits, rates and seeds.

use super::{EvaluateError, Row, Site, Split};
use crate::cluster::Policies;
use crate::workload::Arrivals;

/// What is swept over.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Policies.
    pub policies: Vec<Policies>,
    /// Splits.
    pub splits: Vec<Split>,
    /// Arrivals.
    pub arrivals: Vec<Arrivals>,
    /// Seeds.
    pub seeds: Vec<u64>,
}

impl Sweep {
    /// How many rows there are, for whoever shows progress.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len() * self.splits.len() * self.arrivals.len() * self.seeds.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs the cell in every combination, one after the other: by policy, then split, then arrivals, then seed. Rows
    /// can be taken one by one, so that a caller may stop, or show how far it is.
    pub fn rows<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = Result<Row, EvaluateError>> + 'a {
        let seeds = move |policies: &'a Policies, split: Split, arrivals: &'a Arrivals| {
            self.seeds.iter().map(move |&seed| site.run(policies, split, arrivals, &[], seed))
        };
        let arrivals = move |policies: &'a Policies, split: Split| {
            self.arrivals.iter().flat_map(move |arrivals| seeds(policies, split, arrivals))
        };
        let splits = move |policies: &'a Policies| {
            self.splits.iter().flat_map(move |&split| arrivals(policies, split))
        };
        self.policies.iter().flat_map(splits)
    }
}

/// A mean over seeds with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % interval; infinite with a single value.
    pub half_width: f64,
}

/// 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom; with more, that of 10 is a little too wide.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

impl Interval {
    /// Of independent values: Student's interval. Of two policies, take it of the differences seed by seed: seeds give
    /// both the same sessions.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        if values.len() < 2 {
            return Self { mean, half_width: f64::INFINITY };
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let quantile = STUDENT[(values.len() - 2).min(STUDENT.len() - 1)];
        Self { mean, half_width: quantile * (variance / count).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        let interval = Interval::of(&[1.0, 2.0, 3.0]);
        assert_eq!(interval.mean, 2.0);
        assert!((interval.half_width - 4.303 / 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Interval::of(&[5.0]).half_width, f64::INFINITY);
        assert_eq!(Interval::of(&[]).mean, 0.0);
    }
}
