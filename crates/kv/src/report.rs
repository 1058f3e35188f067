//! What a transfer moved.

use crate::Reason;

/// KV that moved in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flow {
    /// KV bytes.
    pub bytes: u64,
    /// Seconds from the first request or data frame until the last byte had arrived; 0 if nothing moved.
    pub seconds: f64,
}

/// What a transfer moved, and how it ended. Both sides make one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransferReport {
    /// History, from the owner to the client.
    pub pulled: Flow,
    /// New KV, from the client to the owner.
    pub pushed: Flow,
    /// Why it ended early; none if it was finished.
    pub failure: Option<Reason>,
}

/// Measures a [`Flow`].
#[derive(Debug, Default)]
pub(crate) struct FlowMeter {
    first: Option<tokio::time::Instant>,
    flow: Flow,
}

impl FlowMeter {
    /// Something was asked for or begins to arrive.
    pub(crate) fn begin(&mut self) {
        self.first.get_or_insert_with(tokio::time::Instant::now);
    }

    /// This many bytes have arrived.
    pub(crate) fn add(&mut self, bytes: usize) {
        let first = *self.first.get_or_insert_with(tokio::time::Instant::now);
        self.flow.bytes += bytes as u64;
        self.flow.seconds = first.elapsed().as_secs_f64();
    }

    /// What was measured.
    pub(crate) fn flow(&self) -> Flow {
        self.flow
    }
}
