//! The OpenAI API without its sockets: bodies to checked requests, prompts to tokens, events of rounds to JSON and
//! server-sent events.
//!
//! A request is parsed ([`parse_chat`], [`parse_completion`]), tokenised ([`tokenize`], CPU work for a thread of its own),
//! run as one round for each of its choices ([`Request::open_round`]), and answered by a [`Renderer`] that takes in the
//! rounds' events.

mod error;
mod model;
mod render;
mod request;

pub use error::ApiError;
pub use model::ServedModel;
pub use render::{Rendered, Renderer, ResponseHead, done_frame, error_frame, ping_frame};
pub use request::{Api, CompletionPrompt, Input, Prompt, Request, parse_chat, parse_completion, tokenize};
