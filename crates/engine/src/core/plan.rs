//! What a step computes: decode rows first, then prompts in their order, under the token budget.

use super::event::{Event, PrefillPart, RoundError, StepReport};
use super::round::{Kind, Round, State};
use super::{Engine, RoundId};
use crate::backend::LogitsWanted;
use crate::kv::Holder;

/// Most rows of one step whose logits are all kept: a row takes four bytes for each token of the vocabulary.
const MAX_LOGITS_ROWS: usize = 64;

/// One round's share of a step: tokens `start..end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub round: RoundId,
    pub start: usize,
    pub end: usize,
    pub logits: LogitsWanted,
}

/// Whether a round got the blocks that it needs for its next rows.
pub(super) enum Room {
    Ready,
    /// Others hold the blocks; they end or time out.
    Wait,
    Failed(RoundError),
}

/// What a step may still take up.
pub(super) struct Budget {
    /// Rows.
    pub rows: usize,
    /// Of these, rows of prompts that have more than one token left.
    pub prompts: usize,
    /// Most such rows of one round.
    chunk: usize,
    /// Rows whose logits are all kept.
    logits: usize,
}

impl Engine {
    /// Chooses the step's parts. Every block that they write is held, and by their round alone.
    ///
    /// Progress is certain: the oldest running round can take blocks from every younger and every queued one, queued
    /// rounds are overtaken a bounded number of times, and what opened or leased rounds hold comes back within their
    /// time limits.
    pub(super) fn plan(&mut self, report: &mut StepReport) -> Vec<Part> {
        let mut parts = Vec::new();
        let rows = self.options.token_budget;
        let (prompts, chunk) = match self.paced {
            Some(paced) => (paced, usize::MAX),
            None => (usize::MAX, self.options.prefill_chunk),
        };
        let mut budget = Budget { rows, prompts, chunk, logits: MAX_LOGITS_ROWS };
        self.running_short = false;
        for id in self.running_ids() {
            // A round may have lost its place to an older one's need meanwhile.
            if !self.is_running(id) || self.remaining(id) != 1 {
                continue;
            }
            match self.grow(id, report) {
                Room::Ready => self.add_part(id, &mut budget, &mut parts, report),
                Room::Wait => self.running_short = true,
                Room::Failed(error) => self.fail(id, error, report),
            }
        }
        self.add_prompts(&mut budget, &mut parts, report);
        parts
    }

    fn running_ids(&self) -> Vec<RoundId> {
        self.running.values().copied().collect()
    }

    fn is_running(&self, id: RoundId) -> bool {
        self.rounds.get(&id).is_some_and(|round| matches!(round.state, State::Running { .. }))
    }

    pub(super) fn remaining(&self, id: RoundId) -> usize {
        self.rounds.get(&id).map_or(0, Round::remaining)
    }

    /// Adds the round's next rows, as many as chunk and budget allow.
    pub(super) fn add_part(
        &self,
        id: RoundId,
        budget: &mut Budget,
        parts: &mut Vec<Part>,
        report: &mut StepReport,
    ) {
        let Some(round) = self.rounds.get(&id) else { return };
        let remaining = round.remaining();
        let mut rows = remaining.min(budget.rows);
        if remaining > 1 {
            rows = rows.min(budget.chunk).min(budget.prompts);
        }
        if round.wants_all_logits() {
            rows = rows.min(budget.logits);
            budget.logits -= rows;
        }
        if rows == 0 {
            return;
        }
        budget.rows -= rows;
        if remaining > 1 {
            budget.prompts -= rows;
        }
        let (start, end) = (round.computed, round.computed + rows);
        if round.decodes() {
            let mean = &mut report.mean_decode_context;
            report.decode_rows += 1;
            *mean += (end as f64 - *mean) / report.decode_rows as f64;
        } else {
            report.prefill_rows += rows;
            report.prefill_parts.push(PrefillPart { history: start, increment: rows });
        }
        parts.push(Part { round: id, start, end, logits: round.logits_wanted(end) });
    }

    /// Gives a running round the block for its next row: a free or cached one, else one of the youngest round's.
    fn grow(&mut self, id: RoundId, report: &mut StepReport) -> Room {
        loop {
            let Some(round) = self.rounds.get_mut(&id) else { return Room::Wait };
            if round.has_room() {
                return Room::Ready;
            }
            if let Ok(block) = self.kv.allocate(1, Holder::Active) {
                round.blocks.extend(block);
                continue;
            }
            let (needed, age) = (round.blocks_needed(), round.age());
            match self.victim(id, age) {
                Some(victim) => self.preempt(victim, report),
                None => return self.wait_or_fail(id, needed),
            }
        }
    }

    /// Waits if another round holds blocks, else this round needs more than there is.
    pub(super) fn wait_or_fail(&self, id: RoundId, needed: usize) -> Room {
        let others = self.rounds.values().any(|round| round.id != id && !round.blocks.is_empty());
        let total = self.kv.ledger().total;
        if others { Room::Wait } else { Room::Failed(RoundError::KvExhausted { needed, total }) }
    }

    /// The youngest queued round, younger than `age`, that holds blocks.
    pub(super) fn youngest_queued(&self, id: RoundId, age: Option<u64>) -> Option<RoundId> {
        let holds = |other: &RoundId| {
            *other != id && self.rounds.get(other).is_some_and(|round| !round.blocks.is_empty())
        };
        let from = age.map_or(0, |age| age + 1);
        self.waiting.range(from..).rev().map(|(_, &other)| other).find(holds)
    }

    /// Who gives its blocks to a running round of this age: the youngest queued or, without any, the youngest running
    /// one of those that are younger. Only where none is younger, queued rounds that are older must: what runs can
    /// end, and they could not start.
    fn victim(&self, id: RoundId, age: Option<u64>) -> Option<RoundId> {
        let running = || self.running.range(age? + 1..).next_back().map(|(_, &other)| other);
        self.youngest_queued(id, age).or_else(running).or_else(|| self.youngest_queued(id, None))
    }

    /// Takes all blocks from a round and sends it back to the queue. It starts over later, with its output so far as
    /// part of what it computes; since draws depend on the output's place alone, its output goes on as if nothing had
    /// happened.
    pub(super) fn preempt(&mut self, victim: RoundId, report: &mut StepReport) {
        self.take_blocks(victim);
        if let Some(round) = self.rounds.get_mut(&victim)
            && let State::Running { age } = round.state
        {
            round.state = State::Waiting { age };
            self.running.remove(&age);
            self.waiting.insert(age, victim);
        }
        report.preempted += 1;
    }

    /// Takes all blocks from a round, which then has to start over.
    fn take_blocks(&mut self, id: RoundId) {
        if let Some(round) = self.rounds.get_mut(&id) {
            round.computed = 0;
            round.sealed = 0;
            self.kv.release(&std::mem::take(&mut round.blocks), Holder::Active);
        }
    }

    /// Ends a round with an error.
    pub(super) fn fail(&mut self, id: RoundId, error: RoundError, report: &mut StepReport) {
        let mut keep = 0;
        if let Some(round) = self.rounds.get(&id) {
            if error == RoundError::NonFiniteLogits {
                // Any of its KV may be what made them so.
                self.kv.unseal_all(&round.blocks);
            } else {
                keep = round.computed;
            }
        }
        self.end(id, keep);
        report.events.push(Event::Failed { round: id, error });
    }

    /// Ends a prefill for another worker whose tokens are all computed.
    pub(super) fn finish_prefill(&mut self, id: RoundId, report: &mut StepReport) {
        if self.rounds.get(&id).is_some_and(|round| matches!(round.kind, Kind::Prefill { .. })) {
            self.end(id, 0);
            report.events.push(Event::PrefillDone { round: id });
        }
    }
}
