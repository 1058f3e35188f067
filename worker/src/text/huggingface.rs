//! Tokenizer and chat template of a Hugging Face folder.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::TextError;
use super::pieces::{Piece, PieceKind, Pieces, Spelling};
use super::tokenizer::Parts;

/// Files larger than this are no tokenizer.
const MAX_FILE: u64 = 256 << 20;

/// Largest id of a token: a table of all ids is made.
const MAX_ID: u32 = (4 << 20) - 1;

/// The JSON files of a folder that concern text.
pub(super) struct HuggingFaceText {
    tokenizer_path: PathBuf,
    tokenizer: Value,
    config: Value,
    template: Option<String>,
    ends: Vec<u32>,
}

impl HuggingFaceText {
    pub(super) fn read(folder: &Path) -> Result<Self, TextError> {
        let tokenizer_path = folder.join("tokenizer.json");
        let tokenizer = json(&tokenizer_path)?;
        let optional = |name: &str| {
            let path = folder.join(name);
            if path.is_file() { json(&path) } else { Ok(Value::Null) }
        };
        let config = optional("tokenizer_config.json")?;
        let template_path = folder.join("chat_template.jinja");
        let template = if template_path.is_file() {
            Some(text(&template_path)?)
        } else {
            template_of(&config["chat_template"])
        };
        let mut ends = ids(&optional("generation_config.json")?["eos_token_id"]);
        ends.extend(ids(&optional("config.json")?["eos_token_id"]));
        ends.sort_unstable();
        ends.dedup();
        Ok(Self { tokenizer_path, tokenizer, config, template, ends })
    }

    /// The chat template with the names of the tokens it may use.
    pub(super) fn template(&self) -> Option<(String, Vec<(&'static str, String)>)> {
        let token = |name: &str| {
            let value = &self.config[name];
            value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
        };
        let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
        Some((
            self.template.clone()?,
            names.into_iter().filter_map(|name| Some((name, token(name)?))).collect(),
        ))
    }

    pub(super) fn parts(mut self) -> Result<Parts, TextError> {
        let kind = self.tokenizer["model"]["type"].as_str().unwrap_or("BPE").to_owned();
        if !matches!(kind.as_str(), "BPE" | "Unigram") {
            let what = format!("a tokenizer model of type {kind}");
            return Err(TextError::Unsupported { path: self.tokenizer_path, what });
        }
        let decoder = self.tokenizer["decoder"].to_string();
        let spelling = if decoder.contains("\"ByteLevel\"") {
            Spelling::ByteLevel
        } else if decoder.contains('▁') || decoder.contains("\"Metaspace\"") {
            Spelling::SentencePiece
        } else {
            let what = format!("the decoder {}", decoder.chars().take(100).collect::<String>());
            return Err(TextError::Unsupported { path: self.tokenizer_path, what });
        };
        let strips = decoder.contains("\"Strip\"")
            || (decoder.contains("\"Metaspace\"") && !decoder.contains("\"never\""));
        // Control tokens must be found before the normalizer runs, which makes disarmed text whole again.
        for token in self.tokenizer["added_tokens"].as_array_mut().into_iter().flatten() {
            if token["special"] == Value::Bool(true) {
                token["normalized"] = Value::Bool(false);
            }
        }
        let build_error = |source| TextError::Build { path: self.tokenizer_path.clone(), source };
        let inner: tokenizers::Tokenizer =
            serde_json::from_value(self.tokenizer).map_err(|error| build_error(error.into()))?;
        let mut inner = inner;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(build_error)?;
        let beginning = inner.encode_fast("", true).map_err(build_error)?.get_ids().to_vec();
        let pieces = pieces(&inner, spelling)
            .ok_or_else(|| build_error(format!("a token's id is above {MAX_ID}").into()))?;
        Ok(Parts { pieces: Pieces::new(pieces, strips), inner, beginning, ends: self.ends })
    }
}

/// The tokens by id; none when an id is so large that the table would not be one of a vocabulary.
fn pieces(tokenizer: &tokenizers::Tokenizer, spelling: Spelling) -> Option<Vec<Piece>> {
    let vocabulary = tokenizer.get_vocab(true);
    let last = vocabulary.values().max().copied();
    if last > Some(MAX_ID) {
        return None;
    }
    let length = last.map_or(0, |id| id as usize + 1);
    let mut pieces = vec![Piece { bytes: Box::default(), kind: PieceKind::Normal }; length];
    for (token, id) in &vocabulary {
        pieces[*id as usize].bytes = spelling.bytes(token);
    }
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let kind = if token.special { PieceKind::Control } else { PieceKind::Normal };
        if let Some(piece) = pieces.get_mut(id as usize) {
            *piece = Piece { bytes: token.content.into_bytes().into(), kind };
        }
    }
    Some(pieces)
}

/// A template, or the one named "default" of several.
fn template_of(value: &Value) -> Option<String> {
    let named = |name: &str| {
        let mut entries = value.as_array()?.iter();
        entries.find(|entry| entry["name"] == name)?["template"].as_str()
    };
    value.as_str().or_else(|| named("default")).map(str::to_owned)
}

/// One id or a list of ids.
fn ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match value {
        Value::Array(values) => values.iter().filter_map(id).collect(),
        value => id(value).into_iter().collect(),
    }
}

fn text(path: &Path) -> Result<String, TextError> {
    let read_error = |source| TextError::Read { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(read_error)?.len();
    if length > MAX_FILE {
        let what = format!("has {length} bytes, at most {MAX_FILE} are allowed");
        return Err(TextError::Field { path: path.into(), field: "the file".into(), what });
    }
    std::fs::read_to_string(path).map_err(read_error)
}

fn json(path: &Path) -> Result<Value, TextError> {
    serde_json::from_str(&text(path)?)
        .map_err(|error| TextError::Build { path: path.into(), source: error.into() })
}
