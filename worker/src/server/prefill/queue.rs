//! Tasks that wait for their turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::PrefillPart;
use ampd_kv::Handle;
use ampd_perfmodel::PerfModel;
use ampd_scheduler::{Order, QueuedTask};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::protocol::{ErrorCode, PrefillEvent, PrefillTask};
use crate::server::error::ApiError;

/// Tasks that may wait.
const LIMIT: usize = 256;
/// Tasks that prepare at once, whatever their size, so that one slow sender does not hold up all others.
const AHEAD: usize = 2;
/// The most that do: small tasks that one step computes together are prepared together too, since each waits for the ends
/// of steps meanwhile.
const MOST_AHEAD: usize = 16;

/// A task with those who wait for it.
pub(in crate::server) struct Job {
    pub task: PrefillTask,
    pub handle: Handle,
    /// When its round arrived at the service.
    pub arrival: Instant,
    /// When it came here.
    pub queued: Instant,
    pub events: mpsc::Sender<PrefillEvent>,
    pub cancel: CancellationToken,
    postponed: u32,
    number: u64,
}

impl Job {
    fn part(&self) -> PrefillPart {
        let increment = self.task.tokens.len() - self.task.history;
        PrefillPart { history: self.task.history, increment }
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Tasks that have left the queue and are not in the engine yet.
    preparing: Vec<(u64, PrefillPart)>,
    next: u64,
    /// Tasks whose callers wait for their end, wherever they are.
    held: usize,
}

impl State {
    fn may_prepare(&self, token_budget: usize) -> bool {
        let tokens: usize = self.preparing.iter().map(|(_, part)| part.increment).sum();
        let most = if tokens < token_budget { MOST_AHEAD } else { AHEAD };
        self.preparing.len() < most
    }
}

/// The queue.
pub(in crate::server) struct Queue {
    order: Order,
    /// Tokens that one step computes.
    token_budget: usize,
    state: Mutex<State>,
    changed: Notify,
}

/// Counts a task as waiting until it is dropped.
pub(super) struct Preparing {
    queue: Arc<Queue>,
    number: u64,
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.queue.state.lock().preparing.retain(|(number, _)| *number != self.number);
        self.queue.changed.notify_one();
    }
}

/// A task in the caller's hands: dropping it cancels the task, wherever it is.
pub(super) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    cancel: CancellationToken,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel.cancel();
        let mut state = self.queue.state.lock();
        state.waiting.retain(|job| job.number != self.number);
        state.held -= 1;
    }
}

impl Queue {
    /// A queue of a worker whose steps compute `token_budget` tokens.
    pub(in crate::server) fn new(order: Order, token_budget: usize) -> Self {
        Self { order, token_budget, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a task; how many are before it.
    ///
    /// # Errors
    /// `overloaded` when the queue is full.
    pub(super) fn push(
        self: &Arc<Self>,
        task: PrefillTask,
        handle: Handle,
        arrival: Instant,
        events: mpsc::Sender<PrefillEvent>,
    ) -> Result<(Ticket, u64), ApiError> {
        let mut state = self.state.lock();
        let position = state.waiting.len();
        if position >= LIMIT {
            return Err(ApiError::new(ErrorCode::Overloaded, format!("{LIMIT} prefills wait already")));
        }
        let number = state.next;
        state.next += 1;
        state.held += 1;
        let cancel = CancellationToken::new();
        let ticket = Ticket { queue: self.clone(), number, cancel: cancel.clone() };
        let queued = Instant::now();
        state.waiting.push_back(Job { task, handle, arrival, queued, events, cancel, postponed: 0, number });
        drop(state);
        self.changed.notify_one();
        Ok((ticket, position as u64))
    }

    /// Waits for a task, and until few enough prepare, and takes the one whose turn it is: `busy` seconds are left until the
    /// engine is free. Also how many tasks it overtook.
    pub(super) async fn next(
        self: &Arc<Self>,
        perf: impl Fn() -> (PerfModel, f64),
    ) -> (Job, Preparing, usize) {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = self.take(&perf) {
                return taken;
            }
            changed.await;
        }
    }

    fn take(self: &Arc<Self>, perf: &impl Fn() -> (PerfModel, f64)) -> Option<(Job, Preparing, usize)> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() || !state.may_prepare(self.token_budget) {
            return None;
        }
        let (perf, busy_s) = perf();
        let now = Instant::now();
        let head: Vec<QueuedTask> = state
            .waiting
            .iter()
            .take(self.order.looks_at())
            .map(|job| queued_task(job, &perf, now))
            .collect();
        let chosen = self.order.next(&head, busy_s);
        for &overtaken in &chosen.postponed {
            if let Some(job) = state.waiting.get_mut(overtaken) {
                job.postponed += 1;
            }
        }
        let job = state.waiting.remove(chosen.order.first().copied().unwrap_or_default())?;
        state.preparing.push((job.number, job.part()));
        let preparing = Preparing { queue: self.clone(), number: job.number };
        Some((job, preparing, chosen.postponed.len()))
    }

    /// Tasks whose end is not told yet.
    pub(in crate::server) fn held(&self) -> usize {
        self.state.lock().held
    }

    /// The tasks that are not in the engine yet.
    pub(in crate::server) fn waiting(&self) -> Vec<PrefillPart> {
        let state = self.state.lock();
        let preparing = state.preparing.iter().map(|(_, part)| *part);
        preparing.chain(state.waiting.iter().map(Job::part)).collect()
    }
}

/// The task as the scheduler sees it, on a clock that starts now.
fn queued_task(job: &Job, perf: &PerfModel, now: Instant) -> QueuedTask {
    let PrefillPart { history, increment } = job.part();
    let slo = Duration::from_millis(job.task.ttft_slo_ms).as_secs_f64();
    let age = now.saturating_duration_since(job.arrival).as_secs_f64();
    QueuedTask {
        predicted_s: perf.prefill_s(history as f64, increment as f64),
        deadline_s: slo - age,
        postponed: job.postponed,
    }
}

#[cfg(test)]
mod tests;
