//! The header of a GGUF file: metadata and the places of the tensors.
//!
//! candle brings a reader of its own; this one reports unsupported tensor types and damaged fields by name, refuses
//! overlapping tensors, and does not keep the vocabulary.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use candle_core::quantized::GgmlDType;

use super::value::{HeaderError, HeaderReader, Value};
use crate::model::ModelError;

/// Where tensor data is aligned to unless the file says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The most dimensions a tensor may have.
const MOST_DIMENSIONS: u32 = 4;

/// The most fields and the most tensors of a file: far above any model.
const MOST_ENTRIES: u64 = 1 << 16;

/// The fewest bytes of a tensor's entry: a name's length, a dimension count, a type and an offset.
const SMALLEST_TENSOR: u64 = 4 + 4 + 4 + 8;

/// The fewest bytes of a field: a name's length, a type and a value.
const SMALLEST_FIELD: u64 = 4 + 4 + 1;

/// A read header.
#[derive(Debug)]
pub(super) struct Header {
    /// Metadata.
    pub(super) fields: HashMap<String, Value>,
    /// The tensors by name; they lie within the file and apart from each other.
    pub(super) tensors: BTreeMap<String, Place>,
}

/// A tensor's type, shape and place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The encoding.
    pub(super) dtype: GgmlDType,
    /// Dimensions, slowest first.
    pub(super) shape: Vec<usize>,
    /// First byte, from the file's beginning.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
}

impl Header {
    /// Reads the header of `file`.
    pub(super) fn read(path: &Path, file: File) -> Result<Self, ModelError> {
        let damaged = |error: HeaderError| match error {
            HeaderError::Io(source) => ModelError::Read { path: path.into(), source },
            other => ModelError::damaged(path, other),
        };
        let mut reader = HeaderReader::new(file).map_err(damaged)?;
        let tensors = entries(&mut reader, "tensors", SMALLEST_TENSOR).map_err(damaged)?;
        let values = entries(&mut reader, "fields", SMALLEST_FIELD).map_err(damaged)?;
        let mut fields = HashMap::new();
        for _ in 0..values {
            let (name, value) = read_field(&mut reader).map_err(damaged)?;
            if fields.insert(name.clone(), value).is_some() {
                return Err(damaged(HeaderError::Twice { what: "field", name }));
            }
        }
        let mut places = BTreeMap::new();
        for _ in 0..tensors {
            let (name, raw) = read_tensor(&mut reader).map_err(damaged)?;
            let place = raw.check().map_err(|what| ModelError::tensor(path, &name, what))?;
            if places.insert(name.clone(), place).is_some() {
                return Err(damaged(HeaderError::Twice { what: "tensor", name }));
            }
        }
        let alignment = match fields.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(number)) if (1..=1 << 20).contains(number) && number.count_ones() == 1 => {
                *number as u64
            }
            Some(_) => return Err(ModelError::field(path, "general.alignment", "must be a power of two")),
        };
        let data = reader.at.next_multiple_of(alignment);
        lay_out(path, &mut places, data, alignment, reader.file_length())?;
        Ok(Self { fields, tensors: places })
    }
}

fn entries(reader: &mut HeaderReader, what: &'static str, smallest: u64) -> Result<u64, HeaderError> {
    let count = reader.count(what, smallest)?;
    if count > MOST_ENTRIES {
        return Err(HeaderError::TooMany { count, what, most: MOST_ENTRIES });
    }
    Ok(count)
}

fn read_field(reader: &mut HeaderReader) -> Result<(String, Value), HeaderError> {
    let name = reader.name()?;
    let value = reader.value(&name)?;
    Ok((name, value))
}

/// A tensor's entry as it stands in the file.
struct RawTensor {
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

fn read_tensor(reader: &mut HeaderReader) -> Result<(String, RawTensor), HeaderError> {
    let name = reader.name()?;
    let (at, count) = (reader.at, reader.u32()?);
    if count > MOST_DIMENSIONS {
        return Err(HeaderError::Count { at, count: count.into(), what: "dimensions" });
    }
    let dimensions = (0..count).map(|_| reader.word()).collect::<Result<_, _>>()?;
    Ok((name, RawTensor { dimensions, kind: reader.u32()?, offset: reader.u64()? }))
}

impl RawTensor {
    /// The checked entry; `start` is still relative to the data section.
    fn check(&self) -> Result<Place, String> {
        let dtype = dtype(self.kind).ok_or_else(|| format!("has the unsupported type {}", self.kind))?;
        let (block, size) = (dtype.block_size() as u64, dtype.type_size() as u64);
        let columns = self.dimensions.first().copied().unwrap_or(1);
        if !columns.is_multiple_of(block) {
            return Err(format!("has {columns} columns, but {dtype:?} packs {block} at a time"));
        }
        let elements = self.dimensions.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
        let bytes = elements.and_then(|elements| (elements / block).checked_mul(size));
        let bytes = bytes.ok_or_else(|| format!("has impossible dimensions {:?}", self.dimensions))?;
        let shape = self.dimensions.iter().rev().map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX));
        Ok(Place { dtype, shape: shape.collect(), start: self.offset, bytes })
    }
}

/// Makes the places absolute and checks that they are aligned, inside the file and apart from each other.
fn lay_out(
    path: &Path,
    places: &mut BTreeMap<String, Place>,
    data: u64,
    alignment: u64,
    file: u64,
) -> Result<(), ModelError> {
    for (name, place) in places.iter_mut() {
        if !place.start.is_multiple_of(alignment) {
            let what = format!("begins at offset {}, which is not a multiple of {alignment}", place.start);
            return Err(ModelError::tensor(path, name, what));
        }
        let start = data.checked_add(place.start);
        let end = start.and_then(|start| start.checked_add(place.bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file => place.start = start,
            _ => {
                let what = format!(
                    "({} bytes at offset {}) reaches beyond the end of the file ({file} bytes)",
                    place.bytes, place.start
                );
                return Err(ModelError::tensor(path, name, what));
            }
        }
    }
    let mut order: Vec<_> = places.iter().filter(|(_, place)| place.bytes > 0).collect();
    order.sort_by_key(|(_, place)| place.start);
    for pair in order.windows(2) {
        let ((first, before), (second, after)) = (pair[0], pair[1]);
        if before.start + before.bytes > after.start {
            return Err(ModelError::tensor(path, second, format!("overlaps tensor {first}")));
        }
    }
    Ok(())
}

/// The encodings that candle decodes, by GGUF's numbers.
fn dtype(code: u32) -> Option<GgmlDType> {
    Some(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
