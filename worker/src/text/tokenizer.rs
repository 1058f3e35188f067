//! Text to token ids.

use std::path::Path;

use tokenizers::NormalizerWrapper;
use tokenizers::normalizers::Sequence;
use tokenizers::normalizers::replace::Replace;

use super::control::{ControlTokens, MARK};
use super::error::TextError;
use super::pieces::{PieceKind, Pieces};

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    control: ControlTokens,
    pieces: Pieces,
    beginning: Vec<u32>,
    ends: Vec<u32>,
}

/// What a loader found.
pub(super) struct Parts {
    /// Knows its control tokens as special added tokens that are matched before normalisation.
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) pieces: Pieces,
    /// Tokens that a plain text begins with.
    pub(super) beginning: Vec<u32>,
    /// Tokens that end a text or a turn.
    pub(super) ends: Vec<u32>,
}

impl Tokenizer {
    pub(super) fn new(mut parts: Parts, path: &Path) -> Result<Self, TextError> {
        let build_error = |source| TextError::Build { path: path.into(), source };
        let mark = Replace::new(String::from(MARK), "").map_err(build_error)?;
        let mut steps = vec![NormalizerWrapper::from(mark)];
        steps.extend(parts.inner.get_normalizer().cloned());
        parts.inner.with_normalizer(Some(Sequence::new(steps))).map_err(build_error)?;
        let spelled: Vec<&str> = (0..parts.pieces.len())
            .filter_map(|id| parts.pieces.get(id as u32))
            .filter(|piece| piece.kind == PieceKind::Control)
            .filter_map(|piece| std::str::from_utf8(&piece.bytes).ok())
            .collect();
        let control = ControlTokens::new(&spelled).map_err(|error| build_error(error.into()))?;
        let Parts { inner, pieces, beginning, ends } = parts;
        Ok(Self { inner, control, pieces, beginning, ends })
    }

    /// The tokens of a client's plain text, with what the model wants a text to begin with.
    ///
    /// # Errors
    /// When the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut tokens = self.beginning.clone();
        tokens.extend(self.encode_rendered(&self.disarm(text))?);
        Ok(tokens)
    }

    /// Text of a client that a template may work into its own.
    pub(super) fn disarm<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        self.control.disarm(text)
    }

    /// The tokens of a text in which control tokens count, except in parts that were disarmed.
    pub(super) fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let encoding = self.inner.encode_fast(text, false).map_err(TextError::Encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// What each token stands for.
    #[must_use]
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// Tokens that end a text or a turn.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }
}
