//! Moving: the decode worker on which a session's next round is better opened than on its own.

use ampd_perfmodel::{PerfModel, sane};

/// What is known of a decode worker when a round is about to be opened.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MoveCandidate {
    /// Rounds that are open there, also those whose prefill is still under way: they will decode soon.
    pub rounds: u32,
    /// Tokens of KV that these hold.
    pub round_tokens: u64,
    /// Tokens of KV that live sessions need, those with an open round included.
    pub live_tokens: u64,
    /// Tokens of KV that are free or could be freed at once.
    pub free_tokens: u64,
    /// Its decode steps, measured, as a multiple of what the model says.
    pub step_ratio: f64,
    /// Seconds since all this was so.
    pub age_s: f64,
    /// Rounds that this router has had moved there since.
    pub sent: u32,
    /// Whether it takes sessions.
    pub ready: bool,
}

/// Share of the ITL objective that a move has to gain: it costs a transfer, and what is known of others is a little old.
const WORTH: f64 = 0.02;
/// Steps below this share of the objective are all the same: evenly loaded workers have no room for long local prefills,
/// while one with few rounds has.
const CALM: f64 = 0.8;
/// Share of the KV memory that live sessions leave under which memory gets a price of its own: they grow.
const SCARCE: f64 = 0.3;
/// Beyond this ratio, or its inverse, a worker is taken for slower or faster than the own one. What is less is the noise
/// of calibration, and a per cent of it is more than some models' steps differ by between few rounds and many.
const UNLIKE: f64 = 1.15;
/// Nobody moves to a worker that was last heard of longer ago, seconds: rounds come and go faster.
const OLDEST_S: f64 = 1.0;

/// Moves between the decode workers of a deployment.
#[derive(Debug, Clone, Copy)]
pub struct Moving<'a> {
    /// The performance model, as corrected by the own worker.
    pub model: &'a PerfModel,
    /// The ITL objective, seconds.
    pub itl_s: f64,
    /// KV tokens of one worker.
    pub capacity: u64,
}

impl Moving<'_> {
    /// The candidate on which a round with a prompt of `tokens` is to be opened, instead of the one at `own`, which has its
    /// session's KV; that session is not counted anywhere. It is the one whose step is then predicted to be the shortest,
    /// of those that take the prompt without giving up what is in use, where that is worth a move; `None` when the session
    /// stays. Where live sessions fill the memory, that has a steep price: a worker that evicts histories computes them
    /// again. Each worker has a router, and all are expected to move as much as this one.
    #[must_use]
    pub fn choose(&self, candidates: &[MoveCandidate], own: usize, tokens: u32) -> Option<usize> {
        let routers = candidates.len() as f64;
        let here = self.price(candidates.get(own)?, routers, tokens);
        let takes = |other: &MoveCandidate| {
            other.ready && other.age_s <= OLDEST_S && other.free_tokens > u64::from(tokens)
        };
        let others = candidates.iter().enumerate().filter(|(place, other)| *place != own && takes(other));
        let prices = others.map(|(place, other)| (place, self.price(other, routers, tokens)));
        let (place, there) = prices.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (here - there > WORTH).then_some(place)
    }

    /// The step with this round too as a share of the objective, and what memory costs.
    fn price(&self, candidate: &MoveCandidate, routers: f64, tokens: u32) -> f64 {
        let more = 1.0 + f64::from(candidate.sent) * routers;
        let rounds = f64::from(candidate.rounds) + more;
        let added = f64::from(tokens) * more;
        let context = (candidate.round_tokens as f64 + added) / rounds;
        let unlike = candidate.step_ratio > UNLIKE || candidate.step_ratio < 1.0 / UNLIKE;
        let ratio = if unlike { candidate.step_ratio } else { 1.0 };
        let step = sane(self.model.decode_s(rounds, context) * ratio / self.itl_s);
        let live = (candidate.live_tokens as f64 + added) / self.capacity.max(1) as f64;
        let lack = ((live - (1.0 - SCARCE)) / SCARCE).max(0.0);
        step.max(CALM) + lack * lack
    }
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{DecodeSegment, PrefillSegment, Transfer};
    use proptest::prelude::*;

    use super::*;

    fn model() -> PerfModel {
        PerfModel {
            prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.008, k1: 1.2e-4, k2: 4e-9 }],
            decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.008, k1: 1e-4, k2: 2e-8 }],
            transfer: Transfer { latency_s: 1e-4, bytes_per_s: 25e9, bytes_per_token: 262_144.0 },
        }
    }

    fn worker(rounds: u32) -> MoveCandidate {
        let tokens = u64::from(rounds) * 1000;
        MoveCandidate {
            rounds,
            round_tokens: tokens,
            live_tokens: tokens,
            free_tokens: 900_000,
            step_ratio: 1.0,
            age_s: 0.1,
            sent: 0,
            ready: true,
        }
    }

    fn chosen(candidates: &[MoveCandidate]) -> Option<usize> {
        let model = model();
        Moving { model: &model, itl_s: 0.02, capacity: 1_000_000 }.choose(candidates, 0, 1000)
    }

    #[test]
    fn a_round_goes_where_steps_are_shorter_if_that_is_worth_it() {
        assert_eq!(chosen(&[worker(100), worker(80), worker(70)]), Some(2));
        assert_eq!(chosen(&[worker(82), worker(80)]), None);
        // Nobody is near the objective.
        assert_eq!(chosen(&[worker(50), worker(10)]), None);
        assert_eq!(chosen(&[worker(100)]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn only_to_workers_that_take_it() {
        let (full, idle) = (worker(100), worker(10));
        for unfit in [
            MoveCandidate { ready: false, ..idle },
            MoveCandidate { free_tokens: 1000, ..idle },
            MoveCandidate { age_s: 3.0, ..idle },
            MoveCandidate { age_s: f64::NAN, ..idle },
        ] {
            assert_eq!(chosen(&[full, unfit]), None, "{unfit:?}");
        }
    }

    #[test]
    fn memory_that_runs_out_moves_sessions_too() {
        let crowded = MoveCandidate { live_tokens: 950_000, ..worker(20) };
        assert_eq!(chosen(&[crowded, worker(20)]), Some(1));
        assert_eq!(chosen(&[worker(100), crowded]), None);
    }

    #[test]
    fn a_slow_worker_is_left_and_not_taken() {
        let slow = MoveCandidate { step_ratio: 2.0, ..worker(40) };
        assert_eq!(chosen(&[worker(100), slow]), None);
        // Told by the own model, which is corrected, one that is as it should be is fast.
        assert_eq!(chosen(&[worker(100), MoveCandidate { step_ratio: 0.5, ..worker(100) }]), Some(1));
        assert_eq!(chosen(&[worker(100), MoveCandidate { step_ratio: 0.95, ..worker(100) }]), None);
    }

    #[test]
    fn what_was_just_sent_counts_for_every_router() {
        let (full, other) = (worker(100), worker(80));
        assert_eq!(chosen(&[full, other]), Some(1));
        assert_eq!(chosen(&[full, MoveCandidate { sent: 10, ..other }]), None);
    }

    proptest! {
        #[test]
        fn any_state_gets_an_answer_that_can_be_carried_out(
            own in 0usize..3, rounds: u32, round_tokens: u64, live_tokens: u64, free_tokens: u64,
            step_ratio: f64, age_s: f64, sent: u32, ready: bool, tokens: u32, itl_s: f64, capacity: u64,
        ) {
            let model = model();
            let other =
                MoveCandidate { rounds, round_tokens, live_tokens, free_tokens, step_ratio, age_s, sent, ready };
            let moving = Moving { model: &model, itl_s, capacity };
            if let Some(place) = moving.choose(&[worker(100), other], own, tokens) {
                prop_assert!(place < 2 && place != own);
            }
        }
    }
}
