//! Messages of a given length.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// Words that are one token, with the space before them, for most tokenizers.
const WORDS: [&str; 64] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
];

/// Writes messages for one session: no two sessions of a run begin alike, so that none shares KV with another by chance.
#[derive(Debug)]
pub(crate) struct Writer(Pcg64Mcg);

impl Writer {
    /// The writer of this session under `seed`.
    pub(crate) fn new(seed: u64, session: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed ^ session.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// So many words with spaces between them.
    pub(crate) fn words(&mut self, count: usize) -> String {
        let mut text = String::with_capacity(count * 7);
        for index in 0..count {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(WORDS[(self.0.next_u64() % WORDS.len() as u64) as usize]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_differ_by_session() {
        let text = Writer::new(1, 1).words(50);
        assert_eq!(text.split(' ').count(), 50);
        assert_eq!(text, Writer::new(1, 1).words(50));
        assert_ne!(text, Writer::new(1, 2).words(50));
        assert_eq!(Writer::new(1, 1).words(0), "");
    }
}
