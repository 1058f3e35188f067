//! Non-negative least squares for a handful of unknowns.

/// Sweeps of coordinate descent at most; the problems here have two or three unknowns and settle in far fewer.
const MAX_SWEEPS: usize = 20_000;
/// A sweep that changes no unknown by more than this share of its size ends the descent.
const TOLERANCE: f64 = 1e-12;

/// Minimises `sum((row . x - target)^2)` over `x >= 0` by exact coordinate descent on the normal equations, with each
/// column scaled to unit length first. The problem is convex, so that the descent ends in a global minimum.
pub(crate) fn solve<const N: usize>(rows: &[[f64; N]], targets: &[f64]) -> [f64; N] {
    let mut scale = [0.0; N];
    for row in rows {
        for (total, value) in scale.iter_mut().zip(row) {
            *total += value * value;
        }
    }
    let scale = scale.map(|total: f64| if total > 0.0 { total.sqrt() } else { 1.0 });
    let (mut gram, mut rhs) = ([[0.0; N]; N], [0.0; N]);
    for (row, target) in rows.iter().zip(targets) {
        for i in 0..N {
            rhs[i] += row[i] / scale[i] * target;
            for j in 0..N {
                gram[i][j] += row[i] / scale[i] * row[j] / scale[j];
            }
        }
    }
    let mut x = [0.0; N];
    for _ in 0..MAX_SWEEPS {
        let mut change: f64 = 0.0;
        for i in 0..N {
            if gram[i][i] <= 0.0 {
                continue;
            }
            let residual: f64 = rhs[i] - (0..N).map(|j| gram[i][j] * x[j]).sum::<f64>();
            let next = f64::max(0.0, x[i] + residual / gram[i][i]);
            change = change.max((next - x[i]).abs() / next.abs().max(1e-30));
            x[i] = next;
        }
        if change < TOLERANCE {
            break;
        }
    }
    for (value, factor) in x.iter_mut().zip(scale) {
        *value /= factor;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::solve;

    #[test]
    fn it_finds_planted_coefficients() {
        let rows: Vec<[f64; 3]> = (1..20).map(|i| [1.0, f64::from(i), f64::from(i * i % 7)]).collect();
        let targets: Vec<f64> = rows.iter().map(|r| 0.5 * r[0] + 2.0 * r[1] + 0.25 * r[2]).collect();
        let x = solve(&rows, &targets);
        for (found, planted) in x.iter().zip([0.5, 2.0, 0.25]) {
            assert!((found - planted).abs() < 1e-6, "{x:?}");
        }
    }

    #[test]
    fn it_never_goes_below_zero() {
        let rows = [[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]];
        let x = solve(&rows, &[1.0, 3.0, 5.0]);
        assert!(x[0] == 0.0 && x[1] > 0.0, "{x:?}");
    }
}
