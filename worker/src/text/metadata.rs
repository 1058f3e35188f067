//! The metadata of a GGUF file, as far as text needs it. Every length is compared with what is left before anything is
//! allocated.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::error::TextError;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i128>),
    Floats(Vec<f64>),
    /// An array of another kind, passed over.
    Other,
}

/// The key-value pairs whose key has the prefix that was asked for.
#[derive(Debug)]
pub(super) struct Metadata {
    values: HashMap<String, Value>,
}

/// Bytes of metadata; a vocabulary of 256 thousand tokens takes some ten million.
const MAX_METADATA: u64 = 64 << 20;
/// Deepest nesting of arrays.
const DEEPEST: usize = 4;

impl Metadata {
    /// Reads the pairs of the file at `path` whose key begins with one of `prefixes`.
    pub(super) fn read(path: &Path, prefixes: &[&str]) -> Result<Self, TextError> {
        let read_error = |source| TextError::Read { path: path.into(), source };
        let file = File::open(path).map_err(read_error)?;
        let length = file.metadata().map_err(read_error)?.len();
        let mut reader = Reader { file: BufReader::new(file), left: length.min(MAX_METADATA) };
        let values = reader.pairs(prefixes).map_err(|fault| match fault {
            Fault::Io(source) => read_error(source),
            Fault::Form { field, what } => TextError::Field { path: path.into(), field, what },
        })?;
        Ok(Self { values })
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        match self.values.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn token(&self, key: &str) -> Option<u32> {
        match self.values.get(key)? {
            Value::Integer(id) => u32::try_from(*id).ok(),
            _ => None,
        }
    }

    pub(super) fn texts(&self, key: &str) -> Option<&[String]> {
        match self.values.get(key)? {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    pub(super) fn integers(&self, key: &str) -> Option<&[i128]> {
        match self.values.get(key)? {
            Value::Integers(integers) => Some(integers),
            _ => None,
        }
    }

    pub(super) fn floats(&self, key: &str) -> Option<&[f64]> {
        match self.values.get(key)? {
            Value::Floats(floats) => Some(floats),
            _ => None,
        }
    }
}

enum Fault {
    Io(io::Error),
    Form { field: String, what: String },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn form(field: &str, what: impl Into<String>) -> Fault {
    Fault::Form { field: field.to_owned(), what: what.into() }
}

struct Reader {
    file: BufReader<File>,
    /// Bytes that may still be read.
    left: u64,
}

impl Reader {
    fn pairs(&mut self, prefixes: &[&str]) -> Result<HashMap<String, Value>, Fault> {
        if &self.bytes::<4>("magic")? != b"GGUF" {
            return Err(form("magic", "is not GGUF"));
        }
        let version = u32::from_le_bytes(self.bytes("version")?);
        if !(2..=3).contains(&version) {
            return Err(form("version", format!("is {version}, versions 2 and 3 are known")));
        }
        let _tensors = self.bytes::<8>("tensor_count")?;
        let count = u64::from_le_bytes(self.bytes("metadata_kv_count")?);
        let mut values = HashMap::new();
        for _ in 0..count {
            let key = self.text("a metadata key")?;
            let kind = u32::from_le_bytes(self.bytes(&key)?);
            if prefixes.iter().any(|prefix| key.starts_with(prefix)) {
                let value = self.value(&key, kind)?;
                values.insert(key, value);
            } else {
                self.skip_value(&key, kind, 0)?;
            }
        }
        Ok(values)
    }

    fn bytes<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Fault> {
        self.take(N as u64, field)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Accounts for `count` bytes that are about to be read.
    fn take(&mut self, count: u64, field: &str) -> Result<(), Fault> {
        self.left = self
            .left
            .checked_sub(count)
            .ok_or_else(|| form(field, "goes beyond the end of the file, or of what metadata may take"))?;
        Ok(())
    }

    fn text(&mut self, field: &str) -> Result<String, Fault> {
        let length = u64::from_le_bytes(self.bytes(field)?);
        self.take(length, field)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        // Vocabularies hold pieces of characters in encodings of their own; a text that is not UTF-8 matches nothing.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, Fault> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.bytes(key)?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.bytes(key)?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes(key)?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes(key)?).into()),
            4 => Value::Integer(u32::from_le_bytes(self.bytes(key)?).into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes(key)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes(key)?).into()),
            7 => Value::Bool(self.bytes::<1>(key)? != [0]),
            8 => Value::Text(self.text(key)?),
            9 => self.array(key)?,
            10 => Value::Integer(u64::from_le_bytes(self.bytes(key)?).into()),
            11 => Value::Integer(i64::from_le_bytes(self.bytes(key)?).into()),
            12 => Value::Float(f64::from_le_bytes(self.bytes(key)?)),
            _ => return Err(form(key, format!("has the unknown value type {kind}"))),
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, Fault> {
        let kind = u32::from_le_bytes(self.bytes(key)?);
        let count = u64::from_le_bytes(self.bytes(key)?);
        // Every element takes at least one byte.
        if count > self.left {
            return Err(form(key, format!("declares {count} elements, more than the file has bytes")));
        }
        let mut elements = (0..count).map(|_| self.value(key, kind));
        let mismatch = || form(key, "mixes kinds of values");
        match kind {
            8 => elements
                .map(|element| match element? {
                    Value::Text(text) => Ok(text),
                    _ => Err(mismatch()),
                })
                .collect::<Result<_, _>>()
                .map(Value::Texts),
            0..=5 | 10 | 11 => elements
                .map(|element| match element? {
                    Value::Integer(integer) => Ok(integer),
                    _ => Err(mismatch()),
                })
                .collect::<Result<_, _>>()
                .map(Value::Integers),
            6 | 12 => elements
                .map(|element| match element? {
                    Value::Float(float) => Ok(float),
                    _ => Err(mismatch()),
                })
                .collect::<Result<_, _>>()
                .map(Value::Floats),
            7 => elements.try_for_each(|element| element.map(drop)).map(|()| Value::Other),
            _ => Err(form(key, "is an array of an unexpected kind")),
        }
    }

    fn skip_value(&mut self, key: &str, kind: u32, depth: usize) -> Result<(), Fault> {
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => u64::from_le_bytes(self.bytes(key)?),
            9 if depth < DEEPEST => {
                let kind = u32::from_le_bytes(self.bytes(key)?);
                let count = u64::from_le_bytes(self.bytes(key)?);
                for _ in 0..count {
                    self.skip_value(key, kind, depth + 1)?;
                }
                return Ok(());
            }
            _ => return Err(form(key, format!("has the unknown value type {kind}"))),
        };
        self.take(size, key)?;
        self.file.seek_relative(size as i64)?;
        Ok(())
    }
}
