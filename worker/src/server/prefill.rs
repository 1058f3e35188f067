//! The prefill worker: its queue, and the tasks that leave it.

mod dispatch;
mod handler;
mod queue;
mod task;

pub(super) use dispatch::{Dispatch, dispatch};
pub(super) use handler::prefill;
pub(super) use queue::Queue;

use std::sync::Arc;

use ampd_kv::KvClient;
use tokio::sync::Semaphore;

/// Pieces of KV that are held in memory at once, of up to a megabyte each.
pub(super) const PIECES: usize = 128;

/// What only a prefill worker has.
pub(super) struct PrefillSide {
    /// Tasks that wait.
    pub queue: Arc<Queue>,
    /// Opens transfers with decode workers.
    pub kv: KvClient,
    /// SAN URI that decode workers have.
    pub decode_uri: String,
    /// The model's layers.
    pub layers: usize,
    /// Places for pieces of KV on their way into the engine or out of it, all tasks together.
    pub pieces: Semaphore,
    /// Tokens of prompts in the engine up to which further tasks are started.
    pub token_budget: usize,
}
