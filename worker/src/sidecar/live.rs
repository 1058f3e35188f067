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
    idle: Lru<String, ()>,
}

/// A round of a session; over when dropped.
#[derive(Debug)]
pub(super) struct LiveRound {
    live: Live,
    session: String,
}

impl Live {
    pub(super) fn new(clock: Clock) -> Self {
        let sessions = Sessions { busy: HashMap::new(), idle: Lru::new(MAX_IDLE, LIVE_S) };
        Self { clock, sessions: Arc::new(Mutex::new(sessions)) }
    }

    /// A round of the session begins.
    pub(super) fn round(&self, session: &str) -> LiveRound {
        let mut sessions = self.sessions.lock();
        sessions.idle.remove(session);
        *sessions.busy.entry(session.to_owned()).or_default() += 1;
        LiveRound { live: self.clone(), session: session.to_owned() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        let mut sessions = self.sessions.lock();
        let idle = sessions.idle.len(self.clock.now_s());
        u32::try_from(sessions.busy.len() + idle).unwrap_or(u32::MAX)
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
            sessions.idle.insert(std::mem::take(&mut self.session), (), now_s);
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
}
