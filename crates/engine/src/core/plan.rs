//! What a step computes: decode rows first, then prompts in the order of their ages, under the token budget.

use super::event::{Event, PrefillPart, RoundError, StepReport};
use super::round::{Kind, State};
use super::{Engine, EngineError, RoundId};
use crate::backend::LogitsWanted;
use crate::kv::Holder;

/// One round's share of a step: tokens `start..end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub round: RoundId,
    pub start: usize,
    pub end: usize,
    pub logits: LogitsWanted,
}

/// Whether a round got the blocks that it needs for its next rows.
enum Room {
    Ready,
    /// Others hold the blocks; they end or time out.
    Wait,
    Failed(RoundError),
}

impl Engine {
    /// Chooses the step's parts. Every block that they write is held, and by their round alone.
    ///
    /// Progress is certain: the oldest running round can take blocks from every younger and every queued one, queued
    /// rounds start in order, and what opened or leased rounds hold comes back within their time limits.
    pub(super) fn plan(&mut self, report: &mut StepReport) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut budget = self.options.token_budget;
        for id in self.running_ids() {
            // A round may have lost its place to an older one's need meanwhile.
            if !self.is_running(id) || self.remaining(id) != 1 {
                continue;
            }
            match self.grow(id, report) {
                Room::Ready => self.add_part(id, &mut budget, &mut parts, report),
                Room::Wait => {}
                Room::Failed(error) => self.fail(id, error, report),
            }
        }
        for id in self.running_ids() {
            if self.remaining(id) > 1 {
                self.add_part(id, &mut budget, &mut parts, report);
            }
        }
        self.short_of_blocks = false;
        while budget > 0
            && self.running.len() < self.options.max_running
            && let Some(id) = self.next_waiting()
        {
            match self.admit(id, report) {
                Room::Ready if self.remaining(id) == 0 => self.finish_prefill(id, report),
                Room::Ready => self.add_part(id, &mut budget, &mut parts, report),
                Room::Wait => {
                    self.short_of_blocks = true;
                    break;
                }
                Room::Failed(error) => self.fail(id, error, report),
            }
        }
        parts
    }

    fn running_ids(&self) -> Vec<RoundId> {
        self.running.values().copied().collect()
    }

    fn is_running(&self, id: RoundId) -> bool {
        self.rounds.get(&id).is_some_and(|round| matches!(round.state, State::Running { .. }))
    }

    fn remaining(&self, id: RoundId) -> usize {
        self.rounds.get(&id).map_or(0, super::round::Round::remaining)
    }

    /// Adds the round's next rows, as many as chunk and budget allow.
    fn add_part(&self, id: RoundId, budget: &mut usize, parts: &mut Vec<Part>, report: &mut StepReport) {
        let Some(round) = self.rounds.get(&id) else { return };
        let rows = round.remaining().min(round.chunk_limit(self.options.prefill_chunk)).min(*budget);
        if rows == 0 {
            return;
        }
        *budget -= rows;
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
            let needed = round.blocks_needed();
            let age = round.age();
            if self.preempt_younger(id, age, report) {
                continue;
            }
            return self.wait_or_fail(id, needed);
        }
    }

    /// The next round to start: first those that hold all their blocks already, since they wait for nothing else.
    fn next_waiting(&self) -> Option<RoundId> {
        let has_room = |id: &&RoundId| self.rounds.get(id).is_some_and(super::round::Round::has_room);
        self.waiting.values().find(has_room).or_else(|| self.waiting.values().next()).copied()
    }

    /// Starts a queued round if it can have blocks for all its tokens.
    fn admit(&mut self, id: RoundId, report: &mut StepReport) -> Room {
        loop {
            let total = self.kv.ledger().total;
            let Some(round) = self.rounds.get_mut(&id) else { return Room::Wait };
            let needed = round.blocks_needed();
            if needed > total {
                return Room::Failed(RoundError::KvExhausted { needed, total });
            }
            let held = !round.blocks.is_empty();
            if !held {
                round.blocks = self.kv.find_prefix(&round.salt, &round.tokens, round.reusable());
                round.computed = round.blocks.len() * crate::backend::BLOCK_TOKENS;
                self.kv.retain(&round.blocks, Holder::Active);
            }
            match self.make_room(id, Holder::Active) {
                Ok(()) => {
                    self.start(id);
                    return Room::Ready;
                }
                Err(EngineError::KvExhausted { .. }) => {
                    // With nothing running, only other queued rounds can stand in the way for longer.
                    if self.running.is_empty() && self.preempt_younger(id, None, report) {
                        continue;
                    }
                    if !held {
                        // What was found now is left to others until the rest can be had too.
                        self.take_blocks(id);
                    }
                    return self.wait_or_fail(id, needed);
                }
                Err(error) => return Room::Failed(RoundError::backend(&error)),
            }
        }
    }

    fn start(&mut self, id: RoundId) {
        let Some(round) = self.rounds.get_mut(&id) else { return };
        if let State::Waiting { age } = round.state {
            round.state = State::Running { age };
            self.waiting.remove(&age);
            self.running.insert(age, id);
        }
    }

    /// Waits if another round holds blocks, else this round needs more than there is.
    fn wait_or_fail(&self, id: RoundId, needed: usize) -> Room {
        let others = self.rounds.values().any(|round| round.id != id && !round.blocks.is_empty());
        let total = self.kv.ledger().total;
        if others { Room::Wait } else { Room::Failed(RoundError::KvExhausted { needed, total }) }
    }

    /// Takes all blocks from the youngest queued round that holds any, else from the youngest running one that is
    /// younger than `age`. False when there is none. The round starts over later, with its output so far as part of
    /// what it computes; since draws depend on the output's place alone, its output goes on as if nothing had happened.
    fn preempt_younger(&mut self, id: RoundId, age: Option<u64>, report: &mut StepReport) -> bool {
        let holds = |other: &RoundId| {
            *other != id && self.rounds.get(other).is_some_and(|round| !round.blocks.is_empty())
        };
        let queued = self.waiting.values().rev().copied().find(|other| holds(other));
        let younger = |age| self.running.range(age + 1..).next_back().map(|(_, &other)| other);
        let Some(victim) = queued.or_else(|| age.and_then(younger)) else { return false };
        self.take_blocks(victim);
        if let Some(round) = self.rounds.get_mut(&victim)
            && let State::Running { age } = round.state
        {
            round.state = State::Waiting { age };
            self.running.remove(&age);
            self.waiting.insert(age, victim);
        }
        report.preempted += 1;
        true
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
