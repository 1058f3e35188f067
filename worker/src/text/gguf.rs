//! Tokenizer and chat template from the metadata of a GGUF file.

use std::path::Path;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::Sequence;
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::{AddedToken, NormalizerWrapper};

use super::error::TextError;
use super::metadata::Metadata;
use super::pieces::{Piece, PieceKind, Pieces, Spelling};
use super::tokenizer::Parts;
use super::{pretokenizer, sentencepiece};

/// `tokenizer.ggml.token_type` of tokens that steer the model.
const CONTROL: i128 = 3;
/// Of tokens that are matched as a whole wherever they occur.
const USER_DEFINED: i128 = 4;

/// A GGUF file's metadata about text.
pub(super) struct GgufText<'a> {
    path: &'a Path,
    metadata: Metadata,
}

impl<'a> GgufText<'a> {
    pub(super) fn read(path: &'a Path) -> Result<Self, TextError> {
        Ok(Self { path, metadata: Metadata::read(path, &["tokenizer."])? })
    }

    /// The chat template with the names of the tokens it may use.
    pub(super) fn template(&self) -> Option<(String, Vec<(&'static str, String)>)> {
        let source = self.metadata.text("tokenizer.chat_template")?.to_owned();
        let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
        let ids = ["bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"];
        let tokens = self.metadata.texts("tokenizer.ggml.tokens").unwrap_or_default();
        let token = |id: &str| {
            let id = self.metadata.token(&format!("tokenizer.ggml.{id}"))?;
            tokens.get(id as usize).cloned()
        };
        let named = names.into_iter().zip(ids).filter_map(|(name, id)| Some((name, token(id)?)));
        Some((source, named.collect()))
    }

    pub(super) fn parts(&self) -> Result<Parts, TextError> {
        let tokens = self
            .metadata
            .texts("tokenizer.ggml.tokens")
            .ok_or_else(|| self.missing("tokenizer.ggml.tokens"))?;
        let kinds = self.metadata.integers("tokenizer.ggml.token_type").unwrap_or_default();
        let model = self.metadata.text("tokenizer.ggml.model");
        let (mut inner, spelling, adds_bos, strips) = match model {
            Some("gpt2") => self.byte_level(tokens)?,
            Some("llama") => self.sentencepiece(tokens)?,
            Some(other) => return Err(self.unsupported(format!("tokenizer.ggml.model {other:?}"))),
            None => return Err(self.missing("tokenizer.ggml.model")),
        };
        let mut pieces = Vec::with_capacity(tokens.len());
        let mut added = Vec::new();
        for (id, token) in tokens.iter().enumerate() {
            let kind = kinds.get(id).copied().unwrap_or(1);
            if matches!(kind, CONTROL | USER_DEFINED) && !token.is_empty() {
                added.push(AddedToken::from(token.as_str(), kind == CONTROL).normalized(false));
                let kind = if kind == CONTROL { PieceKind::Control } else { PieceKind::Normal };
                pieces.push(Piece { bytes: token.as_bytes().into(), kind });
            } else {
                pieces.push(Piece { bytes: spelling.bytes(token), kind: PieceKind::Normal });
            }
        }
        inner.add_tokens(added).map_err(|source| self.build(source))?;
        let named = |name: &str| {
            let id = self.metadata.token(&format!("tokenizer.ggml.{name}"));
            id.filter(|id| (*id as usize) < tokens.len())
        };
        let adds_bos = self.metadata.bool("tokenizer.ggml.add_bos_token").unwrap_or(adds_bos);
        let beginning = named("bos_token_id").filter(|_| adds_bos).into_iter().collect();
        let ends = ["eos_token_id", "eot_token_id", "eom_token_id"].into_iter().filter_map(named).collect();
        Ok(Parts { inner, pieces: Pieces::new(pieces, strips), beginning, ends })
    }

    fn byte_level(
        &self,
        tokens: &[String],
    ) -> Result<(tokenizers::Tokenizer, Spelling, bool, bool), TextError> {
        let name = self.metadata.text("tokenizer.ggml.pre").unwrap_or("default");
        let kind = pretokenizer::kind(name)
            .ok_or_else(|| self.unsupported(format!("tokenizer.ggml.pre {name:?}")))?;
        let key = "tokenizer.ggml.merges";
        let lines = self.metadata.texts(key).ok_or_else(|| self.missing(key))?;
        let mut merges = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let cut = line.char_indices().skip(1).find(|(_, letter)| *letter == ' ');
            let (at, _) = cut.ok_or_else(|| {
                self.field(format!("{key}[{index}]"), "is not two pieces with a space between")
            })?;
            merges.push((line[..at].to_owned(), line[at + 1..].to_owned()));
        }
        let model = BPE::builder()
            .vocab_and_merges(vocabulary(tokens), merges)
            .ignore_merges(kind.ignore_merges)
            .build()
            .map_err(|source| self.build(source))?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_pre_tokenizer(Some(kind.pre_tokenizer().map_err(|source| self.build(source))?));
        inner.with_normalizer(kind.normalizer()).map_err(|source| self.build(source))?;
        Ok((inner, Spelling::ByteLevel, kind.adds_bos, false))
    }

    fn sentencepiece(
        &self,
        tokens: &[String],
    ) -> Result<(tokenizers::Tokenizer, Spelling, bool, bool), TextError> {
        let key = "tokenizer.ggml.scores";
        let scores = self.metadata.floats(key).ok_or_else(|| self.missing(key))?;
        if scores.len() != tokens.len() {
            let what = format!("has {} values for {} tokens", scores.len(), tokens.len());
            return Err(self.field(key.into(), &what));
        }
        let unknown = self.metadata.token("tokenizer.ggml.unknown_token_id").unwrap_or(0);
        let mut model = BPE::builder()
            .vocab_and_merges(vocabulary(tokens), sentencepiece::merges(tokens, scores))
            .byte_fallback(true)
            .fuse_unk(true);
        if let Some(unknown) = tokens.get(unknown as usize) {
            model = model.unk_token(unknown.clone());
        }
        let mut inner = tokenizers::Tokenizer::new(model.build().map_err(|source| self.build(source))?);
        let adds_space = self.metadata.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
        let mut steps: Vec<NormalizerWrapper> = Vec::new();
        if adds_space {
            steps.push(Prepend::new("▁".to_owned()).into());
        }
        steps.push(Replace::new(" ", "▁").map_err(|source| self.build(source))?.into());
        inner.with_normalizer(Some(Sequence::new(steps))).map_err(|source| self.build(source))?;
        Ok((inner, Spelling::SentencePiece, true, adds_space))
    }

    fn missing(&self, field: &str) -> TextError {
        self.field(field.to_owned(), "is missing")
    }

    fn field(&self, field: String, what: &str) -> TextError {
        TextError::Field { path: self.path.into(), field, what: what.to_owned() }
    }

    fn unsupported(&self, what: String) -> TextError {
        TextError::Unsupported { path: self.path.into(), what }
    }

    fn build(&self, source: tokenizers::Error) -> TextError {
        TextError::Build { path: self.path.into(), source }
    }
}

fn vocabulary(tokens: &[String]) -> Vocab {
    tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect()
}
