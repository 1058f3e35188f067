//! Rounds by the names that callers know them by.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::RoundId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::protocol::{ErrorCode, Salt};
use crate::server::engine::RoundGuard;
use crate::server::error::ApiError;

/// An opened round.
pub(in crate::server) struct Waiting {
    pub guard: RoundGuard,
    pub request_id: String,
    pub session: String,
    pub salt: Salt,
    pub tokens: Vec<u32>,
    pub history: usize,
    pub max_tokens: usize,
    pub until: Instant,
}

enum Entry {
    Opened(Box<Waiting>),
    Running(CancellationToken),
}

type Entries = HashMap<u64, Entry>;

/// The rounds of one process. The engine bounds their number.
pub(in crate::server) struct RoundTable {
    /// Makes names differ from those before a restart, so that nobody gets hold of another's round.
    start: u64,
    open_ttl: Duration,
    entries: Arc<Mutex<Entries>>,
}

/// The entry of a running round; dropping it removes the entry.
pub(in crate::server) struct Running {
    name: u64,
    cancelled: CancellationToken,
    entries: Arc<Mutex<Entries>>,
}

impl RoundTable {
    /// An empty table; opened rounds leave it after `open_ttl`.
    pub(in crate::server) fn new(open_ttl: Duration) -> Self {
        // 53 bits in all: names are numbers that every JSON reader can hold.
        let start = u64::from(rand::random::<u32>() >> 12) << 32;
        Self { start, open_ttl, entries: Arc::default() }
    }

    /// When a round that is opened now is forgotten.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.open_ttl
    }

    /// Adds an opened round; its name.
    pub(super) fn add(&self, waiting: Waiting) -> u64 {
        let name = self.name(waiting.guard.id());
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| !matches!(entry, Entry::Opened(waiting) if waiting.until <= now));
        entries.insert(name, Entry::Opened(Box::new(waiting)));
        name
    }

    /// Takes an opened round to run it.
    pub(super) fn run(&self, name: u64) -> Result<(Waiting, Running), ApiError> {
        let mut entries = self.entries.lock();
        match entries.remove(&name) {
            Some(Entry::Opened(waiting)) => {
                let cancelled = CancellationToken::new();
                entries.insert(name, Entry::Running(cancelled.clone()));
                Ok((*waiting, Running { name, cancelled, entries: self.entries.clone() }))
            }
            Some(running) => {
                entries.insert(name, running);
                Err(ApiError::new(ErrorCode::WrongState, format!("round {name} runs already")))
            }
            None => Err(ApiError::new(ErrorCode::UnknownRound, format!("round {name} does not exist"))),
        }
    }

    /// Cancels a round in any state.
    pub(super) fn cancel(&self, name: u64) {
        let mut entries = self.entries.lock();
        match entries.get(&name) {
            Some(Entry::Opened(_)) => drop(entries.remove(&name)),
            Some(Entry::Running(cancelled)) => cancelled.cancel(),
            None => {}
        }
    }

    /// Rounds that were opened and are not over: running, or to be run within their time.
    pub(in crate::server) fn len(&self) -> usize {
        let now = Instant::now();
        let lives = |entry: &&Entry| match entry {
            Entry::Opened(waiting) => waiting.until > now,
            Entry::Running(_) => true,
        };
        self.entries.lock().values().filter(lives).count()
    }

    /// The name of a round of this engine.
    pub(super) fn name(&self, id: RoundId) -> u64 {
        self.start + id.0
    }
}

impl Running {
    /// Waits until the round is cancelled by its name.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.entries.lock().remove(&self.name);
    }
}
