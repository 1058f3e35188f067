//! A bound on what a cell can do, by fluid arithmetic.

use serde::Serialize;

use super::{EvaluateError, Site, Split};
use crate::workload::Demand;

/// What a deployment could serve if work flowed like a fluid: prefill workers always compute full batches, decode workers
/// always decode as many rows as the ITL objective and their memory allow, nothing waits, nothing is transferred, and the
/// workers are divided between the two without regard to whole ones. A prefill on a decode worker shares a step's reading
/// of the weights, which this leaves out: where ITL objectives are loose, the bound can be beaten.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    /// Sessions a second.
    pub rate: f64,
    /// Seconds of a prefill worker that a session takes.
    pub prefill_s: f64,
    /// Seconds of a decode worker that a session takes.
    pub decode_s: f64,
    /// Rows that a decode worker has at the ITL objective.
    pub rows: f64,
    /// The whole workers that come nearest: the split with which the scarcer side serves the most sessions.
    pub split: Split,
}

impl Bound {
    /// The bound of a cell.
    ///
    /// # Errors
    /// When its sessions cannot be drawn.
    pub fn of(site: &Site) -> Result<Self, EvaluateError> {
        let demand = Demand::of(&site.cell.sample()?);
        let cluster = site.cell.cluster(Split { prefill: 0, decode: 1 })?;
        let prefill_s = demand.prefill_s(&site.truth, f64::from(cluster.engine.prefill_budget));
        let memory = (site.cell.card.kv_tokens as f64 / demand.context().max(1.0)).floor();
        let most = f64::from(cluster.engine.max_running).min(memory).max(1.0);
        let rows = demand.rows(&site.truth, site.slo.itl_s, most);
        let decode_s = demand.decode_s(&site.truth, rows);
        let workers = site.cell.workers();
        let rate = f64::from(workers) / (prefill_s + decode_s);
        let served = |prefill: u32| {
            (f64::from(prefill) / prefill_s).min(f64::from(workers.saturating_sub(prefill)) / decode_s)
        };
        let prefill = (1..workers).max_by(|a, b| served(*a).total_cmp(&served(*b))).unwrap_or(0);
        let split = Split { prefill, decode: workers - prefill };
        Ok(Self { rate, prefill_s, decode_s, rows, split })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{CARDS, Cell};
    use crate::workload::Workload;

    #[test]
    fn both_sides_of_the_bound_are_full() {
        let site = Cell::new(CARDS[0], Workload::TOOLBENCH, 32).site().unwrap();
        let bound = Bound::of(&site).unwrap();
        let workers = bound.rate * (bound.prefill_s + bound.decode_s);
        assert!((workers - 8.0).abs() < 1e-9, "{bound:?}");
        // At the objective, and not a row more.
        assert!(bound.rows > 8.0 && bound.rows < 256.0, "{bound:?}");
        assert_eq!(bound.split.prefill + bound.split.decode, 8);
        let share = bound.prefill_s / (bound.prefill_s + bound.decode_s);
        assert!((f64::from(bound.split.prefill) / 8.0 - share).abs() < 0.13, "{bound:?}");
    }

    #[test]
    fn twice_the_accelerators_serve_twice_as_much() {
        let rate =
            |gpus| Bound::of(&Cell::new(CARDS[2], Workload::DUREADER, gpus).site().unwrap()).unwrap().rate;
        assert!((rate(32) / rate(16) - 2.0).abs() < 1e-9);
    }
}
