//! Binding: the decode worker that a new session stays with.

/// What is known of a decode worker when a session is bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BindCandidate {
    /// KV room, tokens, that is free or could be freed at once.
    pub free_kv_tokens: u64,
    /// Sessions bound to it.
    pub sessions: u32,
    /// Rounds it is decoding.
    pub running: u32,
    /// Whether it takes new sessions.
    pub ready: bool,
}

/// The candidate with the most free KV memory (AMPD, arXiv 2602.14516: a session's KV stays where it is bound, so that
/// memory is what a binding spends). Ties go to the fewest sessions, then to the fewest running rounds, then to the
/// lowest index. `None` when none is ready.
#[must_use]
pub fn bind(candidates: &[BindCandidate]) -> Option<usize> {
    let ready = candidates.iter().enumerate().filter(|(_, candidate)| candidate.ready);
    let key = |c: &BindCandidate| (std::cmp::Reverse(c.free_kv_tokens), c.sessions, c.running);
    ready.min_by_key(|(_, candidate)| key(candidate)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(free_kv_tokens: u64, sessions: u32, running: u32) -> BindCandidate {
        BindCandidate { free_kv_tokens, sessions, running, ready: true }
    }

    #[test]
    fn most_free_memory_wins() {
        assert_eq!(bind(&[candidate(10, 0, 0), candidate(30, 9, 9), candidate(20, 0, 0)]), Some(1));
    }

    #[test]
    fn ties_go_to_fewer_sessions_then_rounds_then_the_first() {
        assert_eq!(bind(&[candidate(10, 2, 0), candidate(10, 1, 5)]), Some(1));
        assert_eq!(bind(&[candidate(10, 1, 2), candidate(10, 1, 1)]), Some(1));
        assert_eq!(bind(&[candidate(10, 1, 1), candidate(10, 1, 1)]), Some(0));
    }

    #[test]
    fn workers_that_are_not_ready_get_nothing() {
        let away = BindCandidate { ready: false, ..candidate(99, 0, 0) };
        assert_eq!(bind(&[away, candidate(1, 5, 5)]), Some(1));
        assert_eq!(bind(&[away]), None);
        assert_eq!(bind(&[]), None);
    }
}
