//! Checked requests.

mod body;
mod content;
mod conversation;
mod json;
mod limits;
mod messages;
mod parse;
mod prompt;
mod sampling;
mod screen;
mod small;
mod tokens;

pub use parse::{parse_chat, parse_completion};
pub use tokens::tokenize;

use crate::protocol::{OpenRound, Salt, SamplingParams};
use crate::text::ChatMessage;

/// Which API a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// A prompt of a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionPrompt {
    /// Text.
    Text(String),
    /// Token ids, not yet checked against the vocabulary.
    Tokens(Vec<u32>),
}

/// What the model is to answer or continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A conversation.
    Chat(Vec<ChatMessage>),
    /// Prompts, each with its own choices.
    Prompts(Vec<CompletionPrompt>),
}

/// A prompt, ready for a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens, at least one.
    pub tokens: Vec<u32>,
    /// Most output tokens; together they fit the context.
    pub max_tokens: usize,
}

/// A request whose every field is in its range.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of the API")]
pub struct Request {
    /// Which API it came by.
    pub api: Api,
    /// The model's id as the client wrote it.
    pub model: String,
    /// What is asked.
    pub input: Input,
    /// How output tokens are chosen; for a choice see [`Request::open_round`].
    pub sampling: SamplingParams,
    /// Most output tokens; without it, what the context leaves.
    pub max_tokens: Option<usize>,
    /// Choices for each prompt.
    pub n: usize,
    /// Texts that end an output.
    pub stop: Vec<String>,
    /// Tokens that end an output, besides the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Leaves in the text what ended it.
    pub include_stop: bool,
    /// Goes on after the model's end tokens.
    pub ignore_eos: bool,
    /// Log-probabilities of tokens, with this many alternatives.
    pub logprobs: Option<u32>,
    /// Repeats the prompt before the output.
    pub echo: bool,
    /// Answers as server-sent events.
    pub stream: bool,
    /// Ends the stream with token counts.
    pub include_usage: bool,
    /// The session's name in the body.
    pub session_id: Option<String>,
    /// Shares cached KV only with requests of the same salt.
    pub cache_salt: Option<String>,
    /// The id that the model is served under.
    served: String,
    /// Tokens in the vocabulary.
    vocab: usize,
    /// Most tokens of prompt and output together.
    max_context: usize,
}

impl Request {
    /// Choices of the answer: `n` for each prompt. Choice `c` belongs to prompt `c / n`.
    #[must_use]
    pub fn choices(&self) -> usize {
        let prompts = match &self.input {
            Input::Chat(_) => 1,
            Input::Prompts(prompts) => prompts.len(),
        };
        prompts * self.n
    }

    /// The round that makes a choice, for `prompts` as [`tokenize`] gave them. Session and epoch are left empty.
    #[must_use]
    pub fn open_round(&self, prompts: &[Prompt], choice: usize, request_id: &str, salt: Salt) -> OpenRound {
        let prompt = prompts.get(choice / self.n);
        let sample = (choice % self.n) as u64;
        let mut sampling = self.sampling.clone();
        // Choices of one seed differ from each other, and each can be had again.
        sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(sample));
        OpenRound {
            request_id: request_id.to_owned(),
            session: String::new(),
            epoch: 0,
            salt,
            tokens: prompt.map(|prompt| prompt.tokens.clone()).unwrap_or_default(),
            sampling,
            max_tokens: prompt.map_or(0, |prompt| prompt.max_tokens),
            stop_tokens: self.stop_token_ids.clone(),
            ignore_eos: self.ignore_eos,
            logprobs: self.logprobs,
            prompt_logprobs: self.logprobs.filter(|_| self.echo),
            age_ms: 0,
        }
    }
}
