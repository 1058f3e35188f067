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
    /// Tokens of prompts in the engine up to which further tasks are started.
    pub token_budget: usize,
}
