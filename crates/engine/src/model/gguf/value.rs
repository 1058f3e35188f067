//! Metadata values of a GGUF file, as far as a model's shape needs them.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// Texts longer than this are passed over: no field that is read here is near it.
const LONGEST_TEXT: u64 = 4096;

/// Arrays within arrays deeper than this are refused.
const DEEPEST_ARRAY: usize = 8;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// An integer of any width.
    Integer(i128),
    /// A floating-point number of any width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// What is not kept: an array or a long text.
    Skipped(&'static str),
}

impl Value {
    /// What the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a truth value",
            Self::Text(_) => "a text",
            Self::Skipped(kind) => kind,
        }
    }
}

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the file ends within its header, at byte {at}")]
    Truncated { at: u64 },
    #[error("it does not begin with the letters GGUF")]
    Magic,
    #[error("version {0} is unknown (1 to 3 are known)")]
    Version(u32),
    #[error("at byte {at}: {count} {what} do not fit into the file")]
    Count { at: u64, count: u64, what: &'static str },
    #[error("{count} {what} are more than {most}")]
    TooMany { count: u64, what: &'static str, most: u64 },
    #[error("field {field} has the unknown value type {code}")]
    ValueType { field: String, code: u32 },
    #[error("field {field} nests arrays too deeply")]
    Depth { field: String },
    #[error("{what} {name} occurs twice")]
    Twice { what: &'static str, name: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads a header front to back. Every length is compared with what is left of the file before anything is allocated.
#[derive(Debug)]
pub(super) struct HeaderReader {
    reader: BufReader<File>,
    length: u64,
    /// Bytes read so far.
    pub(super) at: u64,
    /// Whether counts take 4 bytes (version 1) instead of 8.
    short_counts: bool,
}

impl HeaderReader {
    /// Starts at the file's beginning: magic and version.
    pub(super) fn new(mut file: File) -> Result<Self, HeaderError> {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(0))?;
        let mut header = Self { reader: BufReader::new(file), length, at: 0, short_counts: false };
        if header.bytes()? != *b"GGUF" {
            return Err(HeaderError::Magic);
        }
        match header.u32()? {
            1 => header.short_counts = true,
            2 | 3 => {}
            other => return Err(HeaderError::Version(other)),
        }
        Ok(header)
    }

    /// Bytes of the whole file.
    pub(super) fn file_length(&self) -> u64 {
        self.length
    }

    fn need(&self, count: u64) -> Result<(), HeaderError> {
        if count > self.length.saturating_sub(self.at) {
            return Err(HeaderError::Truncated { at: self.length });
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        self.need(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), HeaderError> {
        self.need(count)?;
        self.reader.seek_relative(count.cast_signed())?;
        self.at += count;
        Ok(())
    }

    /// A 4-byte number.
    pub(super) fn u32(&mut self) -> Result<u32, HeaderError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// An 8-byte number.
    pub(super) fn u64(&mut self) -> Result<u64, HeaderError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A number whose width depends on the version.
    pub(super) fn word(&mut self) -> Result<u64, HeaderError> {
        if self.short_counts { Ok(self.u32()?.into()) } else { self.u64() }
    }

    /// A count of things that take at least `smallest` bytes each.
    pub(super) fn count(&mut self, what: &'static str, smallest: u64) -> Result<u64, HeaderError> {
        let (at, count) = (self.at, self.word()?);
        let left = self.length - self.at;
        match count.checked_mul(smallest) {
            Some(bytes) if bytes <= left => Ok(count),
            _ => Err(HeaderError::Count { at, count, what }),
        }
    }

    /// A text, or `None` when it is too long to be kept.
    fn text(&mut self) -> Result<Option<String>, HeaderError> {
        let length = self.count("bytes of text", 1)?;
        if length > LONGEST_TEXT {
            self.skip(length)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes)?;
        self.at += length;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A name: a text of bounded length.
    pub(super) fn name(&mut self) -> Result<String, HeaderError> {
        let at = self.at;
        self.text()?.ok_or(HeaderError::Count { at, count: LONGEST_TEXT + 1, what: "or more bytes of name" })
    }

    /// The value of `field`, with its type before it.
    pub(super) fn value(&mut self, field: &str) -> Result<Value, HeaderError> {
        let code = self.u32()?;
        Ok(match code {
            0 => Value::Integer(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => self.text()?.map_or(Value::Skipped("a long text"), Value::Text),
            9 => {
                self.skip_array(field, 1)?;
                Value::Skipped("an array")
            }
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.bytes()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            code => return Err(HeaderError::ValueType { field: field.to_owned(), code }),
        })
    }

    fn skip_array(&mut self, field: &str, depth: usize) -> Result<(), HeaderError> {
        if depth > DEEPEST_ARRAY {
            return Err(HeaderError::Depth { field: field.to_owned() });
        }
        let prefix = if self.short_counts { 4 } else { 8 };
        let code = self.u32()?;
        let width = match code {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => prefix,
            9 => 4 + prefix,
            code => return Err(HeaderError::ValueType { field: field.to_owned(), code }),
        };
        let count = self.count("array elements", width)?;
        match code {
            8 => (0..count).try_for_each(|_| {
                let length = self.count("bytes of text", 1)?;
                self.skip(length)
            }),
            9 => (0..count).try_for_each(|_| self.skip_array(field, depth + 1)),
            _ => self.skip(count * width),
        }
    }
}
