//! Interpolation between measured points.

use std::collections::BTreeMap;

use super::TruthError;

/// Times may fall by this much from one size to the next larger one: measurements do.
const TOLERANCE: f64 = 0.25;

/// Times over two sizes, both logarithmic.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    x: Axis,
    y: Axis,
    /// Logarithms of seconds, by x and then y.
    values: Vec<f64>,
}

/// Logarithms of the sizes that were measured, in rising order; size 0 counts as 1.
#[derive(Debug, Clone)]
struct Axis(Vec<f64>);

impl Axis {
    fn new(sizes: impl Iterator<Item = u64>) -> (Self, Vec<u64>) {
        let mut sizes: Vec<u64> = sizes.collect();
        sizes.sort_unstable();
        sizes.dedup();
        (Self(sizes.iter().map(|size| log(*size as f64)).collect()), sizes)
    }

    /// The place of a size: between which two points, and how far.
    fn place(&self, size: f64) -> (usize, f64) {
        let at = log(size);
        let above = self.0.partition_point(|point| *point <= at).clamp(1, self.0.len() - 1);
        let (low, high) = (self.0[above - 1], self.0[above]);
        // Below the smallest size nothing gets cheaper: weights are read all the same.
        (above - 1, ((at - low) / (high - low)).max(0.0))
    }
}

fn log(size: f64) -> f64 {
    size.max(1.0).ln()
}

impl Grid {
    pub(super) fn new(
        kind: &'static str,
        points: impl Iterator<Item = (u64, u64, f64)>,
    ) -> Result<Self, TruthError> {
        let mut known = BTreeMap::new();
        for (a, b, seconds) in points {
            if !(seconds.is_finite() && seconds > 0.0) {
                return Err(TruthError::Time { kind, at: (a, b), seconds });
            }
            known.insert((a.max(1), b.max(1)), seconds.ln());
        }
        let ((x, xs), (y, ys)) =
            (Axis::new(known.keys().map(|(a, _)| *a)), Axis::new(known.keys().map(|(_, b)| *b)));
        if xs.len() < 2 || ys.len() < 2 {
            return Err(TruthError::TooFew { kind });
        }
        let mut grid = Self { x, y, values: Vec::with_capacity(xs.len() * ys.len()) };
        for (i, &a) in xs.iter().enumerate() {
            for (j, &b) in ys.iter().enumerate() {
                let value = known.get(&(a, b)).copied().or_else(|| grid.extended(i, j));
                grid.values.push(value.ok_or(TruthError::TooFew { kind })?);
            }
        }
        grid.monotone(kind, &xs, &ys)?;
        Ok(grid)
    }

    /// A value that was not measured, where memory ended: as the two before it go on.
    fn extended(&self, i: usize, j: usize) -> Option<f64> {
        let along = |axis: &Axis, n: usize, value: &dyn Fn(usize) -> f64| {
            let (near, far) = (axis.0[n - 1], axis.0[n - 2]);
            let slope = (value(n - 1) - value(n - 2)) / (near - far);
            value(n - 1) + slope * (axis.0[n] - near)
        };
        let width = self.y.0.len();
        if j >= 2 {
            Some(along(&self.y, j, &|n| self.values[i * width + n]))
        } else if i >= 2 {
            Some(along(&self.x, i, &|n| self.values[n * width + j]))
        } else {
            None
        }
    }

    fn monotone(&self, kind: &'static str, xs: &[u64], ys: &[u64]) -> Result<(), TruthError> {
        for (i, &a) in xs.iter().enumerate() {
            for (j, &b) in ys.iter().enumerate() {
                let here = self.value(i, j);
                let left = (i > 0).then(|| (self.value(i - 1, j), (xs[i - 1], b)));
                let below = (j > 0).then(|| (self.value(i, j - 1), (a, ys[j - 1])));
                for (smaller_value, smaller) in left.into_iter().chain(below) {
                    if here < smaller_value - TOLERANCE {
                        return Err(TruthError::NotMonotone { kind, smaller, larger: (a, b) });
                    }
                }
            }
        }
        Ok(())
    }

    fn value(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.y.0.len() + j]
    }

    /// Seconds at these sizes.
    pub(super) fn at(&self, x: f64, y: f64) -> f64 {
        let ((i, u), (j, v)) = (self.x.place(x), self.y.place(y));
        let low = self.value(i, j) * (1.0 - v) + self.value(i, j + 1) * v;
        let high = self.value(i + 1, j) * (1.0 - v) + self.value(i + 1, j + 1) * v;
        (low * (1.0 - u) + high * u).exp()
    }

    /// Seconds at the smallest sizes.
    pub(super) fn least(&self) -> f64 {
        self.values.first().map_or(0.0, |value| value.exp())
    }
}
