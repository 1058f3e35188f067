//! Which prefill worker still caches a session's KV, as far as this sidecar can know: whoever prefilled it last. Whether
//! it has given that up since, only it knows; it then pulls or computes more than was predicted.

use ampd_engine::backend::BLOCK_TOKENS;
use parking_lot::Mutex;

use super::lru::Lru;

/// Sessions remembered at most.
const MAX_SESSIONS: usize = 1 << 16;

/// A prefill worker with a session's KV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// Its name.
    pub worker: String,
    /// Tokens from the beginning of the prompt that it has: whole blocks.
    pub tokens: u32,
}

/// The holders of the sessions whose rounds run on the own worker.
#[derive(Debug)]
pub(super) struct Holders {
    sessions: Mutex<Lru<String, Holder>>,
}

impl Holders {
    /// Nobody; who holds something is remembered for `ttl_s` seconds, as long as an unused block is kept.
    pub(super) fn new(ttl_s: f64) -> Self {
        Self { sessions: Mutex::new(Lru::new(MAX_SESSIONS, ttl_s)) }
    }

    /// Notes that the worker has prefilled a prompt of so many tokens, all but the last.
    pub(super) fn prefilled(&self, session: &str, worker: &str, prompt: usize, now_s: f64) {
        let whole = prompt.saturating_sub(1) / BLOCK_TOKENS * BLOCK_TOKENS;
        let tokens = u32::try_from(whole).unwrap_or(u32::MAX);
        self.sessions.lock().insert(session.to_owned(), Holder { worker: worker.to_owned(), tokens }, now_s);
    }

    /// Who holds KV of the session.
    pub(super) fn of(&self, session: &str, now_s: f64) -> Option<Holder> {
        self.sessions.lock().get(session, now_s).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_holds_whole_blocks_for_a_while() {
        let holders = Holders::new(10.0);
        holders.prefilled("a", "p0", 2 * BLOCK_TOKENS + 1, 0.0);
        holders.prefilled("a", "p1", 3 * BLOCK_TOKENS, 1.0);
        let tokens = 2 * BLOCK_TOKENS as u32;
        assert_eq!(holders.of("a", 2.0), Some(Holder { worker: "p1".into(), tokens }));
        assert_eq!(holders.of("b", 2.0), None);
        assert_eq!(holders.of("a", 20.0), None);
    }
}
