//! Fields that are known and not supported: they pass only with a value that changes nothing.

use std::collections::HashSet;

use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess};

use super::small::Small;
use super::{Api, limits};
use crate::openai::ApiError;

/// Fields with the values, besides null, that change nothing.
type Table = &'static [(&'static str, &'static [&'static str])];

const BOTH: Table = &[
    ("allowed_token_ids", &["[]"]),
    ("bad_words", &["[]"]),
    ("guided_choice", &["[]"]),
    ("guided_grammar", &["\"\""]),
    ("guided_json", &["\"\"", "{}"]),
    ("guided_regex", &["\"\""]),
    ("kv_transfer_params", &["{}"]),
    ("logits_processors", &["[]"]),
    ("min_tokens", &["0"]),
    ("prompt_logprobs", &[]),
    ("repetition_detection", &[]),
    ("response_format", &[r#"{"type":"text"}"#]),
    ("return_token_ids", &["false"]),
    ("return_tokens_as_token_ids", &["false"]),
    ("skip_special_tokens", &["true"]),
    ("structured_outputs", &["{}"]),
    ("truncate_prompt_tokens", &[]),
    ("use_beam_search", &["false"]),
    ("vllm_xargs", &["{}"]),
];

const CHAT: Table = &[
    ("add_generation_prompt", &["true"]),
    ("add_special_tokens", &["false"]),
    ("audio", &["{}"]),
    ("chat_template", &[]),
    ("chat_template_kwargs", &["{}"]),
    ("continue_final_message", &["false"]),
    ("documents", &["[]"]),
    ("echo", &["false"]),
    ("function_call", &["\"auto\"", "\"none\""]),
    ("functions", &["[]"]),
    ("media_io_kwargs", &["{}"]),
    ("mm_processor_kwargs", &["{}"]),
    ("modalities", &["[]", r#"["text"]"#]),
    ("reasoning_effort", &["\"none\""]),
    ("tool_choice", &["\"auto\"", "\"none\""]),
    ("tools", &["[]"]),
    ("web_search_options", &[]),
];

const COMPLETION: Table = &[("add_special_tokens", &["true"]), ("prompt_embeds", &[]), ("suffix", &["\"\""])];

fn harmless(api: Api, field: &str) -> Option<&'static [&'static str]> {
    let own = match api {
        Api::Chat => CHAT,
        Api::Completion => COMPLETION,
    };
    BOTH.iter().chain(own).find(|(name, _)| *name == field).map(|(_, values)| *values)
}

/// A request's fields without those that are not supported. The first of them that would change the answer ends the
/// reading, as does a field that is there twice; `refusal` then says why.
pub(super) struct Screen<'a, A> {
    fields: A,
    api: Api,
    seen: HashSet<String>,
    refusal: &'a mut Option<ApiError>,
}

impl<'a, A> Screen<'a, A> {
    pub(super) fn new(fields: A, api: Api, refusal: &'a mut Option<ApiError>) -> Self {
        Self { fields, api, seen: HashSet::new(), refusal }
    }

    fn refuse<E: Error>(&mut self, error: ApiError) -> E {
        let refusal = E::custom(&error.message);
        *self.refusal = Some(error);
        refusal
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Screen<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(field) = self.fields.next_key::<String>()? {
            if self.seen.len() == limits::FIELDS {
                let message = format!("The request has more than {} fields.", limits::FIELDS);
                let error = ApiError { param: None, ..ApiError::invalid("", message) };
                return Err(self.refuse(error));
            }
            if !self.seen.insert(field.clone()) {
                let message = format!("{field:?} is there more than once.");
                return Err(self.refuse(ApiError::invalid(field, message)));
            }
            let Some(values) = harmless(self.api, &field) else {
                return seed.deserialize(field.into_deserializer()).map(Some);
            };
            let given = self.fields.next_value::<Small>()?.0.map(|value| value.to_string());
            if given.is_none_or(|given| given != "null" && !values.contains(&given.as_str())) {
                let mut message = format!("{field:?} is not supported yet: leave it out");
                for value in values {
                    message.push_str(" or send ");
                    message.push_str(value);
                }
                return Err(self.refuse(ApiError::unsupported(field, message + ".")));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.fields.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_their_values_are_compact_json() {
        for table in [BOTH, CHAT, COMPLETION] {
            assert!(table.is_sorted_by_key(|(name, _)| *name));
            for value in table.iter().flat_map(|(_, values)| *values) {
                assert_eq!(&serde_json::from_str::<serde_json::Value>(value).unwrap().to_string(), value);
            }
        }
    }
}
