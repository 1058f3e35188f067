//! The four forms of a completion's prompt: a text, texts, token ids, lists of token ids.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::CompletionPrompt;
use super::json::push_bounded;
use super::limits;

/// One prompt or several.
#[derive(Debug)]
pub(super) struct Prompts(pub Vec<CompletionPrompt>);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read).map(Self)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Vec<CompletionPrompt>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("a string, a list of strings, a list of token ids, or a list of lists of token ids")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![CompletionPrompt::Text(text.to_owned())])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut prompts = Vec::new();
        match seq.next_element()? {
            None => {}
            Some(Entry::Token(first)) => {
                // Kept as they are: a prompt of ids may have millions.
                let mut tokens = vec![first];
                while let Some(token) = seq.next_element()? {
                    tokens.push(token);
                }
                prompts.push(CompletionPrompt::Tokens(tokens));
            }
            Some(Entry::Text(first)) => {
                prompts.push(CompletionPrompt::Text(first));
                while let Some(text) = seq.next_element()? {
                    push_bounded(&mut prompts, CompletionPrompt::Text(text), limits::PROMPTS)?;
                }
            }
            Some(Entry::Tokens(first)) => {
                prompts.push(CompletionPrompt::Tokens(first));
                while let Some(tokens) = seq.next_element()? {
                    push_bounded(&mut prompts, CompletionPrompt::Tokens(tokens), limits::PROMPTS)?;
                }
            }
        }
        Ok(prompts)
    }
}

/// An entry of the outer list: the first one says what the others are.
enum Entry {
    Token(u32),
    Text(String),
    Tokens(Vec<u32>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Entry;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, a token id or a list of token ids")
            }
            fn visit_u64<E: Error>(self, id: u64) -> Result<Entry, E> {
                u32::try_from(id).map(Entry::Token).map_err(|_| E::custom("a token id is too large"))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = seq.next_element()? {
                    tokens.push(token);
                }
                Ok(Entry::Tokens(tokens))
            }
        }
        deserializer.deserialize_any(Read)
    }
}
