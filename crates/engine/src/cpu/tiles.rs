//! Weight matrices re-tiled at load for the kernels.

#![allow(unsafe_code)]

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use half::f16;

use super::encoding::{Encoding, GROUP};
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

/// A matrix as tiles of 16 rows; each tile is a run of groups of 32 columns. Rows beyond the matrix are zero.
#[derive(Debug)]
pub(super) struct Tiles {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) kind: Kind,
    data: Vec<u8>,
}

impl Tiles {
    /// Re-tiles `matrix`. Blocks of 4 bits (`Q4_0`, `Q4_1`), of 8 bits (`Q8_0`) and bf16 keep their size; everything else
    /// becomes f32.
    pub(super) fn new(matrix: &Matrix) -> Result<Self, BackendError> {
        match &matrix.data {
            MatrixData::Quantized(tensor) if matrix.columns.is_multiple_of(GROUP) => {
                let source = tensor.data()?;
                match tensor.dtype() {
                    GgmlDType::Q4_0 if q4_0_offsets_fit(&source) => {
                        Ok(Self::from_blocks(matrix, Kind::U4, &source, 18, |b, out, lane| {
                            write_q4(b, false, out, lane);
                        }))
                    }
                    GgmlDType::Q4_1 => {
                        Ok(Self::from_blocks(matrix, Kind::U4, &source, 20, |b, out, lane| {
                            write_q4(b, true, out, lane);
                        }))
                    }
                    GgmlDType::Q8_0 => Ok(Self::from_blocks(matrix, Kind::I8, &source, 34, write_q8)),
                    GgmlDType::BF16 => {
                        Ok(Self::from_blocks(matrix, Kind::Bf16, &source, 2 * GROUP, write_values::<2>))
                    }
                    _ => Self::from_f32(matrix),
                }
            }
            MatrixData::Dense(tensor) if tensor.dtype() == DType::BF16 => {
                let values: Vec<half::bf16> = tensor.flatten_all()?.to_vec1()?;
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Ok(Self::from_values::<2>(matrix, Kind::Bf16, &bytes))
            }
            _ => Self::from_f32(matrix),
        }
    }

    fn from_f32(matrix: &Matrix) -> Result<Self, BackendError> {
        let bytes: Vec<u8> = matrix.dequantize()?.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Self::from_values::<4>(matrix, Kind::F32, &bytes))
    }

    /// From rows of blocks of `size` bytes, each a group.
    fn from_blocks(
        matrix: &Matrix,
        kind: Kind,
        source: &[u8],
        size: usize,
        write: impl Fn(&[u8], &mut [u8], usize),
    ) -> Self {
        let groups = matrix.columns / GROUP;
        Self::fill(matrix, kind, |row, group, out| {
            write(&source[(row * groups + group) * size..][..size], out, row % LANES);
        })
    }

    /// From rows of plain values of `SIZE` bytes; the last group of a row may be short.
    fn from_values<const SIZE: usize>(matrix: &Matrix, kind: Kind, source: &[u8]) -> Self {
        let columns = matrix.columns;
        Self::fill(matrix, kind, |row, group, out| {
            let (first, last) = (group * GROUP, ((group + 1) * GROUP).min(columns));
            let part = &source[(row * columns + first) * SIZE..(row * columns + last) * SIZE];
            write_values::<SIZE>(part, out, row % LANES);
        })
    }

    /// Makes the tiles; `write(row, group, out)` puts one row's part of a group into the group's bytes.
    fn fill(matrix: &Matrix, kind: Kind, write: impl Fn(usize, usize, &mut [u8])) -> Self {
        let mut tiles = Self { rows: matrix.rows, columns: matrix.columns, kind, data: Vec::new() };
        let (groups, bytes) = (matrix.columns.div_ceil(GROUP), tiles.group_bytes());
        tiles.data = vec![0; tiles.tiles() * groups * bytes];
        for row in 0..matrix.rows {
            for group in 0..groups {
                let at = (row / LANES * groups + group) * bytes;
                write(row, group, &mut tiles.data[at..at + bytes]);
            }
        }
        tiles
    }

    /// Tiles of the matrix.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    fn group_bytes(&self) -> usize {
        with_encoding!(self.kind, E => E::BYTES)
    }

    /// The groups of tile `tile`.
    pub(super) fn tile(&self, tile: usize) -> &[u8] {
        let bytes = self.columns.div_ceil(GROUP) * self.group_bytes();
        &self.data[tile * bytes..(tile + 1) * bytes]
    }

    /// Decodes one row into `out`.
    pub(super) fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, bytes) = (self.tile(row / LANES), self.group_bytes());
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

fn write_q4(block: &[u8], has_offset: bool, out: &mut [u8], lane: usize) {
    let d = [block[0], block[1]];
    let m = if has_offset {
        [block[2], block[3]]
    } else {
        f16::from_f32(f16::from_le_bytes(d).to_f32() * -8.0).to_le_bytes()
    };
    out[2 * lane..][..2].copy_from_slice(&d);
    out[2 * (LANES + lane)..][..2].copy_from_slice(&m);
    // GGUF keeps columns j and j + 16 in byte j.
    let nibbles = &block[if has_offset { 4 } else { 2 }..];
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
