//! A model's text side as a whole, and conversations in it.

use std::path::Path;

use ampd_engine::model::Files;
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
    /// Loads tokenizer and template of a GGUF file, or of a Hugging Face folder (or one that holds a single GGUF file):
    /// the very files that the engine loads.
    ///
    /// # Errors
    /// When files are missing, damaged or of a kind that is not supported; the error names file and field.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let (parts, template, file) = match Files::find(path)? {
            Files::HuggingFace(path) => {
                let folder = HuggingFaceText::read(&path)?;
                let template = folder.template();
                (folder.parts()?, template, path)
            }
            Files::Gguf(path) => {
                let gguf = GgufText::read(&path)?;
                (gguf.parts()?, gguf.template(), path)
            }
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

#[cfg(test)]
mod tests {
    use ampd_testkit::tiny_model::{Family, TinyModel};
    use candle_core::quantized::GgmlDType;

    use super::*;

    #[test]
    fn a_folder_with_one_gguf_file_is_that_file_for_text_as_it_is_for_weights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(Family::Llama).write_gguf(&path, GgmlDType::F32).unwrap();
        std::fs::write(folder.path().join(".ampd-model.json"), "{}").unwrap();
        let hello = [ChatMessage { role: "user".into(), content: "hello".into(), name: None }];
        let (file, whole) = (TextModel::load(&path).unwrap(), TextModel::load(folder.path()).unwrap());
        assert_eq!(file.encode_chat(&hello).unwrap(), whole.encode_chat(&hello).unwrap());
        std::fs::copy(&path, folder.path().join("other.gguf")).unwrap();
        let error = TextModel::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("other.gguf, tiny.gguf"), "{error}");
    }
}
