//! Reading JSON without growth: bounded lists, and objects that are written as objects.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A structure written as a JSON object. Derived ones alone also take a list of their fields' values.
#[derive(Debug)]
pub(super) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = T;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Read(PhantomData)).map(Self)
    }
}

/// A list of at most `N` entries; a longer one is refused where it becomes too long.
#[derive(Debug)]
pub(super) struct List<T, const N: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for List<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Read<T, N> {
            type Value = Vec<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    push_bounded(&mut entries, entry, N)?;
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_seq(Read::<T, N>(PhantomData)).map(Self)
    }
}

/// Adds an entry to a list of at most `limit`.
pub(super) fn push_bounded<T, E: Error>(list: &mut Vec<T>, entry: T, limit: usize) -> Result<(), E> {
    if list.len() == limit {
        return Err(E::custom(format_args!("there may be at most {limit} entries")));
    }
    list.push(entry);
    Ok(())
}

/// Whether a field that is not supported says nothing: an empty list, object or text, or false. (Null reads as none.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nothing(pub bool);

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = bool;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
                Ok(!value)
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
                Ok(false)
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
                Ok(value.is_empty())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
                let mut nothing = true;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    nothing = false;
                }
                Ok(nothing)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
                let mut nothing = true;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    nothing = false;
                }
                Ok(nothing)
            }
        }
        deserializer.deserialize_any(Read).map(Self)
    }
}
