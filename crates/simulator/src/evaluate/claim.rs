//! What the paper claims of its routing and of its reordering, measured here.

use std::sync::Arc;

use ampd_scheduler::{AlwaysRemote, Order, Paper};
use serde::Serialize;

use super::{Bound, Case, EvaluateError, Interval, PAPER_LOAD, Plan, Runs, Split};
use crate::cluster::Policies;
use crate::report::Summary;

/// The published policy at a load and a split, beside itself without adaptive routing and without reordering.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// Prefill workers more than at the common split.
    pub off: i32,
    /// The split.
    pub split: Split,
    /// Share of the cell's bound.
    pub load: f64,
    /// Attainment of the published policy.
    pub paper: Interval,
    /// With every prefill remote.
    pub without_routing: Interval,
    /// With queues served by arrival.
    pub without_reordering: Interval,
    /// Share of prefills that the published policy runs locally.
    pub local_share: f64,
}

/// Splits, in prefill workers more than at the common one, and loads.
const CONDITIONS: [(i32, f64); 4] = [(0, PAPER_LOAD), (0, 1.25), (-1, 0.75), (-2, 0.75)];

/// Measures the claims in a cell.
pub(super) fn claims(plan: &Plan, runs: &mut Runs<'_>, bound: &Bound) -> Result<Vec<Claim>, EvaluateError> {
    let paper = Policies { name: "paper as published".into(), ..Policies::paper(Paper::default()) };
    let remote =
        Policies { name: "paper, all remote".into(), routing: Arc::new(AlwaysRemote), ..paper.clone() };
    let arrival = Policies { name: "paper, by arrival".into(), order: Order::Arrival, ..paper.clone() };
    let mut claims = Vec::new();
    for (off, load) in CONDITIONS {
        let Some(prefill) = bound.split.prefill.checked_add_signed(off).filter(|prefill| *prefill > 0) else {
            continue;
        };
        let split = Split { prefill, decode: bound.split.decode.saturating_add_signed(-off) };
        let mut of = |policies: &Policies| {
            let case = Case::plain(policies, split);
            let run = |seed: &u64| runs.summary(&case, load * bound.rate, *seed);
            plan.few_seeds().iter().map(run).collect::<Result<Vec<Summary>, _>>()
        };
        let attained = |summaries: &[Summary]| {
            Interval::of(&summaries.iter().map(|summary| summary.attainment).collect::<Vec<_>>())
        };
        let (with, all_remote, by_arrival) = (of(&paper)?, of(&remote)?, of(&arrival)?);
        claims.push(Claim {
            off,
            split,
            load,
            paper: attained(&with),
            without_routing: attained(&all_remote),
            without_reordering: attained(&by_arrival),
            local_share: Summary::mean(&with).local_share,
        });
    }
    Ok(claims)
}
