//! How long outputs are: what is still to come of a round that has had so many tokens, by the rounds before it.

use std::sync::LazyLock;

/// Lengths are counted in steps of an eighth of an octave: 128 of them reach to 65,536 tokens.
const PER_OCTAVE: f64 = 8.0;
const CLASSES: usize = 128;
/// After so many rounds the counts are halved, so that what is expected follows the load.
const MEMORY: f64 = 2000.0;

/// A histogram of output lengths that forgets.
#[derive(Debug, Clone)]
pub struct OutputLengths {
    counts: [f64; CLASSES],
    total: f64,
    /// Expected further tokens by class of the tokens so far, kept up to date now and then.
    expected: [f64; CLASSES],
    since: u32,
}

/// Output tokens that are expected before any round has ended.
const FIRST_GUESS: f64 = 100.0;

impl Default for OutputLengths {
    /// A histogram that has seen nothing and expects a hundred tokens.
    fn default() -> Self {
        Self::new(FIRST_GUESS)
    }
}

impl OutputLengths {
    /// A histogram that expects `mean` tokens, with the residuals of an exponential distribution, until it has seen
    /// some rounds.
    #[must_use]
    pub fn new(mean: f64) -> Self {
        Self { counts: [0.0; CLASSES], total: 0.0, expected: [mean.max(1.0); CLASSES], since: 0 }
    }

    /// Takes in a round that has ended after `tokens` output tokens.
    pub fn ended(&mut self, tokens: u32) {
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
        self.counts[class(tokens)] += 1.0;
        self.total += 1.0;
        self.since += 1;
        // The table is a sum over all classes; every round would pay for it.
        if self.since >= 32 {
            self.since = 0;
            self.refresh();
        }
    }

    /// The mean number of tokens that follow when `tokens` have come.
    #[must_use]
    pub fn expected(&self, tokens: u32) -> f64 {
        self.expected[class(tokens)]
    }

    fn refresh(&mut self) {
        let (mut count, mut sum) = (0.0, 0.0);
        for index in (0..CLASSES).rev() {
            let middle = ((index as f64 + 0.5) / PER_OCTAVE).exp2();
            if count > 0.0 {
                self.expected[index] = (sum / count - middle).max(1.0);
            } else {
                // Nothing was ever longer: expect a little more, as of any round that drags on.
                self.expected[index] = (middle / 8.0).max(1.0);
            }
            count += self.counts[index];
            sum += self.counts[index] * middle;
        }
    }
}

/// Classes of the lengths that nearly all rounds have: a logarithm for each decoding round at each decision adds up.
static CLASSES_OF: LazyLock<Vec<usize>> = LazyLock::new(|| (0..4096).map(class_of).collect());

fn class(tokens: u32) -> usize {
    CLASSES_OF.get(tokens as usize).copied().unwrap_or_else(|| class_of(tokens))
}

fn class_of(tokens: u32) -> usize {
    let octaves = f64::from(tokens.max(1)).log2() * PER_OCTAVE;
    (octaves as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_what_follows() {
        let mut lengths = OutputLengths::new(50.0);
        assert_eq!(lengths.expected(0), 50.0);
        for n in 0..1000 {
            lengths.ended(if n % 2 == 0 { 100 } else { 1000 });
        }
        assert!((lengths.expected(1) - 550.0).abs() < 30.0, "{}", lengths.expected(1));
        assert!((lengths.expected(200) - 800.0).abs() < 60.0, "{}", lengths.expected(200));
        assert!(lengths.expected(60_000) >= 1.0);
    }

    #[test]
    fn it_forgets() {
        let mut lengths = OutputLengths::new(50.0);
        for tokens in [1000, 10] {
            for _ in 0..20_000 {
                lengths.ended(tokens);
            }
        }
        assert!(lengths.expected(1) < 12.0, "{}", lengths.expected(1));
    }
}
