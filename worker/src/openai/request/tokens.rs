//! From requests to tokens.

use super::{CompletionPrompt, Input, Prompt, Request};
use crate::openai::ApiError;
use crate::process::chain;
use crate::text::TextModel;

/// The prompts of a request as tokens, each with the output that it may have. Work for the CPU, up to seconds: not for
/// an async thread.
///
/// # Errors
/// 400 when the template does not take the messages, a token id is not in the vocabulary, or prompt and output together
/// exceed the context.
pub fn tokenize(request: &Request, text: &TextModel) -> Result<Vec<Prompt>, ApiError> {
    match &request.input {
        Input::Chat(messages) => {
            let tokens = text.encode_chat(messages).map_err(|error| {
                // The client learns what it can change; the cause may lie in the model's files.
                tracing::warn!(error = chain(&error), "messages cannot be tokenised");
                ApiError::from(error)
            })?;
            Ok(vec![request.fitted("messages", tokens)?])
        }
        Input::Prompts(prompts) => prompts
            .iter()
            .map(|prompt| match prompt {
                CompletionPrompt::Text(prompt) => text.tokenizer().encode(prompt).map_err(|error| {
                    tracing::warn!(error = chain(&error), "a prompt cannot be tokenised");
                    ApiError::invalid("prompt", "\"prompt\" cannot be tokenised.")
                }),
                CompletionPrompt::Tokens(tokens) => request.known(tokens),
            })
            .map(|tokens| request.fitted("prompt", tokens?))
            .collect(),
    }
}

impl Request {
    fn known(&self, tokens: &[u32]) -> Result<Vec<u32>, ApiError> {
        match tokens.iter().find(|id| **id as usize >= self.vocab) {
            Some(id) => {
                let message =
                    format!("\"prompt\" names token {id}, but the vocabulary has {} tokens.", self.vocab);
                Err(ApiError::invalid("prompt", message))
            }
            None => Ok(tokens.to_vec()),
        }
    }

    fn fitted(&self, param: &str, tokens: Vec<u32>) -> Result<Prompt, ApiError> {
        if tokens.is_empty() {
            return Err(ApiError::invalid(param, format!("{param:?} must not be empty.")));
        }
        let left = self.max_context.checked_sub(tokens.len());
        let max_tokens = match (self.max_tokens, left) {
            (Some(asked), Some(left)) if asked <= left => asked,
            (None, Some(left @ 1..)) => left,
            _ => {
                return Err(ApiError::context_length(param, tokens.len(), self.max_tokens, self.max_context));
            }
        };
        Ok(Prompt { tokens, max_tokens })
    }
}
