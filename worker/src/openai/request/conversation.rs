//! What tells one conversation from another when no header names it.

use super::{Api, CompletionPrompt, Input, Request};

/// Bytes of a completion's prompt that take part.
const PROMPT_BYTES: usize = 256;
/// Tokens of a completion's prompt that take part.
const PROMPT_TOKENS: usize = 64;

impl Request {
    /// Whether the conversation has had an answer: it is not a session's first round, whoever has forgotten the others.
    #[must_use]
    pub fn continues(&self) -> bool {
        matches!(&self.input, Input::Chat(messages) if messages.iter().any(|message| message.role == "assistant"))
    }

    /// Bytes that stay the same while a conversation grows: the model, and the messages up to the user's first one; of
    /// completions the beginning of the first prompt (256 bytes or 64 tokens), the same from the round on in which the
    /// prompt is that long.
    #[must_use]
    pub fn conversation_seed(&self) -> Vec<u8> {
        let mut seed = Seed(Vec::new());
        seed.part(match self.api {
            Api::Chat => b"chat",
            Api::Completion => b"completion",
        });
        seed.part(self.served.as_bytes());
        match &self.input {
            Input::Chat(messages) => {
                for message in messages {
                    seed.part(message.role.as_bytes());
                    seed.part(message.name.as_deref().unwrap_or_default().as_bytes());
                    seed.part(message.content.as_bytes());
                    if message.role == "user" {
                        break;
                    }
                }
            }
            Input::Prompts(prompts) => match prompts.first() {
                Some(CompletionPrompt::Text(text)) => {
                    seed.part(&text.as_bytes()[..text.len().min(PROMPT_BYTES)]);
                }
                Some(CompletionPrompt::Tokens(tokens)) => {
                    let beginning = tokens.iter().take(PROMPT_TOKENS);
                    seed.part(&beginning.flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>());
                }
                None => {}
            },
        }
        seed.0
    }
}

/// Parts with their lengths: no two lists of parts look alike.
struct Seed(Vec<u8>);

impl Seed {
    fn part(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}
