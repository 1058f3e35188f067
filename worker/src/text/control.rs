//! Keeps text from spelling control tokens.
//!
//! Where a client's text spells a control token, a mark is put behind its first letter, so that no search finds it; the
//! tokenizer's normalizer takes the mark out again once control tokens have been cut out of the text. Text that spells
//! none is passed on as it is, and its tokens are the same as without all this.

use std::borrow::Cow;
use std::collections::HashSet;

use aho_corasick::AhoCorasick;

/// The mark: a code point that Unicode keeps out of interchange for uses such as this one.
pub(super) const MARK: char = '\u{FDD0}';

/// The spellings of a model's control tokens.
#[derive(Debug)]
pub(super) struct ControlTokens {
    /// Finds them all at once; none when the model has none.
    search: Option<AhoCorasick>,
    /// Everything that could be continued to a spelling.
    beginnings: HashSet<String>,
    /// Everything that could have begun as one.
    ends: HashSet<String>,
    longest: usize,
}

impl ControlTokens {
    pub(super) fn new(spellings: &[&str]) -> Result<Self, aho_corasick::BuildError> {
        let spellings: Vec<&str> =
            spellings.iter().copied().filter(|spelling| !spelling.is_empty()).collect();
        let (mut beginnings, mut ends) = (HashSet::new(), HashSet::new());
        for spelling in &spellings {
            for (at, _) in spelling.char_indices().skip(1) {
                beginnings.insert(spelling[..at].to_owned());
                ends.insert(spelling[at..].to_owned());
            }
        }
        let longest = spellings.iter().map(|spelling| spelling.len()).max().unwrap_or(0);
        let search = if spellings.is_empty() { None } else { Some(AhoCorasick::new(&spellings)?) };
        Ok(Self { search, beginnings, ends, longest })
    }

    /// `text`, unable to become a control token, alone or together with what stands beside it.
    pub(super) fn disarm<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(search) = &self.search else { return Cow::Borrowed(text) };
        let text = if text.contains(MARK) {
            Cow::Owned(text.replace(MARK, "\u{FFFD}"))
        } else {
            Cow::Borrowed(text)
        };
        let mut marks: Vec<usize> = search
            .find_overlapping_iter(text.as_ref())
            .map(|found| found.start() + first_letter(&text[found.start()..]))
            .collect();
        if self.meets_end(&text) {
            marks.push(0);
        }
        if self.meets_beginning(&text) {
            marks.push(text.len());
        }
        if marks.is_empty() {
            return text;
        }
        marks.sort_unstable();
        marks.dedup();
        let mut disarmed = String::with_capacity(text.len() + marks.len() * MARK.len_utf8());
        let mut from = 0;
        for at in marks {
            disarmed.push_str(&text[from..at]);
            disarmed.push(MARK);
            from = at;
        }
        disarmed.push_str(&text[from..]);
        Cow::Owned(disarmed)
    }

    /// Whether `text` ends in the beginning of a spelling.
    fn meets_beginning(&self, text: &str) -> bool {
        text.char_indices()
            .rev()
            .take_while(|(at, _)| text.len() - at < self.longest)
            .any(|(at, _)| self.beginnings.contains(&text[at..]))
    }

    /// Whether `text` begins with the end of a spelling.
    fn meets_end(&self, text: &str) -> bool {
        text.char_indices()
            .map(|(at, letter)| at + letter.len_utf8())
            .take_while(|to| *to < self.longest)
            .any(|to| self.ends.contains(&text[..to]))
    }
}

/// Bytes of the first letter of `text`.
fn first_letter(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control() -> ControlTokens {
        ControlTokens::new(&["<|im_start|>", "<|im_end|>", "<s>", "</s>"]).unwrap()
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "Hello, world", "2 < 3", "a\nb", "|x|", "s = 1"] {
            assert!(matches!(control().disarm(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn spellings_are_broken_and_the_text_kept() {
        let disarmed = control().disarm("a<|im_end|><|im_start|>b<s>").into_owned();
        assert!(!disarmed.contains("<|im_end|>") && !disarmed.contains("<s>"), "{disarmed}");
        assert_eq!(disarmed.replace(MARK, ""), "a<|im_end|><|im_start|>b<s>");
    }

    #[test]
    fn a_model_without_control_tokens_changes_nothing() {
        assert_eq!(ControlTokens::new(&[]).unwrap().disarm("<s>"), "<s>");
    }

    proptest! {
        #[test]
        fn no_join_of_texts_spells_a_control_token(parts in prop::collection::vec("[<|/a-z_>\u{FDD0}]{0,6}|<[|]im_start[|]>|<s>|</", 1..5)) {
            let control = control();
            let joined: String = parts.iter().map(|part| control.disarm(part).into_owned()).collect();
            for spelling in ["<|im_start|>", "<|im_end|>", "<s>", "</s>"] {
                // A text that lies wholly inside a spelling may still be surrounded by others; each such joint needs
                // both neighbours to be client text, and one mark on either side breaks it.
                prop_assert!(!joined.contains(spelling), "{joined:?}");
            }
            let plain: String = parts.iter().map(|part| part.replace(MARK, "\u{FFFD}")).collect();
            prop_assert_eq!(joined.replace(MARK, ""), plain);
        }
    }
}
