//! The rounds that run on the own worker: one at a time for each session, and numbered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::lines::{Lines, Turn};
use super::lru::Lru;
use super::wire::Refusal;
use crate::protocol::ErrorCode;

/// Rounds of one session that may wait.
const MAX_WAITING: usize = 32;
/// How long one may wait.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// Sessions whose rounds are counted at most.
const MAX_COUNTED: usize = 1 << 18;

/// Whose turn it is, and how many rounds there were.
#[derive(Debug)]
pub(super) struct Rounds {
    lines: Lines,
    /// Numbers the rounds that went on beside their session's.
    asides: AtomicU64,
    counts: Mutex<Lru<String, u64>>,
}

impl Rounds {
    pub(super) fn new(ttl_s: f64) -> Self {
        Self {
            lines: Lines::new(MAX_WAITING),
            asides: AtomicU64::new(0),
            counts: Mutex::new(Lru::new(MAX_COUNTED, ttl_s)),
        }
    }

    /// Waits until the session has no other round. With `aside` a name of its own is taken instead of waiting. Returns the
    /// name under which the round runs.
    pub(super) async fn turn(&self, session: &str, aside: bool) -> Result<(String, Turn), Refusal> {
        if aside {
            if let Some(turn) = self.lines.enter(session) {
                return Ok((session.to_owned(), turn));
            }
            // Clients that named no session know nothing of each other: none of them waits for another.
            let name = format!("a{}/{session}", self.asides.fetch_add(1, Ordering::Relaxed));
            if let Some(turn) = self.lines.enter(&name) {
                return Ok((name, turn));
            }
        }
        match self.lines.wait(session, LONGEST_WAIT).await {
            Ok(turn) => Ok((session.to_owned(), turn)),
            Err(error) => Err(Refusal {
                retry_after_ms: Some(1000),
                ..Refusal::new(ErrorCode::SessionBusy, format!("the session has a round: {error}"))
            }),
        }
    }

    /// The number of the session's last round here, if it has had one and has not gone since.
    pub(super) fn last(&self, session: &str, now_s: f64) -> Option<u64> {
        self.counts.lock().get(session, now_s).copied()
    }

    /// The session goes elsewhere.
    pub(super) fn forget(&self, session: &str) {
        self.counts.lock().remove(session);
    }

    /// The number of the session's next round, when it is known to have had `before`.
    pub(super) fn number(&self, session: &str, before: u64, now_s: f64) -> u64 {
        let mut counts = self.counts.lock();
        let counted = counts.get(session, now_s).copied().unwrap_or(0);
        let number = counted.max(before) + 1;
        counts.insert(session.to_owned(), number, now_s);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conversations_that_begin_alike_go_on_beside_each_other() {
        let rounds = Rounds::new(10.0);
        let (first, _turn) = rounds.turn("s/t/x", true).await.unwrap();
        assert_eq!(first, "s/t/x");
        let (mut names, mut turns) = (std::collections::HashSet::from([first]), Vec::new());
        for session in ["s/t/x"; 200].into_iter().chain(["c1/t/x"; 200]) {
            let (name, turn) = rounds.turn(session, true).await.unwrap();
            assert!(names.insert(name));
            turns.push(turn);
        }
    }

    #[test]
    fn rounds_are_numbered_on() {
        let rounds = Rounds::new(10.0);
        assert_eq!(rounds.number("a", 0, 0.0), 1);
        assert_eq!(rounds.number("a", 0, 1.0), 2);
        assert_eq!(rounds.number("a", 7, 2.0), 8);
        assert_eq!(rounds.number("a", 0, 20.0), 1);
        assert_eq!((rounds.last("a", 20.0), rounds.last("b", 20.0)), (Some(1), None));
        rounds.forget("a");
        assert_eq!(rounds.last("a", 20.0), None);
    }
}
