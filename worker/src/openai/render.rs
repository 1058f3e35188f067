//! Answers: the events of a request's rounds as one JSON body, or as server-sent events while they come.

mod choice;
mod logprobs;
mod sse;
mod wire;

use std::sync::Arc;

use bytes::Bytes;

use self::choice::Choice;
use self::wire::{Shape, Usage};
use super::{ApiError, Prompt, Request};
use crate::protocol::RoundEvent;
use crate::text::TextModel;

pub use sse::{done_frame, error_frame, ping_frame};

/// What an answer begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The request's id; the answer's id is made of it.
    pub request_id: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// What an event gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Whole server-sent events to send now; empty while there is nothing to tell, and for answers in one body.
    pub frames: Bytes,
    /// A stop string ended the choice: its round is of no more use.
    pub stop: bool,
}

/// Renders the answer to one request.
#[derive(Debug)]
pub struct Renderer {
    shape: Shape,
    text: Arc<TextModel>,
    stream: bool,
    include_usage: bool,
    /// Choices for each prompt.
    n: usize,
    /// Tokens of each prompt.
    prompts: Vec<usize>,
    choices: Vec<Choice>,
    /// Choices that have not ended.
    open: usize,
}

impl Renderer {
    /// A renderer for `prompts` as [`super::tokenize`] gave them.
    #[must_use]
    pub fn new(request: &Request, prompts: &[Prompt], text: Arc<TextModel>, head: &ResponseHead) -> Self {
        let ends: Arc<[u32]> = if request.ignore_eos {
            request.stop_token_ids.clone().into()
        } else {
            [request.stop_token_ids.as_slice(), text.tokenizer().ends()].concat().into()
        };
        let choices: Vec<Choice> = (0..request.choices())
            .map(|index| Choice::new(request, prompts.get(index / request.n), ends.clone()))
            .collect();
        Self {
            shape: Shape::new(request, head),
            text,
            stream: request.stream,
            include_usage: request.include_usage,
            n: request.n,
            prompts: prompts.iter().map(|prompt| prompt.tokens.len()).collect(),
            open: choices.len(),
            choices,
        }
    }

    /// Notes that a choice's round was opened and found `history` tokens of its prompt computed already.
    pub fn opened(&mut self, choice: usize, history: usize) {
        if let Some(choice) = self.choices.get_mut(choice) {
            choice.history = history;
        }
    }

    /// Takes in an event of a choice's round. The end of the last choice also ends the stream: with the token counts, if
    /// asked for, and its mark.
    ///
    /// # Errors
    /// The round's own error, or that its events are not what was asked for.
    pub fn event(&mut self, choice: usize, event: &RoundEvent) -> Result<Rendered, ApiError> {
        let index = choice;
        let choice = self.choices.get_mut(index).ok_or_else(ApiError::nonsense)?;
        if choice.has_ended() {
            return Ok(Rendered::default());
        }
        let stop = choice.take(event, self.text.tokenizer().pieces())?;
        self.open -= usize::from(choice.has_ended());
        if !self.stream {
            return Ok(Rendered { frames: Bytes::new(), stop });
        }
        let mut frames = Vec::new();
        self.shape.chunks(&mut frames, index, choice, self.include_usage, &self.text)?;
        if self.open == 0 {
            if self.include_usage {
                self.shape.usage_chunk(&mut frames, self.usage())?;
            }
            frames.extend_from_slice(&done_frame());
        }
        Ok(Rendered { frames: frames.into(), stop })
    }

    /// Whether every choice has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Output tokens so far, over all choices.
    #[must_use]
    pub fn output_tokens(&self) -> usize {
        self.choices.iter().map(|choice| choice.tokens).sum()
    }

    /// The whole answer of a request that does not stream.
    ///
    /// # Errors
    /// When a choice has not ended.
    pub fn body(mut self) -> Result<Bytes, ApiError> {
        if self.open > 0 {
            return Err(ApiError::worker_lost());
        }
        let usage = self.usage();
        self.shape.body(&mut self.choices, usage, &self.text)
    }

    /// Each prompt counts once, each choice's output by itself.
    fn usage(&self) -> Usage {
        let cached = self.choices.iter().step_by(self.n).map(|choice| choice.history).sum();
        Usage::new(self.prompts.iter().sum(), cached, self.output_tokens())
    }
}
