//! Means over the last seconds.

use std::collections::VecDeque;

/// Buckets of time that a window is made of.
const BUCKETS: i64 = 100;

/// A mean over a sliding time window (AMPD uses 10 s), in bounded memory at any rate of samples.
///
/// Samples are summed up in buckets of a hundredth of the window, and whole buckets leave it: what counts are all
/// samples of the last 99 to 100 hundredths.
#[derive(Debug, Clone)]
pub struct Window {
    bucket_s: f64,
    /// By rising index, at most [`BUCKETS`].
    buckets: VecDeque<Bucket>,
    /// Their sum and count; summed up anew whenever a bucket has left, so that no rounding outlives the window.
    total: (f64, u64),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// The bucket's number since time zero.
    index: i64,
    sum: f64,
    count: u64,
}

impl Window {
    /// A window of `span_s` seconds, which must be positive.
    #[must_use]
    pub fn new(span_s: f64) -> Self {
        Self { bucket_s: span_s / BUCKETS as f64, buckets: VecDeque::new(), total: (0.0, 0) }
    }

    /// Adds `value`, measured at `now_s`. Values that are not finite are left out.
    pub fn push(&mut self, now_s: f64, value: f64) {
        self.push_many(now_s, value, 1);
    }

    /// Adds `count` samples of the same `value`, measured at `now_s`: those of all rows of a decode step.
    pub fn push_many(&mut self, now_s: f64, value: f64, count: u64) {
        if !value.is_finite() || count == 0 {
            return;
        }
        let index = self.index(now_s);
        if self.buckets.front().is_some_and(|bucket| !in_window(bucket, index)) {
            while self.buckets.front().is_some_and(|bucket| !in_window(bucket, index)) {
                self.buckets.pop_front();
            }
            self.total = summed(self.buckets.iter());
        }
        self.total = (self.total.0 + value * count as f64, self.total.1 + count);
        match self.buckets.back_mut() {
            // Callers on several threads may come a little out of order.
            Some(last) if index <= last.index => {
                last.sum += value * count as f64;
                last.count += count;
            }
            _ => self.buckets.push_back(Bucket { index, sum: value * count as f64, count }),
        }
    }

    /// The mean of the samples in the window that ends at `now_s`; `None` without any.
    #[must_use]
    pub fn mean(&self, now_s: f64) -> Option<f64> {
        let index = self.index(now_s);
        let (sum, count) = match self.buckets.front() {
            Some(oldest) if in_window(oldest, index) => self.total,
            _ => summed(self.buckets.iter().filter(|bucket| in_window(bucket, index))),
        };
        (count > 0).then(|| sum / count as f64)
    }

    fn index(&self, now_s: f64) -> i64 {
        (now_s / self.bucket_s).floor() as i64
    }
}

fn summed<'a>(buckets: impl Iterator<Item = &'a Bucket>) -> (f64, u64) {
    buckets.fold((0.0, 0), |(sum, count), bucket| (sum + bucket.sum, count + bucket.count))
}

/// Whether a bucket counts when the window ends in the bucket of this index.
fn in_window(bucket: &Bucket, end: i64) -> bool {
    bucket.index > end.saturating_sub(BUCKETS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn many_samples_at_once_count_as_so_many() {
        let mut window = Window::new(10.0);
        window.push_many(0.0, 1.0, 3);
        window.push(0.0, 5.0);
        window.push_many(0.0, 9.0, 0);
        assert_eq!(window.mean(0.0), Some(2.0));
    }

    #[test]
    fn nonsense_is_left_out() {
        let mut window = Window::new(10.0);
        window.push(1.0, f64::NAN);
        window.push(1.0, f64::INFINITY);
        assert_eq!(window.mean(1.0), None);
        window.push(f64::NAN, 2.0);
        assert_eq!(window.mean(f64::NAN), Some(2.0));
    }

    #[test]
    fn at_a_high_rate_the_whole_window_counts_in_bounded_memory() {
        let mut window = Window::new(10.0);
        // 10000 samples a second: zeros for five seconds, then ones.
        for n in 0..100_000 {
            window.push(f64::from(n) / 1e4, f64::from(u8::from(n >= 50_000)));
            assert!(window.buckets.len() <= BUCKETS as usize);
        }
        let mean = window.mean(9.9999).unwrap();
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    proptest! {
        /// A window of 100 s has buckets of whole seconds, so that the naive mean can be told exactly.
        #[test]
        fn it_agrees_with_the_naive_mean(
            steps in prop::collection::vec((0.0..20.0f64, -1e3..1e3f64), 1..200),
            later in 0.0..150.0f64,
        ) {
            let (mut window, mut samples, mut now) = (Window::new(100.0), Vec::new(), 0.0);
            for (step, value) in steps {
                now += step;
                window.push(now, value);
                samples.push((now, value));
            }
            for end in [now, now + later] {
                let first = end.floor() - 99.0;
                let counted: Vec<f64> =
                    samples.iter().filter(|(at, _)| *at >= first).map(|(_, value)| *value).collect();
                let naive = counted.iter().sum::<f64>() / counted.len() as f64;
                match window.mean(end) {
                    Some(mean) => prop_assert!((mean - naive).abs() < 1e-9, "{mean} {naive}"),
                    None => prop_assert!(counted.is_empty()),
                }
            }
        }
    }
}
