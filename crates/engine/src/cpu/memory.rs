//! Memory for weights and KV, on huge pages where the system has them: a step walks through all weights, and with small
//! pages address translation alone takes as long as the reading.

#![allow(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

use crate::backend::BackendError;

/// Bytes that an arena maps at once; what nobody writes to takes no memory.
const CHUNK: usize = 64 << 20;
/// Parts start at whole cache lines.
const ALIGNMENT: usize = 64;

/// `bytes` zero bytes at a page's start.
///
/// # Errors
/// When the system has no such memory.
pub(super) fn zeroed(bytes: usize) -> Result<MmapMut, BackendError> {
    let map = MmapMut::map_anon(bytes.max(1)).map_err(|source| BackendError::Memory { bytes, source })?;
    // Without huge pages all works the same, only slower.
    #[cfg(target_os = "linux")]
    if let Err(error) = map.advise(memmap2::Advice::HugePage) {
        tracing::debug!(%error, "no huge pages");
    }
    Ok(map)
}

/// Hands out parts of large mappings, each filled once and only read from then on.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunk: Option<Arc<MmapRaw>>,
    used: usize,
}

impl Arena {
    /// A new part of `bytes` bytes, zero until `fill` has written it.
    pub(super) fn place(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<Part, BackendError> {
        let start = self.used.next_multiple_of(ALIGNMENT);
        let (chunk, start) = match &self.chunk {
            Some(chunk) if start + bytes <= chunk.len() => (Arc::clone(chunk), start),
            _ => (Arc::new(MmapRaw::from(zeroed(bytes.max(CHUNK))?)), 0),
        };
        self.used = start + bytes;
        self.chunk = Some(Arc::clone(&chunk));
        // SAFETY: the range lies inside the mapping, and no range is handed out twice.
        fill(unsafe { std::slice::from_raw_parts_mut(chunk.as_mut_ptr().add(start), bytes) });
        Ok(Part { chunk, start, bytes })
    }
}

/// A part of an arena's memory.
#[derive(Debug)]
pub(super) struct Part {
    chunk: Arc<MmapRaw>,
    start: usize,
    bytes: usize,
}

impl Deref for Part {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies inside the mapping, which lives as long as `self`; it was written before `self` was made.
        unsafe { std::slice::from_raw_parts(self.chunk.as_ptr().add(self.start), self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_apart_and_stay() {
        let mut arena = Arena::default();
        let sizes = [1, 63, 64, 65, CHUNK, 5, CHUNK - 100, 200, 0, 2 * CHUNK + 1, 9];
        let parts: Vec<Part> = (1..)
            .zip(sizes)
            .map(|(mark, size)| {
                let fill = |bytes: &mut [u8]| {
                    assert!(bytes.len() == size && bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(mark);
                };
                arena.place(size, fill).unwrap()
            })
            .collect();
        drop(arena);
        for ((mark, size), part) in (1..).zip(sizes).zip(&parts) {
            assert!(part.len() == size && part.iter().all(|byte| *byte == mark));
        }
    }
}
