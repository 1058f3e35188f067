//! A request's body as it is written.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::Api;
use super::content::{Content, LogitBias, Logprobs, Stop};
use super::json::{List, Nothing, Object};
use super::limits;
use super::prompt::Prompts;
use super::screen::Screen;
use crate::openai::ApiError;

/// The fields that are supported by either API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    pub model: Option<String>,
    pub messages: Option<List<Object<Message>, { limits::MESSAGES }>>,
    pub prompt: Option<Prompts>,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub logit_bias: Option<LogitBias>,
    pub seed: Option<i64>,
    pub stop: Option<Stop>,
    pub stop_token_ids: Option<List<u32, { limits::STOP_TOKENS }>>,
    pub include_stop_str_in_output: Option<bool>,
    pub ignore_eos: Option<bool>,
    pub n: Option<u64>,
    pub best_of: Option<u64>,
    pub logprobs: Option<Logprobs>,
    pub top_logprobs: Option<u64>,
    pub echo: Option<bool>,
    pub stream: Option<bool>,
    pub stream_options: Option<Object<StreamOptions>>,
    pub session_id: Option<String>,
    pub cache_salt: Option<String>,
}

/// A message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub role: Option<String>,
    pub content: Option<Content>,
    pub name: Option<String>,
    pub tool_calls: Option<Nothing>,
    pub function_call: Option<Nothing>,
    pub audio: Option<Nothing>,
}

/// How to stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamOptions {
    pub include_usage: Option<bool>,
    pub continuous_usage_stats: Option<Nothing>,
}

impl Body {
    /// Reads a body.
    pub(super) fn read(text: &[u8], api: Api) -> Result<Self, ApiError> {
        let not_json = |message: String| ApiError {
            param: None,
            code: Some("invalid_json".into()),
            ..ApiError::invalid("", message)
        };
        let text = std::str::from_utf8(text)
            .map_err(|error| not_json(format!("The body is not UTF-8 at byte {}.", error.valid_up_to())))?;
        if text.starts_with('\u{FEFF}') {
            return Err(not_json(
                "The body begins with a byte order mark, which JSON does not allow.".into(),
            ));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let mut refusal = None;
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let body = Read { api, refusal: &mut refusal }.deserialize(tracked);
        let body = body.and_then(|body| json.end().map(|()| body));
        body.map_err(|error| {
            if let Some(refusal) = refusal {
                return refusal;
            }
            let path = track.path().to_string();
            let message = readable(&error.to_string());
            match error.classify() {
                serde_json::error::Category::Data if path == "." => {
                    not_json(format!("The body is wrong: {message}."))
                }
                serde_json::error::Category::Data => {
                    ApiError::invalid(path.clone(), format!("{path:?}: {message}."))
                }
                _ => {
                    let error = not_json(format!("The body is not JSON: {message}."));
                    if path == "." || error_at_end(&message) { error } else { error.param(path) }
                }
            }
        })
    }
}

/// Whether JSON broke off: where it did so says nothing about a field.
fn error_at_end(message: &str) -> bool {
    message.starts_with("EOF") || message.starts_with("trailing")
}

/// A parser's words, with types as people name them.
fn readable(message: &str) -> String {
    let names = [
        ("u64", "a non-negative integer"),
        ("u32", "a token id"),
        ("i64", "an integer"),
        ("f64", "a number"),
    ];
    names.iter().fold(message.to_owned(), |message, (name, words)| {
        message.replace(&format!("expected {name}"), &format!("expected {words}"))
    })
}

struct Read<'a> {
    api: Api,
    refusal: &'a mut Option<ApiError>,
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Body;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Body, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Body;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Body, A::Error> {
        Body::deserialize(MapAccessDeserializer::new(Screen::new(map, self.api, self.refusal)))
    }
}
