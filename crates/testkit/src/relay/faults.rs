//! The faults of one direction, and the counters that prove that they acted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A direction of the bytes through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the target.
    ToTarget,
    /// From the target to the client.
    ToClient,
}

impl Direction {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::ToTarget, Self::ToClient];

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// The faults of one direction; by default none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// How much later everything arrives. Later bytes do not wait for earlier ones to be through.
    pub delay: Duration,
    /// Bytes per second at most.
    pub bandwidth: Option<u64>,
    /// Nothing passes, and both connections stay open, until this is taken back.
    pub stall: bool,
    /// Resets the connection in front of this byte.
    pub cut_at: Option<u64>,
    /// Ends this direction in front of this byte, as an orderly end; the other direction goes on.
    pub half_close_at: Option<u64>,
    /// Flips the lowest bit of this byte.
    pub flip_at: Option<u64>,
}

/// What a relay has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections passed on.
    pub accepted: u64,
    /// New connections that were reset at once.
    pub refused: u64,
    /// Connections that have ended, however they did.
    pub ended: u64,
    /// Connections that were cut by a fault or by `cut`.
    pub cut: u64,
    /// Directions ended early.
    pub half_closed: u64,
    /// Bits flipped.
    pub flipped: u64,
    /// Times that bytes had to wait for a stall to end.
    pub stalled: u64,
    /// Bytes passed on to the target.
    pub bytes_to_target: u64,
    /// Bytes passed on to clients.
    pub bytes_to_client: u64,
}

impl Counts {
    pub(super) const FIELDS: usize = 9;
    pub(super) const ACCEPTED: usize = 0;
    pub(super) const REFUSED: usize = 1;
    pub(super) const ENDED: usize = 2;
    pub(super) const CUT: usize = 3;
    pub(super) const HALF_CLOSED: usize = 4;
    pub(super) const FLIPPED: usize = 5;
    pub(super) const STALLED: usize = 6;
    /// Of [`Direction::ToTarget`]; that of the other direction follows.
    pub(super) const BYTES: usize = 7;

    pub(super) fn read(counters: &[AtomicU64; Self::FIELDS]) -> Self {
        let [accepted, refused, ended, cut, half_closed, flipped, stalled, bytes_to_target, bytes_to_client] =
            std::array::from_fn(|field| counters[field].load(Ordering::Relaxed));
        Self {
            accepted,
            refused,
            ended,
            cut,
            half_closed,
            flipped,
            stalled,
            bytes_to_target,
            bytes_to_client,
        }
    }
}
