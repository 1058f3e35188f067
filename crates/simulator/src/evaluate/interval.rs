//! Means with their uncertainty.

use serde::Serialize;

/// A mean over seeds with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % interval; infinite, in JSON `null`, with a single value.
    pub half_width: f64,
}

/// 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom; with more, that of 10 is a little too wide.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

impl Interval {
    /// Of independent values: Student's interval. Of two policies, take it of the differences or ratios seed by seed:
    /// seeds give both the same sessions.
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

/// The mean over the cells, seed by seed; with the least number of seeds that any cell has.
#[must_use]
pub fn mean_by_seed(cells: &[Vec<f64>]) -> Vec<f64> {
    let seeds = cells.iter().map(Vec::len).min().unwrap_or(0);
    (0..seeds).map(|seed| cells.iter().map(|cell| cell[seed]).sum::<f64>() / cells.len() as f64).collect()
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

    #[test]
    fn cells_are_averaged_seed_by_seed() {
        assert_eq!(mean_by_seed(&[vec![1.0, 2.0], vec![3.0, 4.0, 9.0]]), [2.0, 3.0]);
        assert!(mean_by_seed(&[]).is_empty());
    }
}
