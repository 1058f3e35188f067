//! Text to tokens and back: tokenizer, chat template, incremental detokenisation, stop strings.
//!
//! Text that comes from a client never turns into control tokens, whatever it spells; those that the chat template
//! itself writes do.

mod chat;
mod control;
mod detokenizer;
mod error;
mod gguf;
mod huggingface;
mod metadata;
mod pieces;
mod pretokenizer;
mod sentencepiece;
mod stop;
mod strftime;
mod template;
mod tokenizer;

pub use chat::{ChatError, ChatMessage, TextModel};
pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use pieces::{Piece, PieceKind, Pieces};
pub use stop::{StopMatcher, Stopped};
pub use template::{ChatTemplate, TemplateError};
pub use tokenizer::Tokenizer;
