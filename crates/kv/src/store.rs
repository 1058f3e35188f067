//! What the owner's side needs of an engine.

use std::ops::Range;

use bytes::Bytes;

/// Where the owner's KV lies. Calls are made concurrently, several for one round, in no particular order.
pub trait KvStore: Send + Sync + 'static {
    /// Reads the KV of `tokens` (positions in the round's sequence) of one layer. The bytes must have the length of the
    /// span.
    ///
    /// # Errors
    /// [`StoreError`], which ends the transfer.
    fn read(
        &self,
        round: u64,
        layer: usize,
        tokens: Range<usize>,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// Writes the KV of `tokens` of one layer; when this returns, it is written. `data` has the length of the span.
    ///
    /// # Errors
    /// [`StoreError`], which ends the transfer.
    fn write(
        &self,
        round: u64,
        layer: usize,
        tokens: Range<usize>,
        data: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A store's failure.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The round has ended.
    #[error("the round has ended")]
    Gone,
    /// Something else went wrong.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}
