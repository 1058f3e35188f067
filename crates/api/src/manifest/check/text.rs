//! Checks of strings.

use regex::Regex;
use serde_json::Value as Json;

use super::Checker;
use crate::manifest::tree::Node;
use crate::schema;

impl Checker {
    /// Checks a string, and returns it when it is right.
    pub(super) fn text(&mut self, schema: &Json, node: &Node, path: &str, text: &str) -> Option<Json> {
        match fault(schema, text) {
            Some(what) => {
                self.wrong(path, node.line, what);
                None
            }
            None => Some(text.into()),
        }
    }
}

/// What is wrong with a string.
fn fault(schema: &Json, text: &str) -> Option<String> {
    let length = text.chars().count() as u64;
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
        return (!choices.contains(&text))
            .then(|| format!("is {text:?}, must be one of {}", choices.join(", ")));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        return Some(format!("has {length} characters, must have at most {most}"));
    }
    if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
        return Some(if length == 0 {
            "must not be empty".to_owned()
        } else {
            format!("must have at least {least} characters")
        });
    }
    let pattern = schema["pattern"].as_str()?;
    match Regex::new(pattern) {
        Ok(regex) if regex.is_match(text) => None,
        Ok(_) => Some(match schema::form_of(pattern) {
            Some(form) => format!("is {text:?}, must be {form}"),
            None => format!("is {text:?}, must match {pattern}"),
        }),
        Err(error) => Some(format!("cannot be checked: {error}")),
    }
}
