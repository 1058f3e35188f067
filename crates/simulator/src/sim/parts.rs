//! What a decode worker's step prefills beside its rows.

use ampd_scheduler::{Order, Pace, QueuedTask};

use super::Sim;
use super::events::RoundRef;
use crate::cluster::Pacing;

/// What a step prefills beside its rows.
#[derive(Default)]
pub(super) struct Parts {
    pub list: Vec<(RoundRef, u32)>,
    /// Sum of the tokens.
    pub tokens: f64,
    /// Sum of the pairs of query and key.
    pub pairs: f64,
}

impl Sim<'_> {
    pub(super) fn choose_parts(&mut self, worker: u32) -> Parts {
        let mut chosen = Parts::default();
        if self.decodes[worker as usize].prefills.is_empty() {
            return chosen;
        }
        let engine = self.setup.cluster.engine;
        let (each, all) = self.pace(worker);
        let decode = &self.decodes[worker as usize];
        let rows = decode.rows.len() as u32;
        let mut room = engine.token_budget.saturating_sub(rows).min(all);
        let mut places = engine.max_running.saturating_sub(rows);
        for place in self.local_order(worker) {
            let local = &self.decodes[worker as usize].prefills[place];
            let tokens = local.remaining().min(each).min(room);
            if tokens == 0 || places == 0 {
                break;
            }
            room -= tokens;
            places -= 1;
            let (history, size) = (f64::from(local.history + local.done), f64::from(tokens));
            chosen.tokens += size;
            chosen.pairs += size * (history + size / 2.0);
            chosen.list.push((local.round, tokens));
        }
        chosen
    }

    /// The order in which local prefills are served.
    fn local_order(&self, worker: u32) -> Vec<usize> {
        let (decode, order) = (&self.decodes[worker as usize], self.setup.policies.local_order);
        let count = decode.prefills.len();
        if count < 2 || order == Order::Arrival {
            return (0..count).collect();
        }
        let heads: Vec<QueuedTask> = decode.prefills[..count.min(order.looks_at())]
            .iter()
            .map(|local| QueuedTask {
                predicted_s: decode
                    .model
                    .prefill_s(f64::from(local.history + local.done), f64::from(local.remaining())),
                deadline_s: local.deadline_s,
                postponed: local.postponed,
            })
            .collect();
        let mut chosen = order.next(&heads, self.now_s).order;
        chosen.extend(heads.len()..count);
        chosen
    }

    /// Most tokens of local prefills that the worker's next step takes in, of each and of all.
    fn pace(&mut self, worker: u32) -> (u32, u32) {
        let (ttft, itl, price) = match self.setup.policies.pacing {
            Pacing::Fixed { chunk } => return (chunk, u32::MAX),
            Pacing::Adaptive { ttft, itl, price } => (ttft, itl, price),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        self.decoding(worker, &mut scratch.decoding);
        self.locals(worker, &mut scratch.waiting);
        let decode = &self.decodes[worker as usize];
        let pace = Pace {
            slo: self.setup.slo,
            load: decode.rows_load(self.now_s),
            decoding: &scratch.decoding,
            waiting: &scratch.waiting,
            token_budget: self.setup.cluster.engine.token_budget,
            model: &decode.model,
            ttft,
            itl,
            price,
        };
        let chunk = pace.best(None).map(|outcome| outcome.chunk);
        self.scratch = scratch;
        (u32::MAX, chunk.unwrap_or(u32::MAX))
    }
}
