//! A decode worker: rows that decode, local prefills beside them, and the KV of its sessions.

use std::collections::VecDeque;

use ampd_perfmodel::{Calibration, PerfModel};
use ampd_scheduler::{DecodeLoad, OutputLengths, Window};

use super::events::RoundRef;
use super::kv::KvMemory;
use super::round::Session;
use super::rows::{Local, Row, Step};
use super::stalls::Stalls;

/// The worker.
#[derive(Debug)]
pub(super) struct Decode {
    pub kv: KvMemory,
    pub rows: Vec<Row>,
    /// Sum of the rows' contexts, tokens.
    pub context: u64,
    pub steps: u64,
    /// The least `end` of its rows.
    pub next_end: u64,
    /// Rows that need a new block at a step, by the step's number modulo the block's tokens.
    pub crossing: Vec<u32>,
    /// Blocks taken for growing rows and not yet told to the memory whose they are.
    pub grown: u64,
    /// Local prefills by arrival.
    pub prefills: Vec<Local>,
    /// Rounds whose remote prefill is here and that join the next step.
    pub joining: VecDeque<RoundRef>,
    /// Rounds that wait for KV memory.
    pub waiting: VecDeque<RoundRef>,
    pub step: Option<Step>,
    /// Rows that have not had their first step.
    pub newcomers: u32,
    pub stalls: Stalls,
    pub itl: Window,
    pub calibration: Calibration,
    /// The model as corrected at the last reading.
    pub model: PerfModel,
    /// By which ratio its prefill times were corrected; 1 without calibration.
    pub prefill_ratio: f64,
    /// How long outputs are, by the rounds that have ended here: a worker hears of no others.
    pub lengths: OutputLengths,
    pub slow: f64,
    pub alive: bool,
    pub epoch: u32,
    /// Sessions with a round here.
    pub busy_sessions: u32,
    /// Sessions whose last round here ended a short while ago.
    pub idle_live: u32,
    /// Tokens of their conversations.
    pub idle_live_tokens: u64,
    /// When they ended, the oldest first.
    pub ended: VecDeque<(f64, u32)>,
}

impl Decode {
    pub(super) fn new(kv: KvMemory, block_tokens: u32, window_s: f64, model: PerfModel) -> Self {
        Self {
            kv,
            rows: Vec::new(),
            context: 0,
            steps: 0,
            next_end: u64::MAX,
            crossing: vec![0; block_tokens as usize],
            grown: 0,
            prefills: Vec::new(),
            joining: VecDeque::new(),
            waiting: VecDeque::new(),
            step: None,
            newcomers: 0,
            stalls: Stalls::default(),
            itl: Window::new(window_s),
            calibration: Calibration::default(),
            model,
            prefill_ratio: 1.0,
            lengths: OutputLengths::default(),
            slow: 1.0,
            alive: true,
            epoch: 0,
            busy_sessions: 0,
            idle_live: 0,
            idle_live_tokens: 0,
            ended: VecDeque::new(),
        }
    }

    pub(super) fn mean_context(&self) -> f64 {
        if self.rows.is_empty() { 0.0 } else { self.context as f64 / self.rows.len() as f64 }
    }

    /// The step at which a row next crosses into a new block, modulo the block's tokens.
    fn crosses_at(&self, row: &Row) -> usize {
        let block = self.crossing.len() as u64;
        // The token that a step computes is at the place of the context before it.
        ((block - u64::from(row.context) % block) + row.begun) as usize % self.crossing.len()
    }

    pub(super) fn add_row(&mut self, row: Row) {
        let crosses = self.crosses_at(&row);
        self.crossing[crosses] += 1;
        self.context += u64::from(row.context_at(self.steps));
        self.newcomers += u32::from(row.first_s.is_none());
        self.next_end = self.next_end.min(row.end);
        self.rows.push(row);
    }

    /// Takes out the row at this place; the blocks that it has grown by.
    pub(super) fn remove_row(&mut self, place: usize) -> (Row, u64) {
        let row = self.rows.swap_remove(place);
        let crosses = self.crosses_at(&row);
        self.crossing[crosses] -= 1;
        self.context -= u64::from(row.context_at(self.steps));
        self.next_end = self.rows.iter().map(|row| row.end).min().unwrap_or(u64::MAX);
        let block = self.crossing.len() as u32;
        let grown = u64::from(row.context_at(self.steps).div_ceil(block) - row.context.div_ceil(block));
        self.grown -= grown;
        (row, grown)
    }

    /// Blocks that the next step's rows need.
    pub(super) fn blocks_needed(&self) -> u64 {
        u64::from(self.crossing[(self.steps % self.crossing.len() as u64) as usize])
    }

    /// Predicted seconds of the local prefills.
    pub(super) fn backlog_s(&self) -> f64 {
        let parts: Vec<(f64, f64)> = self
            .prefills
            .iter()
            .map(|local| (f64::from(local.history + local.done), f64::from(local.remaining())))
            .collect();
        self.model.prefill_batch_s(&parts)
    }

    /// What a sidecar is told.
    pub(super) fn load(&self, now_s: f64) -> DecodeLoad {
        DecodeLoad {
            windowed_itl_s: self.itl.mean(now_s),
            queued_prefill_s: if self.prefills.is_empty() { 0.0 } else { self.backlog_s() },
            ..self.rows_load(now_s)
        }
    }

    /// The part of it that pacing needs, which knows every round and prefill itself.
    pub(super) fn rows_load(&self, now_s: f64) -> DecodeLoad {
        // What the worker expects: the end itself is not known to it.
        let left = |step: &Step| (step.started_s + step.predicted_s - now_s).max(0.0);
        DecodeLoad {
            windowed_itl_s: None,
            running: self.rows.len() as u32,
            mean_context: self.mean_context(),
            queued_prefill_s: 0.0,
            step_left_s: self.step.as_ref().map_or(0.0, left),
        }
    }

    /// Sessions that decode here or have done so in the last `live_s` seconds.
    pub(super) fn live_sessions(&mut self, now_s: f64, live_s: f64, sessions: &mut [Session]) -> u32 {
        while let Some(&(ended_s, session)) = self.ended.front()
            && ended_s < now_s - live_s
        {
            self.ended.pop_front();
            let session = &mut sessions[session as usize];
            if session.ended_s == ended_s {
                self.no_longer_idle(session);
            }
        }
        self.busy_sessions + self.idle_live
    }

    /// A session's next round has come, or it is over.
    pub(super) fn no_longer_idle(&mut self, session: &mut Session) {
        if std::mem::take(&mut session.counted) {
            self.idle_live -= 1;
            self.idle_live_tokens -= u64::from(session.context);
        }
    }

    /// Whether all blocks are accounted for: those of idle sessions, of rounds, and those that rounds have grown by.
    pub(super) fn intact(&self) -> bool {
        self.kv.intact() && self.kv.active() == self.kv.claimed() + self.grown
    }
}
