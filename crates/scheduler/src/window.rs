//! Means over the last seconds.

use std::collections::VecDeque;

/// Samples kept at most; when more arrive within the window the oldest go first.
const MAX_SAMPLES: usize = 4096;

/// A mean over a sliding time window (AMPD uses 10 s), in bounded memory.
#[derive(Debug, Clone)]
pub struct Window {
    span_s: f64,
    samples: VecDeque<(f64, f64)>,
    sum: f64,
}

impl Window {
    /// A window of `span_s` seconds.
    #[must_use]
    pub fn new(span_s: f64) -> Self {
        Self { span_s, samples: VecDeque::new(), sum: 0.0 }
    }

    /// Adds `value`, measured at `now_s`. Values that are not finite are left out.
    pub fn push(&mut self, now_s: f64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.drop_old(now_s);
        if self.samples.len() == MAX_SAMPLES {
            self.pop();
        }
        self.samples.push_back((now_s, value));
        self.sum += value;
    }

    /// The mean of the samples in the window that ends at `now_s`; `None` without any.
    pub fn mean(&mut self, now_s: f64) -> Option<f64> {
        self.drop_old(now_s);
        (!self.samples.is_empty()).then(|| self.sum / self.samples.len() as f64)
    }

    fn drop_old(&mut self, now_s: f64) {
        while self.samples.front().is_some_and(|(at, _)| *at < now_s - self.span_s) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, value)) = self.samples.pop_front() {
            self.sum -= value;
        }
        // Rounding errors of a running sum end whenever the window runs empty.
        if self.samples.is_empty() {
            self.sum = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let mut window = Window::new(10.0);
        assert_eq!(window.mean(0.0), None);
        window.push(0.0, 1.0);
        window.push(5.0, 3.0);
        assert_eq!(window.mean(9.0), Some(2.0));
        assert_eq!(window.mean(12.0), Some(3.0));
        assert_eq!(window.mean(16.0), None);
    }

    #[test]
    fn memory_is_bounded_and_nonsense_left_out() {
        let mut window = Window::new(10.0);
        for _ in 0..3 * MAX_SAMPLES {
            window.push(1.0, 2.0);
        }
        window.push(1.0, f64::NAN);
        assert_eq!(window.samples.len(), MAX_SAMPLES);
        assert_eq!(window.mean(1.0), Some(2.0));
    }
}
