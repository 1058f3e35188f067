//! A buffer whose parts several threads write at once.

#![allow(unsafe_code)]

use std::marker::PhantomData;

/// A mutable buffer, shared by tasks of which each writes parts of its own.
#[derive(Clone, Copy)]
pub(super) struct Disjoint<'a> {
    start: *mut f32,
    length: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: callers of `part` promise that no two tasks use the same elements at once.
unsafe impl Send for Disjoint<'_> {}
// SAFETY: as above.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub(super) fn new(buffer: &'a mut [f32]) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), buffer: PhantomData }
    }

    /// `length` elements from `start` on.
    ///
    /// # Safety
    /// While the part is in use, nobody else may use its elements.
    ///
    /// # Panics
    /// When the part does not lie inside the buffer.
    pub(super) unsafe fn part(self, start: usize, length: usize) -> &'a mut [f32] {
        assert!(start.checked_add(length).is_some_and(|end| end <= self.length));
        // SAFETY: inside the buffer, and the caller vouches that nobody else uses it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
