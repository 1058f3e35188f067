//! Why a transfer was refused or ended: one small number on the wire, one label in logs and metrics.

use std::fmt;

/// Why a connection, a handle or a transfer was refused, or why a transfer ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No TLS session: no certificate, one of another authority, or not TLS at all. Never on the wire.
    Tls,
    /// No common protocol version.
    Version,
    /// The peer's role cannot do this.
    Role,
    /// The certificate names someone else than expected.
    Identity,
    /// Another model.
    ModelDigest,
    /// Another element type.
    Dtype,
    /// Another number of tokens per block.
    BlockTokens,
    /// Another number of layers.
    Layers,
    /// Another number of KV heads.
    KvHeads,
    /// Another head size.
    HeadDim,
    /// Another arrangement of KV bytes.
    Layout,
    /// Another degree of tensor parallelism.
    TensorParallel,
    /// No lease has this handle (any more).
    UnknownHandle,
    /// The handle was opened before.
    HandleUsed,
    /// The handle was given to another requester.
    Requester,
    /// A malformed frame, or one that has no place here.
    Protocol,
    /// The bytes of a frame were changed on the way.
    Checksum,
    /// A layer or token range outside what the lease allows.
    OutOfRange,
    /// KV that was pushed before.
    Duplicate,
    /// The client finished before everything was pushed.
    Incomplete,
    /// The lease expired.
    LeaseExpired,
    /// The owner gave the lease up.
    LeaseReleased,
    /// The owner's store failed.
    Store,
    /// Nothing came from the peer, or nothing got through to it, for too long.
    Timeout,
    /// The connection ended.
    Disconnected,
    /// The owner shuts down.
    ShuttingDown,
    /// The client gave up.
    Aborted,
}

/// Every reason with its number on the wire and its label. Numbers are never used again for something else.
const TABLE: [(Reason, u16, &str); 27] = [
    (Reason::Tls, 1, "tls"),
    (Reason::Version, 2, "version"),
    (Reason::Role, 3, "role"),
    (Reason::Identity, 4, "identity"),
    (Reason::ModelDigest, 5, "model_digest"),
    (Reason::Dtype, 6, "dtype"),
    (Reason::BlockTokens, 7, "block_tokens"),
    (Reason::Layers, 8, "layers"),
    (Reason::KvHeads, 9, "kv_heads"),
    (Reason::HeadDim, 10, "head_dim"),
    (Reason::Layout, 11, "layout"),
    (Reason::TensorParallel, 12, "tensor_parallel"),
    (Reason::UnknownHandle, 13, "unknown_handle"),
    (Reason::HandleUsed, 14, "handle_used"),
    (Reason::Requester, 15, "requester"),
    (Reason::Protocol, 16, "protocol"),
    (Reason::Checksum, 17, "checksum"),
    (Reason::OutOfRange, 18, "out_of_range"),
    (Reason::Duplicate, 19, "duplicate"),
    (Reason::Incomplete, 20, "incomplete"),
    (Reason::LeaseExpired, 21, "lease_expired"),
    (Reason::LeaseReleased, 22, "lease_released"),
    (Reason::Store, 23, "store"),
    (Reason::Timeout, 24, "timeout"),
    (Reason::Disconnected, 25, "disconnected"),
    (Reason::ShuttingDown, 26, "shutting_down"),
    (Reason::Aborted, 27, "aborted"),
];

impl Reason {
    /// All reasons, for metrics that show each label from the start.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The label in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().2
    }

    /// The number on the wire.
    pub(crate) fn code(self) -> u16 {
        self.row().1
    }

    /// The reason with this number; none for numbers of later versions.
    pub(crate) fn from_code(code: u16) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    fn row(self) -> &'static (Self, u16, &'static str) {
        // The table is in the order of the enumeration, which a test checks.
        &TABLE[self as usize]
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_reason_at_its_place() {
        for (index, (reason, code, label)) in TABLE.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{label}");
            assert_eq!(
                (Reason::from_code(*code), reason.code(), reason.label()),
                (Some(*reason), *code, *label)
            );
        }
        let labels: std::collections::HashSet<_> = TABLE.iter().map(|row| row.2).collect();
        assert_eq!(labels.len(), TABLE.len());
        assert_eq!(Reason::from_code(0), None);
    }
}
