//! Log-probabilities of a row of logits.

/// The distribution of one row of logits, unmodified by any sampling parameter.
pub struct Distribution<'a> {
    logits: &'a [f32],
    /// Logarithm of the sum of the exponentials.
    log_sum: f64,
}

impl<'a> Distribution<'a> {
    /// The distribution of finite logits.
    #[must_use]
    pub fn new(logits: &'a [f32]) -> Self {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        Self { logits, log_sum: f64::from(highest) + sum.ln() }
    }

    /// The token's natural log-probability.
    #[must_use]
    pub fn logprob(&self, id: u32) -> f32 {
        (f64::from(self.logits[id as usize]) - self.log_sum) as f32
    }

    /// The `count` most likely tokens, most likely first, lower ids first among equals.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<(u32, f32)> {
        let order = |a: &u32, b: &u32| {
            self.logits[*b as usize].total_cmp(&self.logits[*a as usize]).then_with(|| a.cmp(b))
        };
        if count == 0 {
            return Vec::new();
        }
        let mut ids: Vec<u32> = (0..self.logits.len() as u32).collect();
        if count < ids.len() {
            ids.select_nth_unstable_by(count - 1, order);
            ids.truncate(count);
        }
        ids.sort_unstable_by(order);
        ids.into_iter().map(|id| (id, self.logprob(id))).collect()
    }
}
