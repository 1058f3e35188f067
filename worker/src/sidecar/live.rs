//! The sessions that are alive on the own worker: those with a round, and those that had one a moment ago and may come back
//! with the next. Those that are only remembered for their KV bring no load.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::clock::Clock;
use super::lru::Lru;

/// How long a session without a round counts, seconds: tools and retrievers answer sooner.
const LIVE_S: f64 = 10.0;
/// Sessions without a round that are counted at most.
const MAX_IDLE: usize = 1 << 16;

/// Counts them. Copies share one count.
#[derive(Debug, Clone)]
pub(super) struct Live {
    clock: Clock,
    sessions: Arc<Mutex<Sessions>>,
}

#[derive(Debug)]
struct Sessions {
    /// Rounds by session.
    busy: HashMap<String, u32>,
    /// Tokens of KV by session.
    idle: Lru<String, u64>,
}

/// A round of a session; over when dropped.
#[derive(Debug)]
pub(super) struct LiveRound {
    live: Live,
    session: String,
    /// Tokens of KV that the session has by now.
    tokens: u64,
    /// The session is not to be counted here any more.
    left: bool,
}

impl Live {
    pub(super) fn new(clock: Clock) -> Self {
        let sessions = Sessions { busy: HashMap::new(), idle: Lru::new(MAX_IDLE, LIVE_S) };
        Self { clock, sessions: Arc::new(Mutex::new(sessions)) }
    }

    /// A round of the session begins.
    pub(super) fn round(&self, session: &str) -> LiveRound {
        let mut sessions = self.sessions.lock();
        let tokens = sessions.idle.remove(session).unwrap_or(0);
        *sessions.busy.entry(session.to_owned()).or_default() += 1;
        LiveRound { live: self.clone(), session: session.to_owned(), tokens, left: false }
    }

    /// How many sessions there are.
    pub(super) fn count(&self) -> u32 {
        let mut sessions = self.sessions.lock();
        let idle = sessions.idle.len(self.clock.now_s());
        u32::try_from(sessions.busy.len() + idle).unwrap_or(u32::MAX)
    }

    /// How many rounds.
    pub(super) fn rounds(&self) -> u32 {
        self.sessions.lock().busy.values().sum()
    }

    /// Tokens of KV of the sessions without a round.
    pub(super) fn idle_tokens(&self) -> u64 {
        self.sessions.lock().idle.values(self.clock.now_s()).sum()
    }
}

impl LiveRound {
    /// The session has this much KV now.
    pub(super) fn has(&mut self, tokens: u64) {
        self.tokens = tokens;
    }

    /// The session's KV has grown.
    pub(super) fn grows(&mut self, tokens: u64) {
        self.tokens += tokens;
    }

    /// The session has gone to another worker, with this round.
    pub(super) fn leaves(mut self) {
        self.left = true;
    }
}

impl Drop for LiveRound {
    fn drop(&mut self) {
        let now_s = self.live.clock.now_s();
        let mut sessions = self.live.sessions.lock();
        let Some(rounds) = sessions.busy.get_mut(&self.session) else { return };
        *rounds -= 1;
        if *rounds == 0 {
            sessions.busy.remove(&self.session);
            if !self.left {
                sessions.idle.insert(std::mem::take(&mut self.session), self.tokens, now_s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_once_with_and_without_a_round() {
        let live = Live::new(Clock::new());
        let (first, again, other) = (live.round("a"), live.round("a"), live.round("b"));
        assert_eq!(live.count(), 2);
        drop((first, other));
        assert_eq!(live.count(), 2);
        drop(again);
        assert_eq!((live.count(), live.sessions.lock().busy.len()), (2, 0));
        let _back = live.round("b");
        assert_eq!((live.count(), live.sessions.lock().busy.len()), (2, 1));
    }

    #[test]
    fn a_session_without_a_round_counts_with_its_kv_until_it_leaves() {
        let live = Live::new(Clock::new());
        let mut round = live.round("a");
        round.has(30);
        round.grows(3);
        assert_eq!((live.rounds(), live.idle_tokens()), (1, 0));
        drop(round);
        assert_eq!((live.rounds(), live.idle_tokens()), (0, 33));
        // A round that fails changes nothing of it.
        drop(live.round("a"));
        assert_eq!(live.idle_tokens(), 33);
        live.round("a").leaves();
        assert_eq!((live.count(), live.rounds(), live.idle_tokens()), (0, 0, 0));
    }
}
