//! The JSON forms of answers.

use bytes::Bytes;
use serde::Serialize;

use super::choice::Choice;
use super::logprobs::{ChatLogprobs, TextLogprobs};
use super::{ResponseHead, sse};
use crate::openai::{Api, ApiError, Request};
use crate::text::TextModel;

/// What the log-probabilities and the text of two answers with the same seed may depend on.
const FINGERPRINT: &str = concat!("ampd-", env!("CARGO_PKG_VERSION"));

/// What all parts of an answer have in common.
#[derive(Debug)]
pub(super) struct Shape {
    api: Api,
    id: String,
    created: u64,
    model: String,
    logprobs: bool,
}

/// Token counts.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

/// An answer or a part of one.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Counts>,
}

/// Token counts, or null in the parts before them.
#[derive(Serialize)]
#[serde(untagged)]
enum Counts {
    Later(()),
    Now(Usage),
}

/// A choice, or what is new of it.
#[derive(Serialize)]
struct Entry<'a> {
    index: usize,
    #[serde(flatten)]
    content: Content<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Content<'a> {
    Message(Message<'a>),
    Delta(Delta<'a>),
    Text(&'a str),
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: (),
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Logprobs {
    Chat(ChatLogprobs),
    Text(TextLogprobs),
}

impl Usage {
    pub(super) fn new(prompt: usize, cached: usize, completion: usize) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt + completion,
            prompt_tokens_details: PromptDetails { cached_tokens: cached },
        }
    }
}

impl Shape {
    pub(super) fn new(request: &Request, head: &ResponseHead) -> Self {
        let prefix = match request.api {
            Api::Chat => "chatcmpl",
            Api::Completion => "cmpl",
        };
        Self {
            api: request.api,
            id: format!("{prefix}-{}", head.request_id),
            created: head.created,
            model: request.model.clone(),
            logprobs: request.logprobs.is_some(),
        }
    }

    /// Adds what is new of a choice: who speaks, once; text as soon as there is any; the end.
    pub(super) fn chunks(
        &self,
        frames: &mut Vec<u8>,
        index: usize,
        choice: &mut Choice,
        usage: bool,
        text: &TextModel,
    ) -> Result<(), ApiError> {
        let has_ended = choice.has_ended();
        if choice.text.is_empty() && !has_ended {
            return Ok(());
        }
        if self.api == Api::Chat && !choice.begun {
            let content = Content::Delta(Delta { role: Some("assistant"), content: Some("") });
            self.part(frames, Entry { index, content, logprobs: None, finish_reason: None }, usage)?;
        }
        choice.begun = true;
        if !choice.text.is_empty() {
            let logprobs = self.logprobs(choice, text);
            let new = std::mem::take(&mut choice.text);
            let content = match self.api {
                Api::Chat => Content::Delta(Delta { role: None, content: Some(&new) }),
                Api::Completion => Content::Text(&new),
            };
            self.part(frames, Entry { index, content, logprobs, finish_reason: None }, usage)?;
        }
        if has_ended {
            let logprobs = if choice.rows.is_empty() { None } else { self.logprobs(choice, text) };
            let content = match self.api {
                Api::Chat => Content::Delta(Delta::default()),
                Api::Completion => Content::Text(""),
            };
            let finish_reason = choice.finish_reason();
            self.part(frames, Entry { index, content, logprobs, finish_reason }, usage)?;
        }
        Ok(())
    }

    fn part(&self, frames: &mut Vec<u8>, entry: Entry<'_>, usage: bool) -> Result<(), ApiError> {
        sse::push(frames, &self.envelope(true, vec![entry], usage.then_some(Counts::Later(()))))
    }

    /// Adds the token counts.
    pub(super) fn usage_chunk(&self, frames: &mut Vec<u8>, usage: Usage) -> Result<(), ApiError> {
        sse::push(frames, &self.envelope(true, Vec::new(), Some(Counts::Now(usage))))
    }

    /// The whole answer.
    pub(super) fn body(
        &self,
        choices: &mut [Choice],
        usage: Usage,
        text: &TextModel,
    ) -> Result<Bytes, ApiError> {
        let logprobs: Vec<_> = choices.iter_mut().map(|choice| self.logprobs(choice, text)).collect();
        let entries = choices.iter().zip(logprobs).enumerate().map(|(index, (choice, logprobs))| Entry {
            index,
            content: match self.api {
                Api::Chat => {
                    Content::Message(Message { role: "assistant", content: &choice.text, refusal: () })
                }
                Api::Completion => Content::Text(&choice.text),
            },
            logprobs,
            finish_reason: choice.finish_reason(),
        });
        let body = self.envelope(false, entries.collect(), Some(Counts::Now(usage)));
        serde_json::to_vec(&body).map(Bytes::from).map_err(|_| ApiError::nonsense())
    }

    fn envelope<'a>(&'a self, is_part: bool, choices: Vec<Entry<'a>>, usage: Option<Counts>) -> Envelope<'a> {
        Envelope {
            id: &self.id,
            object: match (self.api, is_part) {
                (Api::Chat, false) => "chat.completion",
                (Api::Chat, true) => "chat.completion.chunk",
                (Api::Completion, _) => "text_completion",
            },
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        }
    }

    fn logprobs(&self, choice: &mut Choice, text: &TextModel) -> Option<Logprobs> {
        if !self.logprobs {
            return None;
        }
        let rows = std::mem::take(&mut choice.rows);
        let pieces = text.tokenizer().pieces();
        Some(match self.api {
            Api::Chat => Logprobs::Chat(ChatLogprobs::new(rows, pieces)),
            Api::Completion => Logprobs::Text(TextLogprobs::new(&rows, pieces)),
        })
    }
}
