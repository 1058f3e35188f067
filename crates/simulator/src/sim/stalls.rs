//! The lengths of a worker's last steps, which are the times between the tokens of the rounds in them.

use std::collections::VecDeque;

use crate::report::quantile;

/// Lengths of steps, as long as a round is under way that has seen them.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    seconds: VecDeque<f32>,
    /// The number of the first one.
    first: u64,
    scratch: Vec<f64>,
}

impl Stalls {
    /// Adds the step of this number; steps come in order, without gaps.
    pub(super) fn push(&mut self, number: u64, seconds: f64) {
        if self.seconds.is_empty() {
            self.first = number;
        }
        self.seconds.push_back(seconds as f32);
    }

    /// Forgets the steps before this number.
    pub(super) fn forget_before(&mut self, number: u64) {
        while self.first < number && self.seconds.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// The 99th percentile over the steps `from..until`; `None` without any.
    pub(super) fn p99(&mut self, from: u64, until: u64) -> Option<f64> {
        let from = from.max(self.first) - self.first;
        let until = until.saturating_sub(self.first).min(self.seconds.len() as u64);
        if from >= until {
            return None;
        }
        let steps = self.seconds.range(from as usize..until as usize);
        if until - from < 100 {
            return steps.copied().reduce(f32::max).map(f64::from);
        }
        self.scratch.clear();
        self.scratch.extend(steps.copied().map(f64::from));
        Some(quantile(&mut self.scratch, 0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_the_steps_of_a_round() {
        let mut stalls = Stalls::default();
        for n in 0..300_u64 {
            stalls.push(n, n as f64);
        }
        stalls.forget_before(50);
        assert_eq!(stalls.p99(100, 110), Some(109.0));
        assert_eq!(stalls.p99(100, 300), Some(297.0));
        assert_eq!(stalls.p99(0, 51), Some(50.0));
        assert_eq!(stalls.p99(300, 300), None);
    }
}
