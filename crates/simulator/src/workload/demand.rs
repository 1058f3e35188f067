//! What sessions ask of workers, whoever serves them.

use crate::trace::Trace;
use crate::truth::Truth;

/// What a mean session asks for, tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// Rounds.
    pub rounds: f64,
    /// Tokens to be prefilled.
    pub increments: f64,
    /// Pairs of query and key in those prefills.
    pub pairs: f64,
    /// Tokens that come from decode steps: a round's first one comes with its prefill.
    pub steps: f64,
    /// Sum of the contexts of those steps.
    pub contexts: f64,
}

impl Demand {
    /// The mean of these sessions, whose KV is never lost between rounds.
    #[must_use]
    pub fn of(sample: &Trace) -> Self {
        let count = sample.sessions.len() as f64;
        let mut demand = Self::default();
        for session in &sample.sessions {
            let mut context = 0.0_f64;
            for round in &session.rounds {
                let history = context.min(round.keep.map_or(f64::INFINITY, f64::from));
                let (increment, output) = (f64::from(round.increment), f64::from(round.output));
                let steps = output - 1.0;
                demand.rounds += 1.0 / count;
                demand.increments += increment / count;
                demand.pairs += increment * (history + increment / 2.0) / count;
                demand.steps += steps / count;
                demand.contexts += steps * (history + increment + output / 2.0) / count;
                context = history + increment + output;
            }
        }
        demand
    }

    /// Seconds of a prefill worker that a session takes, when steps are full: of `budget` tokens each.
    #[must_use]
    pub fn prefill_s(&self, truth: &Truth, budget: f64) -> f64 {
        let batch_s = truth.prefill_s(budget, budget * self.pairs / self.increments);
        self.increments * batch_s / budget
    }

    /// Mean context of a decode step's rows, tokens.
    #[must_use]
    pub fn context(&self) -> f64 {
        self.contexts / self.steps.max(1.0)
    }

    /// The most rows, up to `most`, with which a decode step lasts `itl_s` seconds at most; at least one.
    #[must_use]
    pub fn rows(&self, truth: &Truth, itl_s: f64, most: f64) -> f64 {
        let context = self.context();
        let (mut low, mut high) = (1.0, most);
        if truth.decode_s(high, context) <= itl_s {
            return high;
        }
        while high - low > 1.0 {
            let middle = f64::midpoint(low, high).floor();
            if truth.decode_s(middle, context) <= itl_s {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Seconds of a decode worker that a session takes, when its steps have so many rows.
    #[must_use]
    pub fn decode_s(&self, truth: &Truth, rows: f64) -> f64 {
        self.steps * truth.decode_s(rows, self.context()) / rows
    }
}
