//! Frames: what goes over the wire, as pure functions of bytes.
//!
//! All integers are little endian. A frame is a header of 16 bytes and a body:
//!
//! | bytes  | header                                        |
//! |--------|-----------------------------------------------|
//! | 0..4   | length of the body                            |
//! | 4      | kind                                          |
//! | 5..8   | zero                                          |
//! | 8..12  | CRC-32C of the body                           |
//! | 12..16 | CRC-32C of the header's first 12 bytes        |
//!
//! The body of every kind but `data` has one fixed length; that of `data` is bounded by what the peers agreed on. So the
//! header alone, which has its own checksum, says whether a frame can be valid, before anything is allocated for it.
//! Header and `hello` have this form in every version of the protocol.

mod body;
mod header;
mod hello;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;

use bytes::Bytes;

pub use header::{HEADER_BYTES, Header};
pub use hello::{Hello, PREFILL, VERSION, Welcome};
pub(crate) use reader::{FrameReader, ReadError};
pub(crate) use writer::{Outgoing, write_frame, write_frames};

use crate::{Handle, Reason};

/// A token range of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Layer.
    pub layer: u32,
    /// First token.
    pub start: u32,
    /// Tokens.
    pub count: u32,
}

impl Span {
    /// The tokens as positions in the round's sequence.
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.count as usize
    }

    /// Bytes of the span's KV.
    #[must_use]
    pub fn bytes(&self, token_layer_bytes: usize) -> u64 {
        u64::from(self.count).saturating_mul(token_layer_bytes as u64)
    }
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client, first: who it is and what its KV is.
    Hello(Hello),
    /// Owner's answer: what both keep to.
    Welcome(Welcome),
    /// Client: opens a lease.
    Open(Handle),
    /// Owner's answer: the lease's range.
    Opened {
        /// Tokens that can be pulled.
        history: u32,
        /// One past the last token to be pushed.
        end: u32,
    },
    /// Client: asks for history. The answer is one data frame with the same span.
    Pull(Span),
    /// KV, in two parts that follow one another, so that K and V of a span need not be copied together to be sent. A
    /// received frame has all in the first.
    Data(Span, [Bytes; 2]),
    /// Owner: so many more KV bytes of this transfer are written. Not a total, so that their order plays no part.
    Ack(u64),
    /// Client: everything is pushed.
    Finish,
    /// Owner's answer: everything is written.
    Finished,
    /// Client: gives up.
    Abort,
    /// Owner: refuses, or ends the transfer.
    Error(Reason),
    /// Still here.
    Ping,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes changed on the way.
    #[error("the checksum does not match")]
    Checksum,
    /// No frame has this kind.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// A body of a length that the kind cannot have, or that exceeds what was agreed on.
    #[error("a frame of kind {kind} cannot have a body of {length} bytes")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// The body's length.
        length: u32,
    },
    /// A field of the body that cannot have this value.
    #[error("the frame's {0} cannot be")]
    Field(&'static str),
    /// A frame that has no place here.
    #[error("a {0} frame has no place here")]
    Unexpected(&'static str),
    /// No common protocol version.
    #[error("the peer speaks versions {min} to {max}, not {VERSION}")]
    Version {
        /// The peer's oldest version.
        min: u16,
        /// The peer's newest version.
        max: u16,
    },
    /// An unknown element type.
    #[error("element type {0} is not known")]
    Dtype(u8),
}

impl FrameError {
    /// The reason that the peer is told.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Checksum => Reason::Checksum,
            Self::Version { .. } => Reason::Version,
            Self::Dtype(_) => Reason::Dtype,
            Self::Kind(_) | Self::Length { .. } | Self::Field(_) | Self::Unexpected(_) => Reason::Protocol,
        }
    }
}

/// Takes the first frame off `bytes`, if all of it is there. `max_data` is the most KV bytes that a data frame may carry
/// now; 0 if none may come.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &mut Bytes, max_data: u32) -> Result<Option<Frame>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let header = Header::parse(head, max_data)?;
    let end = HEADER_BYTES + header.length as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let body = bytes.split_to(end).slice(HEADER_BYTES..);
    Frame::parse(&header, body).map(Some)
}
