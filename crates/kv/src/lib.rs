//! KV-cache transfer between workers: framed protocol, leases, TLS.
//!
//! The *owner* of a session's KV, its decode worker, serves ([`KvServer`]); a prefill worker is the client ([`KvClient`]).
//! For each remote prefill the owner grants a [`Lease`] and hands its [`Handle`] over with the task. The client opens the
//! handle once, pulls the history's KV, pushes the increment's KV while it computes, and finishes; the owner acknowledges
//! when everything is written to its [`KvStore`]. Whatever ends a transfer early, on either side and at any byte, ends the
//! lease, which the owner observes.
//!
//! KV bytes have the form that the engine reads and writes for a span of tokens in one layer: K, then V; each, for every
//! overlapped block in order, `[kv_heads][rows of the block inside the span][head_dim]`.

mod client;
mod coverage;
mod error;
mod fingerprint;
pub mod frame;
mod handle;
mod leases;
mod limits;
mod pieces;
mod reason;
mod server;
mod store;
pub mod tls;

pub use client::{KvClient, Piece, Pull, Transfer};
pub use error::KvError;
pub use fingerprint::{BadFingerprint, Dtype, Fingerprint};
pub use handle::{Handle, InvalidHandle};
pub use leases::{Grant, GrantError, Lease, LeaseEnd, Leases, MAX_LEASE};
pub use limits::{Limits, MAX_DATA_BYTES};
pub use reason::Reason;
pub use server::{KvServer, NoObserver, Observer, serve};
pub use store::{KvStore, StoreError};

mod report;
pub use report::{Flow, TransferReport};
