//! Weight matrices re-tiled at load for the kernels.

#![allow(unsafe_code)]

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use half::f16;

use super::encoding::{Encoding, GROUP};
use super::memory::{Arena, Part};
use super::simd::LANES;
use crate::backend::BackendError;
use crate::model::{Matrix, MatrixData};

/// The encodings with kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// See [`super::encoding::U4`].
    U4,
    /// See [`super::encoding::I8`].
    I8,
    /// See [`super::encoding::Bf16`].
    Bf16,
    /// See [`super::encoding::F32`].
    F32,
}

/// Calls `$body` with the type `$encoding` that `$kind` stands for.
macro_rules! with_encoding {
    ($kind:expr, $encoding:ident => $body:expr) => {
        match $kind {
            $crate::cpu::tiles::Kind::U4 => {
                type $encoding = $crate::cpu::encoding::U4;
                $body
            }
            $crate::cpu::tiles::Kind::I8 => {
                type $encoding = $crate::cpu::encoding::I8;
                $body
            }
            $crate::cpu::tiles::Kind::Bf16 => {
                type $encoding = $crate::cpu::encoding::Bf16;
                $body
            }
            $crate::cpu::tiles::Kind::F32 => {
                type $encoding = $crate::cpu::encoding::F32;
                $body
            }
        }
    };
}
pub(super) use with_encoding;

impl Kind {
    /// Bytes of one group.
    fn group_bytes(self) -> usize {
        with_encoding!(self, E => E::BYTES)
    }
}

/// Writes one row's part of a group into the group's bytes, at the row's lane.
type Write = fn(source: &[u8], out: &mut [u8], lane: usize);

/// A matrix as tiles of 16 rows; each tile is a run of groups of 32 columns. Rows beyond the matrix are zero.
#[derive(Debug)]
pub(super) struct Tiles {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) kind: Kind,
    data: Part,
}

impl Tiles {
    /// Re-tiles `matrix` into memory of `arena`. Blocks of 4 bits (`Q4_0`, `Q4_1`), of 8 bits (`Q8_0`) and bf16 keep their
    /// size; everything else becomes f32.
    ///
    /// # Errors
    /// When the matrix cannot be decoded, there is no memory for it, or it has an odd number of columns.
    pub(super) fn new(matrix: &Matrix, arena: &mut Arena) -> Result<Self, BackendError> {
        // The kernels take columns in pairs.
        if !matrix.columns.is_multiple_of(2) {
            let reason = format!("a weight matrix of {} columns, an odd number", matrix.columns);
            return Err(BackendError::Unsupported(reason));
        }
        match &matrix.data {
            MatrixData::Quantized(tensor) if matrix.columns.is_multiple_of(GROUP) => {
                let source = tensor.data()?;
                let (kind, size, write): (_, _, Write) = match tensor.dtype() {
                    GgmlDType::Q4_0 if q4_0_offsets_fit(&source) => (Kind::U4, 18, write_q4_0),
                    GgmlDType::Q4_1 => (Kind::U4, 20, write_q4_1),
                    GgmlDType::Q8_0 => (Kind::I8, 34, write_q8),
                    GgmlDType::BF16 => (Kind::Bf16, 2 * GROUP, write_values::<2>),
                    _ => return Self::from_f32(matrix, arena),
                };
                Self::from_blocks(matrix, arena, kind, &source, size, write)
            }
            MatrixData::Dense(tensor) if tensor.dtype() == DType::BF16 => {
                let values: Vec<half::bf16> = tensor.flatten_all()?.to_vec1()?;
                Self::from_values::<2>(matrix, arena, Kind::Bf16, bytemuck::cast_slice(&values))
            }
            _ => Self::from_f32(matrix, arena),
        }
    }

    fn from_f32(matrix: &Matrix, arena: &mut Arena) -> Result<Self, BackendError> {
        Self::from_values::<4>(matrix, arena, Kind::F32, bytemuck::cast_slice(&matrix.dequantize()?))
    }

    /// From rows of blocks of `size` bytes, each a group.
    fn from_blocks(
        matrix: &Matrix,
        arena: &mut Arena,
        kind: Kind,
        source: &[u8],
        size: usize,
        write: Write,
    ) -> Result<Self, BackendError> {
        let groups = matrix.columns / GROUP;
        Self::fill(matrix, arena, kind, |row, group, out| {
            write(&source[(row * groups + group) * size..][..size], out, row % LANES);
        })
    }

    /// From rows of plain values of `SIZE` bytes; the last group of a row may be short.
    fn from_values<const SIZE: usize>(
        matrix: &Matrix,
        arena: &mut Arena,
        kind: Kind,
        source: &[u8],
    ) -> Result<Self, BackendError> {
        let columns = matrix.columns;
        Self::fill(matrix, arena, kind, |row, group, out| {
            let (first, last) = (group * GROUP, ((group + 1) * GROUP).min(columns));
            let part = &source[(row * columns + first) * SIZE..(row * columns + last) * SIZE];
            write_values::<SIZE>(part, out, row % LANES);
        })
    }

    /// Makes the tiles; `write(row, group, out)` puts one row's part of a group into the group's bytes.
    fn fill(
        matrix: &Matrix,
        arena: &mut Arena,
        kind: Kind,
        write: impl Fn(usize, usize, &mut [u8]),
    ) -> Result<Self, BackendError> {
        let (groups, bytes) = (matrix.columns.div_ceil(GROUP), kind.group_bytes());
        let data = arena.place(matrix.rows.div_ceil(LANES) * groups * bytes, |data| {
            for row in 0..matrix.rows {
                for group in 0..groups {
                    let at = (row / LANES * groups + group) * bytes;
                    write(row, group, &mut data[at..at + bytes]);
                }
            }
        })?;
        Ok(Self { rows: matrix.rows, columns: matrix.columns, kind, data })
    }

    /// Tiles of the matrix.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// The groups of tile `tile`.
    pub(super) fn tile(&self, tile: usize) -> &[u8] {
        let bytes = self.columns.div_ceil(GROUP) * self.kind.group_bytes();
        &self.data[tile * bytes..(tile + 1) * bytes]
    }

    /// Decodes one row into `out`.
    pub(super) fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, bytes) = (self.tile(row / LANES), self.kind.group_bytes());
        for (column, value) in out[..self.columns].iter_mut().enumerate() {
            let group = &tile[column / GROUP * bytes..][..bytes];
            // SAFETY: the group has the bytes of its encoding; column and lane lie inside it.
            *value = with_encoding!(self.kind, E => unsafe { E::single(group.as_ptr(), column % GROUP, row % LANES) });
        }
    }
}

/// `Q4_0` is `(q - 8) * d`, here `q * d + m` with `m = -8 d`, which f16 must be able to hold.
fn q4_0_offsets_fit(source: &[u8]) -> bool {
    source
        .chunks_exact(18)
        .all(|block| (f16::from_le_bytes([block[0], block[1]]).to_f32() * 8.0).abs() <= 65504.0)
}

fn write_q4_0(block: &[u8], out: &mut [u8], lane: usize) {
    let offset = f16::from_f32(f16::from_le_bytes([block[0], block[1]]).to_f32() * -8.0);
    write_q4(&block[..2], &offset.to_le_bytes(), &block[2..], out, lane);
}

fn write_q4_1(block: &[u8], out: &mut [u8], lane: usize) {
    write_q4(&block[..2], &block[2..4], &block[4..], out, lane);
}

fn write_q4(scale: &[u8], offset: &[u8], nibbles: &[u8], out: &mut [u8], lane: usize) {
    out[2 * lane..][..2].copy_from_slice(scale);
    out[2 * (LANES + lane)..][..2].copy_from_slice(offset);
    // GGUF keeps columns j and j + 16 in byte j.
    let q = |column: usize| if column < 16 { nibbles[column] & 15 } else { nibbles[column - 16] >> 4 };
    for pair in 0..GROUP / 2 {
        out[4 * LANES + pair * LANES + lane] = q(2 * pair) | q(2 * pair + 1) << 4;
    }
}

fn write_q8(block: &[u8], out: &mut [u8], lane: usize) {
    out[2 * lane..][..2].copy_from_slice(&block[..2]);
    for (column, q) in block[2..].iter().enumerate() {
        out[2 * LANES + column * LANES + lane] = *q;
    }
}

fn write_values<const SIZE: usize>(values: &[u8], out: &mut [u8], lane: usize) {
    for (column, value) in values.chunks_exact(SIZE).enumerate() {
        out[SIZE * (column * LANES + lane)..][..SIZE].copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    use super::*;

    /// Every encoding keeps the values that candle decodes from it, to the bit.
    #[test]
    fn rows_are_those_of_the_matrix() {
        let (rows, columns) = (37, 512);
        let values: Vec<f32> =
            (0..rows * columns).map(|i| ((i * 7919) % 4001) as f32 / 1000.0 - 2.0).collect();
        let dense = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
        let quantised =
            |encoding| MatrixData::Quantized(Arc::new(QTensor::quantize(&dense, encoding).unwrap()));
        let odd = dense.narrow(1, 0, 50).unwrap().contiguous().unwrap();
        let cases = [
            (quantised(GgmlDType::F32), Kind::F32),
            (quantised(GgmlDType::F16), Kind::F32),
            (quantised(GgmlDType::BF16), Kind::Bf16),
            (quantised(GgmlDType::Q4_0), Kind::U4),
            (quantised(GgmlDType::Q4_1), Kind::U4),
            (quantised(GgmlDType::Q5_0), Kind::F32),
            (quantised(GgmlDType::Q5_1), Kind::F32),
            (quantised(GgmlDType::Q8_0), Kind::I8),
            (quantised(GgmlDType::Q4K), Kind::F32),
            (quantised(GgmlDType::Q5K), Kind::F32),
            (quantised(GgmlDType::Q6K), Kind::F32),
            (MatrixData::Dense(dense.to_dtype(DType::F16).unwrap()), Kind::F32),
            (MatrixData::Dense(odd.to_dtype(DType::BF16).unwrap()), Kind::Bf16),
            (MatrixData::Dense(odd), Kind::F32),
        ];
        let mut arena = Arena::default();
        for (case, (data, kind)) in cases.into_iter().enumerate() {
            let columns = match &data {
                MatrixData::Dense(tensor) => tensor.dims()[1],
                MatrixData::Quantized(_) => columns,
            };
            let matrix = Matrix { rows, columns, data };
            let tiles = Tiles::new(&matrix, &mut arena).unwrap();
            assert_eq!(tiles.kind, kind, "case {case}");
            let mut row = vec![0.0; columns];
            for (index, expected) in matrix.dequantize().unwrap().chunks(columns).enumerate() {
                tiles.row(index, &mut row);
                assert_eq!(row, expected, "case {case}, row {index}");
            }
        }
    }
}
