//! A prefill worker: a queue, tasks that pull their history, and steps that batch those that have it.

use ampd_perfmodel::{Calibration, PerfModel};
use ampd_scheduler::{Order, QueuedTask, Window};

use super::events::RoundRef;
use super::kv::KvMemory;
use crate::cluster::Engine;

/// A prefill for a decode worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub round: RoundRef,
    pub session: u32,
    /// The round's decode worker.
    pub home: u32,
    /// Tokens whose KV the decode worker has.
    pub home_history: u32,
    /// Tokens of the prompt that may be reused.
    pub keep: u32,
    /// Tokens that need not be computed: pulled, or cached here.
    pub history: u32,
    /// Tokens to compute.
    pub increment: u32,
    /// Infinite for a round without an objective.
    pub deadline_s: f64,
    pub postponed: u32,
    /// Tokens computed.
    pub done: u32,
    /// Whether its history is here.
    pub pulled: bool,
}

impl Task {
    /// Tokens whose KV the decode worker gets with the next part of so many: those, and with the first one what was
    /// cached here and not there.
    pub(super) fn returned_with(&self, tokens: u32) -> u32 {
        if self.done == 0 { tokens + self.history - self.home_history } else { tokens }
    }

    fn remaining(&self) -> u32 {
        self.increment - self.done
    }
}

/// The step under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub started_s: f64,
    pub seconds: f64,
    /// What the worker's corrected model says.
    pub predicted_s: f64,
    /// What the profile says.
    pub profiled_s: f64,
    pub parts: Vec<(RoundRef, u32)>,
}

/// The worker.
#[derive(Debug)]
pub(super) struct Prefill {
    pub kv: KvMemory,
    /// Tasks by arrival.
    pub queue: Vec<Task>,
    /// Tasks that pull or compute, in the order in which they left the queue.
    pub taken: Vec<Task>,
    pub step: Option<Step>,
    pub ttft: Window,
    pub calibration: Calibration,
    /// The model as last corrected.
    pub model: PerfModel,
    /// When that was.
    pub calibrated_s: f64,
    pub slow: f64,
    pub alive: bool,
    pub epoch: u32,
    heads: Vec<QueuedTask>,
}

/// Tasks that leave the queue at least, so that one's transfer does not hold up all others, as in the worker.
const AHEAD: usize = 2;

impl Prefill {
    pub(super) fn new(kv: KvMemory, window_s: f64, model: PerfModel) -> Self {
        Self {
            kv,
            queue: Vec::new(),
            taken: Vec::new(),
            step: None,
            ttft: Window::new(window_s),
            calibration: Calibration::default(),
            model,
            calibrated_s: 0.0,
            slow: 1.0,
            alive: true,
            epoch: 0,
            heads: Vec::new(),
        }
    }

    /// Takes the next task from the queue, while what has left it does not fill the next step; it has its KV blocks
    /// then.
    pub(super) fn take_next(&mut self, order: Order, now_s: f64, budget: u32) -> Option<Task> {
        // Those in the step under way do not count: transfers overlap with it.
        let ahead = self.taken.iter().filter(|task| !self.is_computed_in_step(task));
        let (count, tokens) = ahead.fold((0, 0), |(n, sum), task| (n + 1, sum + u64::from(task.remaining())));
        if self.queue.is_empty() || (count >= AHEAD && tokens >= u64::from(budget)) {
            return None;
        }
        let looked_at = self.queue.len().min(order.looks_at());
        let model = &self.model;
        self.heads.clear();
        self.heads.extend(self.queue[..looked_at].iter().map(|task| QueuedTask {
            predicted_s: model.prefill_s(f64::from(task.history), f64::from(task.increment)),
            deadline_s: task.deadline_s,
            postponed: task.postponed,
        }));
        let chosen = order.next(&self.heads, now_s + self.engine_s(now_s));
        let next = chosen.order.first().copied().unwrap_or_default();
        let task = *self.queue.get(next)?;
        let prompt = task.history + task.increment;
        self.kv.claim(task.session, task.keep, prompt).map(|held| {
            for &overtaken in &chosen.postponed {
                self.queue[overtaken].postponed += 1;
            }
            self.queue.remove(next);
            let history = task.home_history.max(held.min(prompt - 1));
            let pulled = held >= task.home_history;
            let task = Task { pulled, history, increment: prompt - history, ..task };
            self.taken.push(task);
            task
        })
    }

    fn is_computed_in_step(&self, task: &Task) -> bool {
        self.step.as_ref().is_some_and(|step| {
            step.parts.iter().any(|(round, tokens)| *round == task.round && *tokens == task.remaining())
        })
    }

    /// Chooses the parts of a step: tasks that have their history, in the order in which they left the queue, under the
    /// budget. Also the sums of their tokens and of their pairs of query and key.
    pub(super) fn plan(&self, engine: &Engine) -> (Vec<(RoundRef, u32)>, f64, f64) {
        let (budget, tasks) = (engine.prefill_budget, engine.prefill_tasks);
        let (mut left, mut parts, mut sum, mut pairs) = (budget, Vec::new(), 0.0, 0.0);
        for task in self.taken.iter().filter(|task| task.pulled) {
            let tokens = task.remaining().min(left).min(engine.prefill_chunk);
            if tokens == 0 || parts.len() as u32 >= tasks {
                break;
            }
            left -= tokens;
            let (history, size) = (f64::from(task.history + task.done), f64::from(tokens));
            sum += size;
            pairs += size * (history + size / 2.0);
            parts.push((task.round, tokens));
        }
        (parts, sum, pairs)
    }

    /// Predicted seconds until the step under way ends.
    fn engine_s(&self, now_s: f64) -> f64 {
        self.step.as_ref().map_or(0.0, |step| (step.started_s + step.predicted_s - now_s).max(0.0))
    }

    /// Predicted seconds of all prefills that wait or run. What waits is computed in batches: each pays the constant of
    /// a step in proportion to its share of the budget, a lone one in full.
    pub(super) fn backlog_s(&self, now_s: f64, budget: u32) -> f64 {
        let in_step = |round: RoundRef| {
            let parts = self.step.iter().flat_map(|step| &step.parts);
            parts.filter(|(other, _)| *other == round).map(|(_, tokens)| *tokens).sum::<u32>()
        };
        let parts = self.taken.iter().chain(&self.queue).map(|task| {
            let ahead = task.done + in_step(task.round);
            (f64::from(task.history + ahead), f64::from(task.increment - ahead))
        });
        self.engine_s(now_s) + self.model.batches_s(parts, f64::from(budget))
    }

    /// Whether all blocks are accounted for.
    pub(super) fn intact(&self) -> bool {
        self.kv.intact() && self.kv.active() == self.kv.claimed()
    }
}
