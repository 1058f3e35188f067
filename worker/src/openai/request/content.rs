//! Fields that may be written in more than one form.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::json::{Object, push_bounded};
use super::limits;

/// A message's content: a text, or a list of texts, which are joined by line breaks.
#[derive(Debug)]
pub(super) struct Content(pub String);

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = String;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a list of content parts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }
            fn visit_string<E: Error>(self, text: String) -> Result<String, E> {
                Ok(text)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
                let (mut content, mut parts) = (String::new(), 0);
                while let Some(Object(part)) = seq.next_element::<Object<Part>>()? {
                    if parts == limits::PARTS {
                        return Err(A::Error::custom(format_args!("more than {} parts", limits::PARTS)));
                    }
                    let text = match part.kind.as_str() {
                        "text" => part.text.ok_or_else(|| A::Error::missing_field("text"))?,
                        other => {
                            let kind: String = other.chars().take(32).collect();
                            let message =
                                format_args!("parts of type {kind:?} are not supported, only \"text\"");
                            return Err(A::Error::custom(message));
                        }
                    };
                    if parts > 0 {
                        content.push('\n');
                    }
                    content.push_str(&text);
                    parts += 1;
                }
                if parts == 0 {
                    Err(A::Error::custom("the list of content parts is empty"))
                } else {
                    Ok(content)
                }
            }
        }
        deserializer.deserialize_any(Read).map(Self)
    }
}

/// Stop strings: one, or a list.
#[derive(Debug)]
pub(super) struct Stop(pub Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<String>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or a list of strings")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
                checked(text.to_owned()).map(|text| vec![text])
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
                let mut stops = Vec::new();
                while let Some(text) = seq.next_element()? {
                    push_bounded(&mut stops, checked(text)?, limits::STOPS)?;
                }
                Ok(stops)
            }
        }
        fn checked<E: Error>(text: String) -> Result<String, E> {
            if text.is_empty() || text.len() > limits::STOP {
                return Err(E::custom(format_args!("a stop string has 1 to {} bytes", limits::STOP)));
            }
            Ok(text)
        }
        deserializer.deserialize_any(Read).map(Self)
    }
}

/// What is added to the logits of tokens.
#[derive(Debug)]
pub(super) struct LogitBias(pub Vec<(u32, f32)>);

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(u32, f32)>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of token ids and numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut biases = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let id: u32 = key.parse().map_err(|_| A::Error::custom("a key is not a token id"))?;
                    let bias = map.next_value::<f64>()? as f32;
                    push_bounded(&mut biases, (id, bias), limits::LOGIT_BIAS)?;
                }
                biases.sort_unstable_by_key(|(id, _)| *id);
                if biases.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(A::Error::custom("a token id is there more than once"));
                }
                Ok(biases)
            }
        }
        deserializer.deserialize_map(Read).map(Self)
    }
}

/// Log-probabilities: chat says whether, completions say how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logprobs {
    Whether(bool),
    Count(u64),
}

impl<'de> Deserialize<'de> for Logprobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Logprobs;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a boolean (chat) or a non-negative integer (completions)")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Logprobs, E> {
                Ok(Logprobs::Whether(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Logprobs, E> {
                Ok(Logprobs::Count(value))
            }
        }
        deserializer.deserialize_any(Read)
    }
}
