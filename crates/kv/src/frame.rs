//! Frames.

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes changed on the way.
    #[error("checksum")]
    Checksum,
}

impl FrameError {
    /// The reason that the peer is told.
    #[must_use]
    pub fn reason(self) -> crate::Reason {
        crate::Reason::Checksum
    }
}
