//! Which queued rounds start: the oldest first, with bounded exceptions for those that need no blocks.

use super::event::{RoundError, StepReport};
use super::plan::{Budget, Part, Room};
use super::round::{Round, State};
use super::{Engine, EngineError, RoundId};
use crate::backend::BLOCK_TOKENS;
use crate::kv::Holder;

/// How many younger rounds may start before a queued one that is short of blocks.
const MAX_OVERTAKES: usize = 32;

/// The oldest queued round that could not have its blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortage {
    /// The round's age.
    age: u64,
    /// Younger rounds that were started before it since.
    overtaken: usize,
}

impl Engine {
    /// Whether a round that runs or is queued lacks blocks: then none must be promised to others.
    pub(super) fn is_short_of_blocks(&self) -> bool {
        let queued = self.shortage.is_some_and(|shortage| self.waiting.contains_key(&shortage.age));
        queued || (self.running_short && !self.running.is_empty())
    }

    /// Goes on with prompts that run and starts queued rounds, in the order of [`Self::prompts`]. Behind one that is short of
    /// blocks, rounds that hold all of theirs may start all the same, since they wait for nothing else, but not for ever:
    /// after [`MAX_OVERTAKES`] of them nobody starts before the older one, and it takes what younger queued rounds hold.
    pub(super) fn add_prompts(
        &mut self,
        budget: &mut Budget,
        parts: &mut Vec<Part>,
        report: &mut StepReport,
    ) {
        let mut short = None;
        for (age, id) in self.prompts() {
            if self.running.contains_key(&age) {
                self.add_part(id, budget, parts, report);
                continue;
            }
            // What would get no row need not take blocks yet.
            let full = budget.rows == 0 || self.running.len() >= self.options.max_running;
            if full || (budget.prompts == 0 && self.remaining(id) > 1) {
                continue;
            }
            let has_room = self.rounds.get(&id).is_some_and(Round::has_room);
            if short.is_some() && (self.patience_is_over() || !has_room) {
                continue;
            }
            let is_short = self.shortage.is_some_and(|shortage| shortage.age == age);
            let room = self.admit(id, is_short && self.patience_is_over(), report);
            match (&room, &mut self.shortage) {
                (Room::Wait, shortage) if short.is_none() => {
                    short = Some(id);
                    if !is_short {
                        *shortage = Some(Shortage { age, overtaken: 0 });
                    }
                }
                (Room::Ready, shortage) if is_short => *shortage = None,
                (Room::Ready, Some(shortage)) if short.is_some() => shortage.overtaken += 1,
                _ => {}
            }
            self.go_on(id, room, budget, parts, report);
        }
        // With nothing running, only other queued rounds can stand in the way for longer.
        if let Some(id) = short
            && self.running.is_empty()
        {
            let room = self.admit(id, true, report);
            self.go_on(id, room, budget, parts, report);
        }
    }

    /// Whether the round that is short of blocks was overtaken as often as it may be.
    fn patience_is_over(&self) -> bool {
        self.shortage.is_some_and(|shortage| shortage.overtaken >= MAX_OVERTAKES)
    }

    /// Does with a queued round what [`Self::admit`] said.
    fn go_on(
        &mut self,
        id: RoundId,
        room: Room,
        budget: &mut Budget,
        parts: &mut Vec<Part>,
        report: &mut StepReport,
    ) {
        match room {
            Room::Ready if self.remaining(id) == 0 => self.finish_prefill(id, report),
            Room::Ready => self.add_part(id, budget, parts, report),
            Room::Wait => {}
            Room::Failed(error) => self.fail(id, error, report),
        }
    }

    /// Starts a queued round if it can have blocks for all its tokens. One that may `insist` takes them from younger
    /// queued rounds.
    fn admit(&mut self, id: RoundId, insist: bool, report: &mut StepReport) -> Room {
        let total = self.kv.ledger().total;
        loop {
            let Some(round) = self.rounds.get(&id) else { return Room::Wait };
            let (needed, age) = (round.blocks_needed(), round.age());
            if needed > total {
                return Room::Failed(RoundError::KvExhausted { needed, total });
            }
            match self.claim(id) {
                Ok(()) => {
                    self.start(id);
                    return Room::Ready;
                }
                Err(EngineError::KvExhausted { .. }) => {
                    match self.youngest_queued(id, age).filter(|_| insist) {
                        Some(victim) => self.preempt(victim, report),
                        None => return self.wait_or_fail(id, needed),
                    }
                }
                Err(error) => return Room::Failed(RoundError::backend(&error)),
            }
        }
    }

    /// Takes blocks for all tokens of a queued round. A round without any looks for what the prefix cache has of it,
    /// and leaves that to others until the rest can be had too.
    fn claim(&mut self, id: RoundId) -> Result<(), EngineError> {
        let Some(round) = self.rounds.get_mut(&id) else { return Err(EngineError::UnknownRound(id)) };
        if round.blocks.is_empty() {
            let limit = round.reusable();
            let found = self.kv.find_prefix(&round.salt, &round.tokens[..limit], &mut round.chain);
            self.kv.check_available(&found, round.blocks_needed() - found.len())?;
            self.kv.retain(&found, Holder::Active);
            round.computed = found.len() * BLOCK_TOKENS;
            round.blocks = found;
        }
        self.make_room(id, Holder::Active)
    }

    fn start(&mut self, id: RoundId) {
        let Some(round) = self.rounds.get_mut(&id) else { return };
        if let State::Waiting { age } = round.state {
            round.state = State::Running { age };
            self.waiting.remove(&age);
            self.running.insert(age, id);
        }
    }
}
