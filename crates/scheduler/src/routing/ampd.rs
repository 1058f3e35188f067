//! The policy `ampd`: the option with the fewest expected misses of objectives, this round's and those of the rounds
//! that it would disturb.

use ampd_perfmodel::sane;

use super::{Costs, Decision, LocalPrefill, Reason, RouteInput, RoutingPolicy, Target};
use crate::miss::MissCurve;
use crate::pace::{MOST_SHARE, Pace};

/// Scores every prefill worker and the bound decode worker. A remote prefill costs the probability that this round's
/// TTFT misses its objective. A local one costs that too and, for every round that decodes there, the rise of the
/// probability that its mean ITL misses, at the best chunk size; and what the local prefills before it then lose. Equal
/// options go to the shorter TTFT. Nothing in it depends on model, hardware or workload but the performance model, so
/// that nothing is to be tuned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ampd {
    /// How likely a TTFT objective is missed.
    pub ttft: MissCurve,
    /// How likely an ITL objective is missed.
    pub itl: MissCurve,
    /// What a whole objective costs, in misses, when it is merely used up, this round's TTFT and the ITL of others
    /// alike: decides between options that miss nothing, leaves room for what comes, and makes the prefill side fill
    /// evenly.
    pub price: f64,
    /// Wait, as a share of the TTFT objective, that a prefill worker is assumed to have at least when nothing recent is
    /// known of it.
    pub blind_wait: f64,
}

impl Default for Ampd {
    fn default() -> Self {
        Self { ttft: MissCurve::TTFT_ROUTED, itl: MissCurve::ITL, price: 0.01, blind_wait: 0.3 }
    }
}

impl Ampd {
    /// The cost of a time to first token that is `after_s` from now.
    fn late(&self, input: &RouteInput<'_>, after_s: f64) -> f64 {
        let share = (sane(input.age_s) + after_s) / input.slo.ttft_s;
        self.ttft.probability(share) + self.price * sane(share).min(MOST_SHARE)
    }

    /// The cost of a local prefill and its predicted seconds.
    fn local(&self, input: &RouteInput<'_>) -> (f64, f64) {
        let pace = Pace::of(input, self.ttft, self.itl, self.price);
        let prefill = LocalPrefill { history: input.history, remaining: input.increment, age_s: input.age_s };
        let Some((cost, outcome)) = pace.added(prefill) else { return (0.0, 0.0) };
        // A backlog that was not told one by one is still ahead of it.
        let untold_s = if input.waiting.is_empty() { sane(input.decode.queued_prefill_s) } else { 0.0 };
        let after_s = outcome.last_s + untold_s;
        (cost + self.late(input, after_s) - self.late(input, outcome.last_s), after_s)
    }

    /// The cheapest ready prefill worker: its index, cost and predicted seconds.
    fn remote(&self, input: &RouteInput<'_>, fresh_only: bool) -> Option<(usize, f64, f64)> {
        let decode_s = input
            .model
            .decode_s(f64::from(input.decode.running.saturating_add(1)), input.decode.mean_context);
        let usable = |load: &super::PrefillLoad| load.ready && (load.fresh || !fresh_only);
        let cost = |(index, load): (usize, &super::PrefillLoad)| {
            let blind_s = if load.fresh { 0.0 } else { self.blind_wait * sane(input.slo.ttft_s) };
            // The first token comes with the decode worker's next step but the one that runs.
            let after_s = Costs::remote_s(input, index).max(blind_s) + decode_s;
            (index, self.late(input, after_s), after_s)
        };
        let loads = input.prefills.iter().enumerate().filter(|(_, load)| usable(load)).map(cost);
        loads.min_by(|a, b| a.1.total_cmp(&b.1).then(a.2.total_cmp(&b.2)))
    }
}

impl RoutingPolicy for Ampd {
    fn name(&self) -> &'static str {
        "ampd"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        if input.increment <= 1 {
            return Decision::new(Target::Local, Reason::IncrementSmall, &Costs::predict(input));
        }
        // A worker of which nothing recent is known is taken only when that holds for all of them.
        let remote = self.remote(input, true).or_else(|| self.remote(input, false));
        let (local_cost, local_s) = self.local(input);
        let costs = Costs { local_s, best_remote: remote.map(|(index, _, after_s)| (index, after_s)) };
        let (target, reason) = match remote {
            None => (Target::Local, Reason::NoPrefillWorker),
            Some((index, cost, after_s)) if (cost, after_s) < (local_cost, local_s) => {
                let known = input.prefills.get(index).is_some_and(|load| load.fresh);
                (Target::Remote(index), if known { Reason::CheaperRemote } else { Reason::StaleSignals })
            }
            Some(_) => (Target::Local, Reason::CheaperLocal),
        };
        Decision::new(target, reason, &costs)
    }
}
