//! What each token stands for, in bytes.

use std::sync::LazyLock;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Text.
    Normal,
    /// A token that steers the model and is no text, such as the end of a turn.
    Control,
}

/// A token's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// UTF-8, or a part of a character.
    pub bytes: Box<[u8]>,
    /// Text or control.
    pub kind: PieceKind,
}

/// The bytes of every token of a vocabulary.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<Piece>,
    strip_first_space: bool,
}

impl Pieces {
    /// The pieces of tokens 0, 1, 2 and so on. With `strip_first_space` a text's first piece loses its leading space,
    /// which the tokenizer had put there.
    #[must_use]
    pub fn new(pieces: Vec<Piece>, strip_first_space: bool) -> Self {
        Self { pieces, strip_first_space }
    }

    /// A token's piece.
    #[must_use]
    pub fn get(&self, token: u32) -> Option<&Piece> {
        self.pieces.get(usize::try_from(token).ok()?)
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the vocabulary is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether a text's first space is not part of it.
    #[must_use]
    pub fn strips_first_space(&self) -> bool {
        self.strip_first_space
    }

    /// Whether a token is a control token.
    #[must_use]
    pub fn is_control(&self, token: u32) -> bool {
        self.get(token).is_some_and(|piece| piece.kind == PieceKind::Control)
    }

    /// A token as log-probabilities name it: its text, or `bytes:\x..` where it is no whole text.
    #[must_use]
    pub fn name(&self, token: u32) -> String {
        let bytes = self.get(token).map_or(&[][..], |piece| &piece.bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().fold("bytes:".to_owned(), |name, byte| name + &format!("\\x{byte:02x}")),
        }
    }
}

/// How a vocabulary spells bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Each byte as a printable character (GPT-2).
    ByteLevel,
    /// `▁` for a space, and `<0x..>` for bytes that no piece covers (`SentencePiece`).
    SentencePiece,
}

/// GPT-2's letter of each byte: printable ones stand for themselves, the others for letters from U+0100 on.
static BYTE_LETTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut letters = ['\0'; 256];
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        letters[usize::from(byte)] = if printable {
            char::from(byte)
        } else {
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        };
    }
    letters
});

impl Spelling {
    /// The bytes that `token` spells.
    pub(super) fn bytes(self, token: &str) -> Box<[u8]> {
        match self {
            Self::ByteLevel => {
                let byte = |letter| BYTE_LETTERS.iter().position(|known| *known == letter);
                let bytes: Option<Vec<u8>> = token.chars().map(|letter| Some(byte(letter)? as u8)).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec()).into()
            }
            Self::SentencePiece => match byte_token(token) {
                Some(byte) => vec![byte].into(),
                None => token.replace('▁', " ").into_bytes().into(),
            },
        }
    }
}

/// The byte of a token such as `<0x0A>`.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_for_bytes() {
        assert_eq!(&*Spelling::ByteLevel.bytes("Ġcat"), b" cat");
        assert_eq!(&*Spelling::ByteLevel.bytes("Ċ"), b"\n");
        assert_eq!(&*Spelling::ByteLevel.bytes("ÃŁ"), "ß".as_bytes());
        assert_eq!(&*Spelling::SentencePiece.bytes("▁cat"), b" cat");
        assert_eq!(&*Spelling::SentencePiece.bytes("<0x0A>"), b"\n");
        assert_eq!(&*Spelling::SentencePiece.bytes("<0xZZ>"), b"<0xZZ>");
    }

    #[test]
    fn names_tell_text_from_bytes() {
        let piece = |bytes: &[u8]| Piece { bytes: bytes.into(), kind: PieceKind::Normal };
        let pieces = Pieces::new(vec![piece(b" a"), piece(&[0xE2, 0x80])], false);
        assert_eq!(pieces.name(0), " a");
        assert_eq!(pieces.name(1), "bytes:\\xe2\\x80");
        assert_eq!(pieces.name(7), "");
    }
}
