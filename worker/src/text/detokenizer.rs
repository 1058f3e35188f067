//! Tokens to text, one at a time.

use super::pieces::{PieceKind, Pieces};

/// Turns tokens into text as they come. Bytes that do not yet make a whole character are held back.
#[derive(Debug, Default)]
pub struct Detokenizer {
    /// The bytes of a character that is not complete: at most 3.
    pending: Vec<u8>,
    /// Whether control tokens are spelled out instead of left out.
    spell_control: bool,
    /// Whether text has come out already.
    begun: bool,
}

impl Detokenizer {
    /// A detokenizer at the beginning of a text. Control tokens are left out unless `spell_control`.
    #[must_use]
    pub fn new(spell_control: bool) -> Self {
        Self { pending: Vec::new(), spell_control, begun: false }
    }

    /// A detokenizer that continues a text, where a word may begin with a space.
    #[must_use]
    pub fn within(spell_control: bool) -> Self {
        Self { pending: Vec::new(), spell_control, begun: true }
    }

    /// The text that `token` completes; empty while a character is not whole. Tokens that the vocabulary lacks are
    /// left out.
    pub fn push(&mut self, pieces: &Pieces, token: u32) -> String {
        let Some(piece) = pieces.get(token) else { return String::new() };
        if piece.kind == PieceKind::Control && !self.spell_control {
            return String::new();
        }
        let mut bytes = piece.bytes.as_ref();
        if !self.begun && pieces.strips_first_space() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.begun = true;
        self.pending.extend_from_slice(bytes);
        self.take_whole()
    }

    /// What is held back, with a replacement character for an incomplete one. The end of the text.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        while let Some(chunk) = rest.utf8_chunks().next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            rest = &rest[chunk.valid().len()..];
            if invalid.is_empty() {
                continue;
            }
            // Bytes at the very end that a later token could complete stay; any others never become a character.
            if rest.len() == invalid.len() && may_be_completed(invalid) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[invalid.len()..];
        }
        self.pending = rest.to_vec();
        text
    }
}

/// Whether `bytes` are the beginning of a character.
fn may_be_completed(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::pieces::Piece;
    use super::*;
    use proptest::prelude::*;

    fn bytes_vocabulary() -> Pieces {
        let mut pieces: Vec<Piece> =
            (0..=255u8).map(|byte| Piece { bytes: vec![byte].into(), kind: PieceKind::Normal }).collect();
        pieces.push(Piece { bytes: b"<|end|>".as_slice().into(), kind: PieceKind::Control });
        Pieces::new(pieces, false)
    }

    fn run(bytes: &[u8]) -> String {
        let pieces = bytes_vocabulary();
        let mut detokenizer = Detokenizer::new(false);
        let mut text: String = bytes.iter().map(|byte| detokenizer.push(&pieces, u32::from(*byte))).collect();
        text.push_str(&detokenizer.finish());
        text
    }

    #[test]
    fn characters_come_out_whole() {
        let pieces = bytes_vocabulary();
        let mut detokenizer = Detokenizer::new(false);
        let parts: Vec<String> =
            "é😀".bytes().map(|byte| detokenizer.push(&pieces, u32::from(byte))).collect();
        assert_eq!(parts, ["", "é", "", "", "", "😀"]);
    }

    #[test]
    fn control_tokens_are_left_out_or_spelled() {
        let pieces = bytes_vocabulary();
        assert_eq!(Detokenizer::new(false).push(&pieces, 256), "");
        assert_eq!(Detokenizer::new(true).push(&pieces, 256), "<|end|>");
        assert_eq!(Detokenizer::new(true).push(&pieces, 9999), "");
    }

    #[test]
    fn the_first_space_goes_where_the_model_adds_one() {
        let space = Piece { bytes: b" a".as_slice().into(), kind: PieceKind::Normal };
        let pieces = Pieces::new(vec![space], true);
        let mut detokenizer = Detokenizer::new(false);
        assert_eq!(detokenizer.push(&pieces, 0) + &detokenizer.push(&pieces, 0), "a a");
        assert_eq!(Detokenizer::within(false).push(&pieces, 0), " a");
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC{0,40}") {
            prop_assert_eq!(run(text.as_bytes()), text);
        }

        #[test]
        fn any_bytes_come_out_as_a_lossy_conversion_does(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(run(&bytes), String::from_utf8_lossy(&bytes));
        }
    }
}
