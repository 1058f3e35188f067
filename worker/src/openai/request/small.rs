//! A JSON value if it is small.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

/// Most values within a small one, itself included.
const VALUES: usize = 8;
/// Most bytes of a text within it.
const TEXT: usize = 64;

/// A value of any form; `None` when it is not small. What is left out is read past, not kept.
#[derive(Debug)]
pub(super) struct Small(pub Option<Value>);

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = Cell::new(VALUES);
        Read(&left).deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Read<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                deserializer.deserialize_any(self)
            }
            None => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| None),
        }
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok((value.len() <= TEXT).then(|| value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Some(Vec::new());
        while let Some(value) = seq.next_element_seed(self)? {
            list = list.zip(value).map(|(mut list, value)| {
                list.push(value);
                list
            });
        }
        Ok(list.map(Value::Array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Some(Map::new());
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            object = object.zip(value).filter(|_| key.len() <= TEXT).map(|(mut object, value)| {
                object.insert(key, value);
                object
            });
        }
        Ok(object.map(Value::Object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(text: &str) -> Option<String> {
        serde_json::from_str::<Small>(text).unwrap().0.map(|value| value.to_string())
    }

    #[test]
    fn small_values_are_kept_and_others_read_past() {
        for text in ["null", "true", "0", "-1.5", "\"a\"", "[]", "{}", r#"{"type":"text"}"#, "[1,[2]]"] {
            assert_eq!(small(text).as_deref(), Some(text));
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for text in [&format!("[{}0]", "0,".repeat(1000)), &deep, &format!("\"{}\"", "x".repeat(65))] {
            assert_eq!(small(text), None);
        }
    }
}
