//! How many tokens a word is, for the tokenizer of the service.

use crate::client::{Client, Message, RoundError};
use crate::text::Writer;

/// Words of the two messages that are compared.
const FEW: usize = 20;
const MANY: usize = 220;

/// What a word is in tokens, and a message without any.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tokens {
    /// Tokens of a word.
    pub(crate) per_word: f64,
    /// Tokens of the chat template around a round's messages, its answer's frame among them.
    pub(crate) frame: f64,
}

impl Tokens {
    /// Words of a message that is to be so many tokens with what the template adds to it; at least one.
    pub(crate) fn words(self, tokens: u32) -> usize {
        let words = (f64::from(tokens) - self.frame) / self.per_word;
        (words.round() as usize).max(1)
    }
}

/// Asks twice, with messages of different length. Where the service does not count tokens, a word is taken for one.
pub(crate) async fn calibrate(client: &Client, seed: u64) -> Result<Tokens, RoundError> {
    let mut counts = Vec::new();
    for (index, words) in [FEW, MANY].into_iter().enumerate() {
        let text = Writer::new(seed, u64::MAX - index as u64).words(words);
        let messages = [Message { role: "user", content: text }];
        let name = format!("ampd-bench-calibration-{seed}-{index}");
        counts.push(client.round(&name, &messages, 1).await?.prompt_tokens);
    }
    Ok(match counts[..] {
        [Some(few), Some(many)] if many > few => from_counts(few as f64, many as f64),
        _ => Tokens { per_word: 1.0, frame: 0.0 },
    })
}

fn from_counts(few: f64, many: f64) -> Tokens {
    let per_word = (many - few) / (MANY - FEW) as f64;
    Tokens { per_word, frame: (few - per_word * FEW as f64).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_from_two_counts() {
        let tokens = from_counts(50.0, 350.0);
        assert_eq!(tokens, Tokens { per_word: 1.5, frame: 20.0 });
        assert_eq!((tokens.words(320), tokens.words(20), tokens.words(5)), (200, 1, 1));
    }
}
