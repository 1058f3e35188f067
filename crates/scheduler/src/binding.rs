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
    /// Predicted time of a step with one round more, as a share of the ITL objective; 0 where that is not known.
    pub itl_share: f64,
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

/// Free share of KV memory under which it gets a price of its own.
const SCARCE: f64 = 0.2;
/// Share of the ITL objective from which on a worker is too slow for one round more: calibrated, this also tells one that
/// is not what it was measured to be.
const SLOW: f64 = 0.9;
/// What the last free token is worth in live sessions, as a multiple of the most that any worker has.
const STEEP: f64 = 4.0;

/// The candidate with the fewest live sessions: each of them will come back with a prefill and decode again, which free
/// memory says nothing of. Only where less than a fifth of `capacity`, the KV tokens of one worker, is free, memory
/// gets a price, and a steep one: a worker that evicts histories computes them again. Ties go to the most free memory,
/// then to the fewest running rounds, then to the lowest index. `None` when none is ready.
#[must_use]
pub fn bind_by_load(candidates: &[BindCandidate], capacity: u64) -> Option<usize> {
    let ready = || candidates.iter().enumerate().filter(|(_, candidate)| candidate.ready);
    let most = ready().map(|(_, candidate)| candidate.sessions).max()?;
    let price = |candidate: &BindCandidate| {
        let free = candidate.free_kv_tokens as f64 / capacity.max(1) as f64;
        let lack = ((SCARCE - free) / SCARCE).max(0.0);
        f64::from(candidate.sessions) + lack * lack * STEEP * f64::from(most.max(1))
    };
    let tie = |c: &BindCandidate| (std::cmp::Reverse(c.free_kv_tokens), c.running);
    let slow = |c: &BindCandidate| c.itl_share >= SLOW;
    let order = |a: &BindCandidate, b: &BindCandidate| {
        slow(a).cmp(&slow(b)).then(price(a).total_cmp(&price(b))).then(tie(a).cmp(&tie(b)))
    };
    ready().min_by(|a, b| order(a.1, b.1)).map(|(index, _)| index)
}

/// The rule by which sessions are bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Binding {
    /// By free memory, [`bind`].
    #[default]
    FreeMemory,
    /// By live sessions, [`bind_by_load`].
    Load,
}

impl Binding {
    /// The candidate to bind to, of workers with `capacity` KV tokens each.
    #[must_use]
    pub fn choose(self, candidates: &[BindCandidate], capacity: u64) -> Option<usize> {
        match self {
            Self::FreeMemory => bind(candidates),
            Self::Load => bind_by_load(candidates, capacity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(free_kv_tokens: u64, sessions: u32, running: u32) -> BindCandidate {
        BindCandidate { free_kv_tokens, sessions, running, itl_share: 0.0, ready: true }
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
    fn by_load_memory_counts_only_where_it_is_scarce() {
        let (few, many) = (candidate(300, 3, 0), candidate(900, 4, 0));
        assert_eq!(bind_by_load(&[many, few], 1000), Some(1));
        assert_eq!(bind_by_load(&[many, BindCandidate { free_kv_tokens: 20, ..few }], 1000), Some(0));
        assert_eq!(Binding::Load.choose(&[many, few], 1000), Some(1));
        assert_eq!(Binding::FreeMemory.choose(&[many, few], 1000), Some(0));
    }

    #[test]
    fn by_load_a_slow_worker_gets_sessions_only_where_all_are_slow() {
        let (slow, busy) = (BindCandidate { itl_share: 0.95, ..candidate(900, 0, 0) }, candidate(900, 9, 9));
        assert_eq!(bind_by_load(&[slow, busy], 1000), Some(1));
        let slower = BindCandidate { itl_share: 1.5, ..busy };
        assert_eq!(bind_by_load(&[slower, slow], 1000), Some(1));
        let unknown = BindCandidate { itl_share: f64::NAN, ..busy };
        assert_eq!(bind_by_load(&[slow, unknown], 1000), Some(1));
    }

    #[test]
    fn by_load_nobody_is_bound_to_the_unready() {
        let away = BindCandidate { ready: false, ..candidate(99, 0, 0) };
        assert_eq!(bind_by_load(&[away, candidate(1, 5, 5)], 0), Some(1));
        assert_eq!(bind_by_load(&[away], 100), None);
        assert_eq!(bind_by_load(&[], 100), None);
    }

    #[test]
    fn workers_that_are_not_ready_get_nothing() {
        let away = BindCandidate { ready: false, ..candidate(99, 0, 0) };
        assert_eq!(bind(&[away, candidate(1, 5, 5)]), Some(1));
        assert_eq!(bind(&[away]), None);
        assert_eq!(bind(&[]), None);
    }
}
