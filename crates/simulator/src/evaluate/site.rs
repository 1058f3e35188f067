//! A cell made ready, and what its runs give.

use ampd_perfmodel::PerfModel;
use ampd_scheduler::Slo;
use serde::Serialize;

use super::{Cell, EvaluateError, Split};
use crate::cluster::{Fault, Policies};
use crate::report::{Run, Span, Summary};
use crate::truth::Truth;
use crate::workload::Arrivals;
use crate::{Setup, simulate};

/// A cell made ready: step times, what the policies think of them, objectives, spans.
#[derive(Debug, Clone)]
pub struct Site {
    /// The cell.
    pub cell: Cell,
    /// The objectives.
    pub slo: Slo,
    /// A typical session's length, seconds, when rounds take as long as the objectives allow.
    pub session_s: f64,
    pub(super) truth: Truth,
    pub(super) model: PerfModel,
}

/// What a run of a cell gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The worker type.
    pub card: &'static str,
    /// The workload.
    pub workload: String,
    /// The policy.
    pub policy: String,
    /// The workers.
    pub split: Split,
    /// Sessions a second.
    pub rate: f64,
    /// The seed.
    pub seed: u64,
    /// What came of it.
    pub summary: Summary,
    /// Simulated seconds.
    pub simulated_s: f64,
}

impl Site {
    /// When measuring begins and ends, seconds: two lengths of a session go before, then come four, five minutes at least.
    /// Near capacity queues grow slowly, and a short span flatters.
    #[must_use]
    pub fn span(&self) -> Span {
        let from_s = 2.0 * self.session_s;
        Span { from_s, until_s: from_s + (4.0 * self.session_s).max(300.0) }
    }

    /// Runs the cell under a policy and sums up what came of it. The seed makes sessions, arrivals and noise, the same for
    /// all policies. Sessions end where the model's context does.
    ///
    /// # Errors
    /// When the split, the arrivals or the simulation cannot be.
    pub fn run(
        &self,
        policies: &Policies,
        split: Split,
        arrivals: &Arrivals,
        faults: &[Fault],
        seed: u64,
    ) -> Result<Row, EvaluateError> {
        let run = self.records(policies, split, arrivals, faults, seed)?;
        Ok(Row {
            card: self.cell.card.name,
            workload: self.cell.workload.name().into(),
            policy: policies.name.clone(),
            split,
            rate: arrivals.rate(),
            seed,
            summary: Summary::of(&run, &self.slo, self.span()),
            simulated_s: run.ended_s,
        })
    }

    /// The same, round by round.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn records(
        &self,
        policies: &Policies,
        split: Split,
        arrivals: &Arrivals,
        faults: &[Fault],
        seed: u64,
    ) -> Result<Run, EvaluateError> {
        let (cluster, span) = (self.cell.cluster(split)?, self.span());
        // The load goes on behind those that are measured until they have had the time that the objectives allow.
        let until_s = span.until_s + self.session_s / 2.0;
        let trace = self.cell.workload.generate(arrivals, until_s, seed)?;
        let trace = trace.cut(self.cell.card.max_context);
        let setup = Setup {
            cluster: &cluster,
            policies,
            truth: &self.truth,
            model: &self.model,
            prefill: None,
            slo: self.slo,
            trace: &trace,
            faults,
            seed,
            until_s,
        };
        Ok(simulate(&setup)?)
    }
}
