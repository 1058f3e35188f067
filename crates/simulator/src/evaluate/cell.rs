//! One cell: a model and a workload on so many accelerators, under objectives that follow from both.

use ampd_scheduler::Slo;
use serde::Serialize;

use super::{Card, EvaluateError, Site};
use crate::cluster::Cluster;
use crate::trace::Trace;
use crate::workload::{Arrivals, Source};

/// Prefill and decode workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Prefill workers.
    pub prefill: u32,
    /// Decode workers.
    pub decode: u32,
}

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The worker type.
    pub card: Card,
    /// The workload.
    pub workload: Source,
    /// Accelerators.
    pub gpus: u32,
    /// The TTFT objective, in unloaded prefills of the larger of a typical first prompt and a typical later round.
    pub ttft_scale: f64,
    /// The ITL objective, in unloaded decode steps.
    pub itl_scale: f64,
    /// Factor by which the policies' model is wrong; 1 is a profile as it was measured.
    pub profile_scale: f64,
}

/// Sizes that are typical of a workload, tokens.
struct Typical {
    first: f64,
    later: f64,
    history: f64,
}

impl Cell {
    /// A cell with objectives of five prefills and two decode steps.
    #[must_use]
    pub fn new(card: Card, workload: impl Into<Source>, gpus: u32) -> Self {
        Self { card, workload: workload.into(), gpus, ttft_scale: 5.0, itl_scale: 2.0, profile_scale: 1.0 }
    }

    /// Makes the cell ready. The profile is measured once, with a seed of its own.
    ///
    /// # Errors
    /// When its step times or its workload cannot be.
    pub fn site(&self) -> Result<Site, EvaluateError> {
        let truth = self.card.truth()?;
        let mut model = self.card.profile(&truth)?;
        for segment in &mut model.prefill {
            (segment.k0, segment.k1, segment.k2) = self.scaled([segment.k0, segment.k1, segment.k2]);
        }
        for segment in &mut model.decode {
            (segment.k0, segment.k1, segment.k2) = self.scaled([segment.k0, segment.k1, segment.k2]);
        }
        let sample = self.sample()?;
        let typical = typical(&sample);
        let prefill = |history: f64, increment: f64| {
            truth.prefill_s(increment, increment * (history + increment / 2.0))
        };
        let unloaded_s = prefill(0.0, typical.first).max(prefill(typical.history, typical.later));
        let slo = Slo {
            ttft_s: self.ttft_scale * (unloaded_s + Cluster::OVERHEAD_S),
            itl_s: self.itl_scale * truth.decode_s(1.0, typical.history),
        };
        let seconds = |session: &crate::trace::TraceSession| {
            let round =
                |r: &crate::trace::TraceRound| r.gap_s + slo.ttft_s / 3.0 + f64::from(r.output) * slo.itl_s;
            session.rounds.iter().map(round).sum::<f64>()
        };
        let session_s = sample.sessions.iter().map(seconds).sum::<f64>() / sample.sessions.len() as f64;
        Ok(Site { cell: self.clone(), slo, session_s, truth, model })
    }

    /// Sessions from which the cell's typical sizes are taken.
    pub(super) fn sample(&self) -> Result<Trace, EvaluateError> {
        let trace = self.workload.generate(&Arrivals::Poisson { rate: 1.0 }, 400.0, 99)?;
        let trace = trace.cut(self.card.max_context);
        trace.check(self.card.max_context, self.card.kv_tokens)?;
        Ok(trace)
    }

    fn scaled(&self, coefficients: [f64; 3]) -> (f64, f64, f64) {
        let [k0, k1, k2] = coefficients.map(|k| k * self.profile_scale);
        (k0, k1, k2)
    }

    /// Workers that the accelerators are enough for.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.gpus / self.card.theta
    }

    pub(super) fn cluster(&self, split: Split) -> Result<Cluster, EvaluateError> {
        let Split { prefill, decode } = split;
        let (theta, gpus) = (self.card.theta, self.gpus);
        if prefill.saturating_add(decode) > self.workers() {
            return Err(EvaluateError::TooLarge { prefill, decode, theta, gpus });
        }
        Ok(self.card.cluster(prefill, decode))
    }
}

fn typical(sample: &Trace) -> Typical {
    let (mut first, mut later, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for session in &sample.sessions {
        let mut context = 0.0;
        for (number, round) in session.rounds.iter().enumerate() {
            let increment = f64::from(round.increment);
            if number == 0 {
                first.push(increment);
            } else {
                later.push(increment);
                history.push(context);
            }
            context += increment + f64::from(round.output);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    Typical { first: mean(&first), later: mean(&later), history: mean(&history) }
}
