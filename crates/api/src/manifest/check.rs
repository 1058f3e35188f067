//! Checks a tree against a schema as the API server does, and tells everything that does not fit.

mod similar;
mod text;

use serde_json::{Map, Value as Json};

use super::FieldError;
use super::tree::{Entry, Node, Value};

/// Most errors that are told: a wrong file should not fill a screen without end.
pub const MAX_ERRORS: usize = 100;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub struct Checker {
    pub errors: Vec<FieldError>,
}

impl Checker {
    /// Records what is wrong.
    pub fn wrong(&mut self, field: &str, line: u64, what: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { field: field.to_owned(), line: Some(line), what: what.into() });
        }
    }

    /// Checks a node and returns the parts of it that are right. Null is as if it were not there, as for the API server.
    pub fn check(&mut self, schema: &Json, node: &Node, path: &str) -> Option<Json> {
        if schema["x-kubernetes-int-or-string"] == true {
            return match &node.value {
                Value::Integer(number) => Some((*number).into()),
                Value::Text(text) => self.text(schema, node, path, text),
                other => self.wrong_type(node, path, "a string or an integer", other),
            };
        }
        if schema["x-kubernetes-preserve-unknown-fields"] == true && matches!(node.value, Value::Map(_)) {
            return Some(node.to_json());
        }
        match (schema["type"].as_str().unwrap_or_default(), &node.value) {
            ("object", Value::Map(entries)) => Some(self.object(schema, node, path, entries)),
            ("array", Value::List(nodes)) => self.list(schema, node, path, nodes),
            ("string", Value::Text(text)) => self.text(schema, node, path, text),
            ("integer", Value::Integer(number)) => self.integer(schema, node, path, *number),
            ("boolean", Value::Bool(value)) => Some((*value).into()),
            ("object", other) => self.wrong_type(node, path, "a map", other),
            ("array", other) => self.wrong_type(node, path, "a list", other),
            ("integer", other) => self.wrong_type(node, path, "an integer", other),
            ("boolean", other) => self.wrong_type(node, path, "true or false", other),
            ("string", other) => self.wrong_type(node, path, "a string", other),
            // No type is asked for: metadata that belongs to the API server.
            _ => None,
        }
    }

    fn wrong_type(&mut self, node: &Node, path: &str, wanted: &str, found: &Value) -> Option<Json> {
        let scalar = match found {
            Value::Bool(value) => Some(value.to_string()),
            Value::Integer(value) => Some(value.to_string()),
            Value::Number(value) => Some(value.to_string()),
            _ => None,
        };
        let hint = match scalar {
            Some(scalar) if wanted == "a string" => format!("; write it in quotes: \"{scalar}\""),
            _ => String::new(),
        };
        self.wrong(path, node.line, format!("must be {wanted}, not {}{hint}", found.kind()));
        None
    }

    fn object(&mut self, schema: &Json, node: &Node, path: &str, entries: &[Entry]) -> Json {
        let known = schema["properties"].as_object();
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let mut right = Map::new();
        for Entry { line, name, node } in entries {
            let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some(schema) = known.and_then(|known| known.get(name)).or(others) else {
                let names = known.into_iter().flat_map(Map::keys);
                let hint = similar::nearest(name, names)
                    .map(|nearest| format!("; did you mean {nearest}?"))
                    .unwrap_or_default();
                self.wrong(&field, *line, format!("is not a field here{hint}"));
                continue;
            };
            if node.value != Value::Null
                && let Some(value) = self.check(schema, node, &field)
            {
                right.insert(name.clone(), value);
            }
        }
        if let Some(most) = schema["maxProperties"].as_u64()
            && entries.len() as u64 > most
        {
            self.wrong(
                path,
                node.line,
                format!("must have at most {most} fields, there are {}", entries.len()),
            );
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if node.entry(name).is_none_or(|entry| entry.node.value == Value::Null) {
                let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                self.wrong(&field, node.line_of(name), "is required");
            }
        }
        Json::Object(right)
    }

    fn list(&mut self, schema: &Json, node: &Node, path: &str, nodes: &[Node]) -> Option<Json> {
        let count = nodes.len() as u64;
        if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
            self.wrong(path, node.line, format!("must have at least {least} items"));
            return None;
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
            self.wrong(path, node.line, format!("must have at most {most} items, there are {count}"));
            return None;
        }
        let set = schema["x-kubernetes-list-type"] == "set";
        // Items of a map are told apart by their keys alone.
        let keys: Option<Vec<&str>> = schema["x-kubernetes-list-map-keys"]
            .as_array()
            .map(|keys| keys.iter().filter_map(Json::as_str).collect());
        let same = |one: &Json, other: &Json| match &keys {
            Some(keys) => keys.iter().all(|key| one[*key] == other[*key]),
            None => set && one == other,
        };
        let mut right: Vec<Json> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let field = format!("{path}[{index}]");
            if let Some(value) = self.check(&schema["items"], node, &field) {
                if right.iter().any(|other| same(other, &value)) {
                    self.wrong(&field, node.line, "is there twice");
                }
                right.push(value);
            }
        }
        Some(Json::Array(right))
    }

    fn integer(&mut self, schema: &Json, node: &Node, path: &str, number: i64) -> Option<Json> {
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        let value = number as f64;
        if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
            return Some(number.into());
        }
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, most) => format!("at most {}", most.unwrap_or_default()),
        };
        self.wrong(path, node.line, format!("is {number}, must be {range}"));
        None
    }
}
