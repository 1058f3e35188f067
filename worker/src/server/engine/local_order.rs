//! The order in which a decode worker computes its local prefills.

use std::time::{Duration, Instant};

use ampd_engine::core::{RoundId, WaitingPrefill};
use ampd_perfmodel::PerfModel;
use ampd_scheduler::{Order, QueuedTask};

/// What is known of a prompt besides its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    /// When its round arrived at the service.
    pub at: Instant,
    /// The round's TTFT objective.
    pub ttft_slo: Duration,
    /// Whether its client has had a token: then it lost its blocks and is computed again, and its client waits for the next.
    pub begun: bool,
}

impl Arrived {
    /// Seconds left to its objective; less than none when that has passed.
    fn left_s(&self, now: Instant) -> f64 {
        self.ttft_slo.as_secs_f64() - now.saturating_duration_since(self.at).as_secs_f64()
    }
}

/// A prompt that waits for its first token.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    round: RoundId,
    arrived: Arrived,
    /// How often others were served before it although they came later.
    postponed: u32,
}

/// Orders local prefills by slack, and remembers whom that has passed over.
#[derive(Debug, Default)]
pub(super) struct LocalOrder {
    /// By arrival.
    waiting: Vec<Waiting>,
}

impl LocalOrder {
    /// Puts the prompts into the order in which they are to be computed: those of which one token is left or that are computed
    /// again, then the others by what they have left to their objectives.
    pub(super) fn arrange(
        &mut self,
        prefills: &mut [WaitingPrefill],
        perf: &PerfModel,
        arrived: impl Fn(RoundId) -> Option<Arrived>,
        now: Instant,
    ) {
        let waits = |prefill: &WaitingPrefill| {
            arrived(prefill.round).filter(|arrived| prefill.increment > 1 && !arrived.begun)
        };
        let mut ahead: Vec<WaitingPrefill> = Vec::new();
        let mut others: Vec<(Waiting, WaitingPrefill)> = Vec::new();
        let mut last_tokens: Vec<Waiting> = Vec::new();
        for prefill in prefills.iter() {
            if let Some(arrived) = waits(prefill) {
                others.push((self.known(prefill.round, arrived), *prefill));
            } else {
                ahead.push(*prefill);
                // Its turn has come, and whom it passed over is seen when it has its token.
                last_tokens.extend(self.waiting.iter().filter(|known| known.round == prefill.round));
            }
        }
        others.sort_by_key(|(waiting, _)| waiting.arrived.at);
        self.waiting = others.iter().map(|(waiting, _)| *waiting).chain(last_tokens).collect();
        self.waiting.sort_by_key(|waiting| waiting.arrived.at);
        let tasks: Vec<QueuedTask> = others
            .iter()
            .take(Order::SLACK.looks_at())
            .map(|(waiting, prefill)| QueuedTask {
                predicted_s: perf.prefill_s(prefill.history as f64, prefill.increment as f64),
                deadline_s: waiting.arrived.left_s(now),
                postponed: waiting.postponed,
            })
            .collect();
        let served = Order::SLACK.next(&tasks, 0.0).order;
        let places = served.into_iter().chain(tasks.len()..others.len());
        let ordered = ahead.into_iter().chain(places.map(|place| others[place].1));
        for (slot, prefill) in prefills.iter_mut().zip(ordered.collect::<Vec<_>>()) {
            *slot = prefill;
        }
    }

    fn known(&self, round: RoundId, arrived: Arrived) -> Waiting {
        let known = self.waiting.iter().find(|waiting| waiting.round == round).copied();
        known.unwrap_or(Waiting { round, arrived, postponed: 0 })
    }

    /// A prompt is computed: those that came before it were passed over.
    pub(super) fn served(&mut self, round: RoundId) {
        let Some(place) = self.waiting.iter().position(|waiting| waiting.round == round) else { return };
        self.waiting.remove(place);
        for passed in &mut self.waiting[..place] {
            passed.postponed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ampd_perfmodel::{DecodeSegment, PrefillSegment, Transfer};

    use super::*;

    /// A millisecond for each token of a prompt.
    fn perf() -> PerfModel {
        PerfModel {
            prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 1e-3, k2: 0.0 }],
            decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.01, k1: 0.0, k2: 0.0 }],
            transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
        }
    }

    /// The rounds in their order, of prompts with these names, tokens and ages in milliseconds, under an objective of a second.
    fn arrange(order: &mut LocalOrder, prompts: &[(u64, usize, u64)], begun: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let now = start + Duration::from_mins(1);
        let mut prefills: Vec<WaitingPrefill> = prompts
            .iter()
            .map(|&(round, increment, _)| WaitingPrefill { round: RoundId(round), history: 0, increment })
            .collect();
        let arrived = |round: RoundId| {
            let &(_, _, age) = prompts.iter().find(|(other, ..)| *other == round.0)?;
            let ttft_slo = Duration::from_secs(1);
            let at = start + Duration::from_millis(60_000 - age);
            Some(Arrived { at, ttft_slo, begun: begun.contains(&round.0) })
        };
        order.arrange(&mut prefills, &perf(), arrived, now);
        prefills.iter().map(|prefill| prefill.round.0).collect()
    }

    #[test]
    fn a_long_prompt_gives_way_to_those_that_can_be_on_time() {
        let mut order = LocalOrder::default();
        assert_eq!(arrange(&mut order, &[(1, 900, 50), (2, 100, 40), (3, 100, 30)], &[]), [2, 3, 1]);
        assert_eq!(arrange(&mut order, &[(1, 400, 50), (2, 100, 40), (3, 100, 30)], &[]), [1, 2, 3]);
        assert_eq!(arrange(&mut order, &[], &[]), [0_u64; 0]);
    }

    #[test]
    fn what_is_computed_again_goes_first() {
        let prompts = [(1, 100, 50), (2, 100, 40), (3, 100, 9000)];
        assert_eq!(arrange(&mut LocalOrder::default(), &prompts, &[3]), [3, 1, 2]);
        assert_eq!(arrange(&mut LocalOrder::default(), &prompts, &[]), [1, 2, 3]);
    }

    #[test]
    fn whoever_is_down_to_a_last_token_has_passed_the_others_too() {
        let mut order = LocalOrder::default();
        assert_eq!(arrange(&mut order, &[(0, 5000, 2000), (1, 40, 5)], &[]), [1, 0]);
        assert_eq!(arrange(&mut order, &[(0, 5000, 2000), (1, 1, 10)], &[]), [1, 0]);
        order.served(RoundId(1));
        assert_eq!(order.waiting.iter().map(|waiting| waiting.postponed).collect::<Vec<_>>(), [1]);
    }

    /// Short prompts come for ever, each of them before the long one would be on time.
    #[test]
    fn nobody_is_passed_for_ever() {
        let mut order = LocalOrder::default();
        let long = (0, 5000, 2000);
        let turn = (1..=100).find(|&turn| {
            let next = arrange(&mut order, &[long, (turn, 10, 5)], &[])[0];
            order.served(RoundId(next));
            next == 0
        });
        let Order::Slack { cap } = Order::SLACK else { panic!("ours is by slack") };
        assert_eq!(turn, Some(u64::from(cap) + 1));
    }
}
