//! Sizes and times within which both sides keep.

use std::time::Duration;

/// The most KV bytes that one data frame carries, whatever the peers agree on.
pub const MAX_DATA_BYTES: u32 = 1 << 20;

/// What one side of a transfer allows itself and its peer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most KV bytes in a data frame; the peers use the smaller of theirs, and never more than [`MAX_DATA_BYTES`].
    pub data_bytes: u32,
    /// KV bytes of one transfer that are under way in one direction: asked for and not yet taken, or sent and not yet
    /// acknowledged. At least one data frame is always allowed.
    pub window_bytes: u32,
    /// Until the TCP connection is there.
    pub connect: Duration,
    /// Until the TLS session is there, and again until the handle is opened.
    pub handshake: Duration,
    /// Until the peer must have sent something (both send a ping when there is nothing else), a frame must have passed
    /// whole, or a store must have done what it was asked for.
    pub progress: Duration,
    /// Silence after which a side sends a ping.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            data_bytes: MAX_DATA_BYTES,
            window_bytes: 8 << 20,
            connect: Duration::from_secs(2),
            handshake: Duration::from_secs(2),
            progress: Duration::from_secs(5),
            ping: Duration::from_secs(1),
        }
    }
}
