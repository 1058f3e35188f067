//! Results as JSON that can be read and compared line by line.

use serde_json::{Map, Number, Value};

use crate::Results;

/// Digits that numbers keep: more than any interval tells.
const DIGITS: i32 = 6;

/// The results as JSON: a line for each element of a list of objects, numbers of six digits.
///
/// # Errors
/// When a value cannot be written, which no result runs into.
pub fn json(results: &Results) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    write(&serde_json::to_value(results)?, &mut text);
    text.push('\n');
    Ok(text)
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => object(fields, text),
        Value::Array(items) => {
            let lines = items.iter().any(Value::is_object);
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(if lines { "\n" } else { "" });
                write(item, text);
            }
            text.push_str(if lines { "\n]" } else { "]" });
        }
        Value::Number(number) => text.push_str(&rounded(number).to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn object(fields: &Map<String, Value>, text: &mut String) {
    text.push('{');
    for (index, (name, value)) in fields.iter().enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        write(value, text);
    }
    text.push('}');
}

fn rounded(number: &Number) -> Number {
    let Some(value) = number.as_f64().filter(|value| *value != 0.0 && number.is_f64()) else {
        return number.clone();
    };
    let exponent = DIGITS - 1 - value.abs().log10().floor() as i32;
    // Through text: scaling by a power of ten would leave the odd digit at the end.
    let text = if exponent >= 0 { format!("{value:.*}", exponent as usize) } else { format!("{value:.0}") };
    text.parse().ok().and_then(Number::from_f64).unwrap_or_else(|| number.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_objects_have_lines_and_numbers_six_digits() {
        let value = serde_json::json!({
            "a": [{"b": 0.123_456_789, "c": [1, 2.5, 1_234_567.891]}, {"b": -1e-9, "c": null}], "d": "x\"y", "e": 3
        });
        let mut text = String::new();
        write(&value, &mut text);
        assert_eq!(
            text,
            "{\"a\":[\n{\"b\":0.123457,\"c\":[1,2.5,1234568.0]},\n{\"b\":-1e-9,\"c\":null}\n],\"d\":\"x\\\"y\",\"e\":3}"
        );
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }
}
