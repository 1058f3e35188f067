//! A model's text side as a whole, and conversations in it.

use std::path::{Path, PathBuf};

use minijinja::Value;

use super::error::TextError;
use super::gguf::GgufText;
use super::huggingface::HuggingFaceText;
use super::template::{ChatTemplate, TemplateError};
use super::tokenizer::Tokenizer;

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: a name that the API has checked.
    pub role: String,
    /// What is said.
    pub content: String,
    /// The speaker's name, where given.
    pub name: Option<String>,
}

/// Tokenizer and chat template of one model.
#[derive(Debug)]
pub struct TextModel {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

/// Why a conversation has no tokens.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model has no chat template.
    #[error("the model has no chat template")]
    NoTemplate,
    /// The template did not take the messages.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The rendered text could not be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl TextModel {
    /// Loads tokenizer and template of a GGUF file, or of a Hugging Face folder (or one that holds a single GGUF file).
    ///
    /// # Errors
    /// When files are missing, damaged or of a kind that is not supported; the error names file and field.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let file = text_file(path)?;
        let (parts, template) = if file.is_dir() {
            let folder = HuggingFaceText::read(&file)?;
            let template = folder.template();
            (folder.parts()?, template)
        } else {
            let gguf = GgufText::read(&file)?;
            (gguf.parts()?, gguf.template())
        };
        let template =
            template.map(|(source, tokens)| ChatTemplate::new(source, tokens, &file)).transpose()?;
        Ok(Self { tokenizer: Tokenizer::new(parts, &file)?, template })
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokens of a conversation, ending where the model's reply begins.
    ///
    /// # Errors
    /// When the model has no template, or the template does not take the messages.
    pub fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ChatError> {
        let template = self.template.as_ref().ok_or(ChatError::NoTemplate)?;
        let messages: Vec<Value> = messages.iter().map(|message| self.message(message)).collect();
        let rendered = template.render(Value::from(messages), true)?;
        Ok(self.tokenizer.encode_rendered(&rendered)?)
    }

    fn message(&self, message: &ChatMessage) -> Value {
        let text = |text: &str| Value::from(self.tokenizer.disarm(text));
        let mut fields = vec![("role", text(&message.role)), ("content", text(&message.content))];
        fields.extend(message.name.as_deref().map(|name| ("name", text(name))));
        Value::from_pairs(fields)
    }
}

/// The GGUF file or Hugging Face folder that `path` means.
fn text_file(path: &Path) -> Result<PathBuf, TextError> {
    let read_error = |source| TextError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(read_error)?.is_dir() || path.join("tokenizer.json").is_file() {
        return Ok(path.into());
    }
    let entries = std::fs::read_dir(path).map_err(read_error)?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "gguf"));
    if let [file] = files.as_slice() {
        return Ok(file.clone());
    }
    let what = "is missing, and the folder does not hold exactly one .gguf file either".into();
    Err(TextError::Field { path: path.into(), field: "tokenizer.json".into(), what })
}
