//! The 16 bytes before every body.

use super::FrameError;
use super::body::DATA_HEAD_BYTES;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// Kinds of frames, as on the wire.
pub(super) mod kind {
    pub(in super::super) const HELLO: u8 = 1;
    pub(in super::super) const WELCOME: u8 = 2;
    pub(in super::super) const OPEN: u8 = 3;
    pub(in super::super) const OPENED: u8 = 4;
    pub(in super::super) const PULL: u8 = 5;
    pub(in super::super) const DATA: u8 = 6;
    pub(in super::super) const ACK: u8 = 7;
    pub(in super::super) const FINISH: u8 = 8;
    pub(in super::super) const FINISHED: u8 = 9;
    pub(in super::super) const ABORT: u8 = 10;
    pub(in super::super) const ERROR: u8 = 11;
    pub(in super::super) const PING: u8 = 12;
}

/// A header whose checksum, kind and length are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Kind of the frame.
    pub(super) kind: u8,
    /// Bytes of the body.
    pub(super) length: u32,
    /// CRC-32C of the body.
    pub(super) checksum: u32,
}

impl Header {
    /// Reads a header. `max_data` is the most KV bytes that a data frame may carry now.
    ///
    /// # Errors
    /// When no valid frame can follow.
    pub fn parse(bytes: &[u8; HEADER_BYTES], max_data: u32) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, kind, z0, z1, z2, b0, b1, b2, b3, h0, h1, h2, h3] = *bytes;
        if crc32c::crc32c(&bytes[..12]) != u32::from_le_bytes([h0, h1, h2, h3]) {
            return Err(FrameError::Checksum);
        }
        if [z0, z1, z2] != [0; 3] {
            return Err(FrameError::Field("header"));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let possible = match kind {
            kind::HELLO => length == 72,
            kind::OPEN => length == 16,
            kind::WELCOME | kind::OPENED | kind::ACK => length == 8,
            kind::PULL => length == 12,
            kind::DATA => {
                length > DATA_HEAD_BYTES
                    && u64::from(length) <= u64::from(DATA_HEAD_BYTES) + u64::from(max_data)
            }
            kind::FINISH | kind::FINISHED | kind::ABORT | kind::PING => length == 0,
            kind::ERROR => length == 2,
            unknown => return Err(FrameError::Kind(unknown)),
        };
        if !possible {
            return Err(FrameError::Length { kind, length });
        }
        Ok(Self { kind, length, checksum: u32::from_le_bytes([b0, b1, b2, b3]) })
    }

    /// Bytes of the body that follows.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.length as usize
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}
