//! One choice: its tokens become text, until something ends it.

use std::sync::Arc;

use super::logprobs::Row;
use crate::openai::{Api, ApiError, Prompt, Request};
use crate::protocol::{FinishReason, OutputToken, RoundEvent, TokenLogprob};
use crate::text::{Detokenizer, Pieces, StopMatcher};

/// A choice.
#[derive(Debug)]
pub(super) struct Choice {
    detokenizer: Detokenizer,
    stops: StopMatcher,
    /// Tokens that end the output and are not part of its text.
    ends: Arc<[u32]>,
    include_stop: bool,
    /// Whether log-probabilities are asked for.
    logprobs: bool,
    /// The prompt that is still to be repeated.
    echo: Option<Vec<u32>>,
    /// Its log-probabilities as far as they are there.
    echoed: Vec<TokenLogprob>,
    /// Code points of the text so far, the held back ones included.
    letters: usize,
    /// Text that has not been sent.
    pub text: String,
    /// Log-probabilities that have not been sent.
    pub rows: Vec<Row>,
    /// Output tokens.
    pub tokens: usize,
    /// Prompt tokens that were computed already.
    pub history: usize,
    /// Whether something was sent.
    pub begun: bool,
    finish: Option<FinishReason>,
}

impl Choice {
    pub(super) fn new(request: &Request, prompt: Option<&Prompt>, ends: Arc<[u32]>) -> Self {
        let echo = prompt.filter(|_| request.echo).map(|prompt| prompt.tokens.clone());
        // What continues a prompt that is not repeated begins within a text.
        let begins_text = request.api == Api::Chat || echo.is_some();
        Self {
            detokenizer: if begins_text { Detokenizer::new(false) } else { Detokenizer::within(false) },
            stops: StopMatcher::new(request.stop.clone(), request.include_stop),
            ends,
            include_stop: request.include_stop,
            logprobs: request.logprobs.is_some(),
            echo,
            echoed: Vec::new(),
            letters: 0,
            text: String::new(),
            rows: Vec::new(),
            tokens: 0,
            history: 0,
            begun: false,
            finish: None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.finish.is_some()
    }

    /// Why it ended, as the API says it.
    pub(super) fn finish_reason(&self) -> Option<&'static str> {
        self.finish.map(|finish| match finish {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        })
    }

    /// Takes in an event; true when a stop string ended the choice.
    pub(super) fn take(&mut self, event: &RoundEvent, pieces: &Pieces) -> Result<bool, ApiError> {
        match event {
            RoundEvent::Prefill(_) | RoundEvent::Ping {} => Ok(false),
            RoundEvent::PromptLogprobs(logprobs) => {
                self.echoed.extend_from_slice(logprobs);
                Ok(false)
            }
            RoundEvent::Tokens(tokens) => {
                self.repeat(pieces)?;
                for token in tokens {
                    if self.token(token, pieces)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            RoundEvent::Done(done) => {
                self.repeat(pieces)?;
                self.history = done.history;
                let rest = self.detokenizer.finish();
                if !self.part(&rest) {
                    self.text.push_str(&self.stops.finish());
                    self.finish = Some(done.finish_reason);
                }
                Ok(false)
            }
            RoundEvent::Error(detail) => Err(detail.clone().into()),
        }
    }

    /// Repeats the prompt, once. Its first token has no log-probability: nothing stands before it.
    fn repeat(&mut self, pieces: &Pieces) -> Result<(), ApiError> {
        let Some(prompt) = self.echo.take() else { return Ok(()) };
        let told = std::mem::take(&mut self.echoed);
        if self.logprobs && told.len() + 1 != prompt.len() {
            return Err(ApiError::nonsense());
        }
        for (index, id) in prompt.into_iter().enumerate() {
            if self.logprobs {
                let told = index.checked_sub(1).and_then(|before| told.get(before));
                let (logprob, top) = told.map_or((None, &[][..]), |told| (Some(told.logprob), &told.top));
                self.rows.push(Row { id, logprob, top: top.to_vec(), offset: self.letters });
            }
            let text = self.detokenizer.push(pieces, id);
            self.letters += text.chars().count();
            self.text.push_str(&text);
        }
        Ok(())
    }

    /// Takes in an output token; true when a stop string ended the choice.
    fn token(&mut self, token: &OutputToken, pieces: &Pieces) -> Result<bool, ApiError> {
        self.tokens += 1;
        if self.logprobs {
            let logprob = Some(token.logprob.ok_or_else(ApiError::nonsense)?);
            self.rows.push(Row { id: token.id, logprob, top: token.top.clone(), offset: self.letters });
        }
        if !self.include_stop && self.ends.contains(&token.id) {
            return Ok(false);
        }
        let text = self.detokenizer.push(pieces, token.id);
        self.letters += text.chars().count();
        Ok(self.part(&text))
    }

    /// Takes in a part of the text; true when a stop string ended the choice.
    fn part(&mut self, text: &str) -> bool {
        let stopped = self.stops.push(text);
        self.text.push_str(&stopped.text);
        if stopped.stop.is_some() {
            self.finish = Some(FinishReason::Stop);
        }
        stopped.stop.is_some()
    }
}
