//! Reading a tensor's bytes from its place in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Bytes in memory that is aligned for every element type.
#[derive(Debug)]
pub(super) struct AlignedBytes {
    words: Vec<u64>,
    length: usize,
}

impl AlignedBytes {
    /// Reads `length` bytes at `start`; the caller has compared them with the file's length.
    pub(super) fn read(file: &mut File, start: u64, length: usize) -> std::io::Result<Self> {
        let mut words = vec![0; length.div_ceil(8)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytemuck::cast_slice_mut(&mut words)[..length])?;
        Ok(Self { words, length })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    /// The bytes as numbers; their count is a multiple of the number's size.
    pub(super) fn elements<T: bytemuck::AnyBitPattern>(&self) -> &[T] {
        bytemuck::cast_slice(self.as_slice())
    }
}
