//! AMPD's routing rule (arXiv 2602.14516).

use ampd_perfmodel::sane;

use super::{Costs, Decision, Reason, RouteInput, RoutingPolicy, Target};

/// The policy `paper`: (a) while a prefill worker's windowed TTFT is below `alpha` times the objective, go remote; (b)
/// else, while the bound decode worker's windowed ITL is below `beta` times the objective, stay local; (c) else take what
/// is predicted to finish first.
///
/// The paper leaves three things open. An idle prefill worker has no TTFT to go by: it counts as zero. Of several
/// workers under the bound, the one predicted to finish first is taken: the lowest mean of the past 10 s would draw every
/// router to one worker. Increments below `min_remote_tokens` stay local whatever the load: a transfer costs more than
/// their prefill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paper {
    /// Share of the TTFT objective under which prefill workers have slack.
    pub alpha: f64,
    /// Share of the ITL objective under which the decode worker has slack.
    pub beta: f64,
    /// Smallest increment, tokens, that may go remote; 0 and 1 give the rule as published.
    pub min_remote_tokens: u32,
}

impl Default for Paper {
    /// The paper does not publish its alpha and beta.
    fn default() -> Self {
        Self { alpha: 0.8, beta: 0.8, min_remote_tokens: 32 }
    }
}

impl Paper {
    fn choose(&self, input: &RouteInput<'_>, costs: &Costs) -> (Target, Reason) {
        if input.increment <= 1 || input.increment < self.min_remote_tokens {
            return (Target::Local, Reason::IncrementSmall);
        }
        let Some((best, best_s)) = costs.best_remote else {
            return (Target::Local, Reason::NoPrefillWorker);
        };
        if !input.prefills[best].fresh {
            // Nothing is known of the prefill side: use it as plain disaggregation would, never refuse.
            return (Target::Remote(best), Reason::StaleSignals);
        }
        let slack = Costs::best_remote_of(input, |load| {
            load.fresh && sane(load.windowed_ttft_s.unwrap_or(0.0)) < self.alpha * input.slo.ttft_s
        });
        if let Some((index, _)) = slack {
            return (Target::Remote(index), Reason::PrefillSlack);
        }
        if sane(input.decode.windowed_itl_s.unwrap_or(0.0)) < self.beta * input.slo.itl_s {
            return (Target::Local, Reason::DecodeSlack);
        }
        if costs.local_s <= best_s {
            (Target::Local, Reason::PredictedLocal)
        } else {
            (Target::Remote(best), Reason::PredictedRemote)
        }
    }
}

impl RoutingPolicy for Paper {
    fn name(&self) -> &'static str {
        "paper"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let costs = Costs::predict(input);
        // A worker whose signal is old may only look idle: while any is fresh, the others are not judged.
        let best_remote = Costs::best_remote_of(input, |load| load.fresh).or(costs.best_remote);
        let costs = Costs { best_remote, ..costs };
        let (target, reason) = self.choose(input, &costs);
        Decision::new(target, reason, &costs)
    }
}
