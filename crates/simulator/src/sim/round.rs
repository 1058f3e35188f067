//! Rounds and sessions under way.

use ampd_scheduler::{Decision, Reason};

use super::events::RoundRef;
use crate::report::Place;

/// An active round.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub serial: u64,
    pub session: u32,
    /// From 0.
    pub number: u32,
    pub arrival_s: f64,
    /// Tokens of the context before the increment that stay valid.
    pub keep: u32,
    /// Tokens of the prompt: context that stays, increment, and output so far when it starts over.
    pub prompt: u32,
    /// Output tokens to come.
    pub left: u32,
    /// Output tokens in all.
    pub output: u32,
    /// Tokens whose KV its decode worker had when it was opened.
    pub history: u32,
    pub worker: u32,
    pub place: Place,
    pub reason: Option<Reason>,
    pub first_token_s: Option<f64>,
    /// Tokens of the context at its end.
    pub end_context: u32,
    /// 99th percentile of times between its tokens so far, seconds.
    pub itl_p99_s: f64,
    /// Parts of new KV on their way back.
    pub returning: u32,
    /// Whether its remote prefill is computed.
    pub computed: bool,
    /// Rounds without an objective come last.
    pub best_effort: bool,
    /// Whether it was asked where it is to be opened.
    pub placed: bool,
    pub preempted: u32,
}

impl Round {
    /// Tokens to be prefilled.
    pub(super) fn increment(&self) -> u32 {
        self.prompt - self.history
    }

    pub(super) fn decided(&mut self, place: Place, decision: &Decision) {
        self.place = place;
        self.reason = Some(decision.reason);
    }
}

/// Active rounds by slot; slots are used again.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    slots: Vec<Option<Round>>,
    free: Vec<u32>,
    serials: u64,
}

impl Rounds {
    pub(super) fn add(&mut self, mut round: Round) -> RoundRef {
        self.serials += 1;
        round.serial = self.serials;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(round);
        RoundRef { slot, serial: self.serials }
    }

    pub(super) fn get(&self, round: RoundRef) -> Option<&Round> {
        self.slots.get(round.slot as usize)?.as_ref().filter(|found| found.serial == round.serial)
    }

    pub(super) fn get_mut(&mut self, round: RoundRef) -> Option<&mut Round> {
        self.slots.get_mut(round.slot as usize)?.as_mut().filter(|found| found.serial == round.serial)
    }

    pub(super) fn remove(&mut self, round: RoundRef) -> Option<Round> {
        self.get(round)?;
        self.free.push(round.slot);
        self.slots[round.slot as usize].take()
    }

    /// Makes everything under way for a round void; its new name.
    pub(super) fn renew(&mut self, round: RoundRef) -> Option<RoundRef> {
        let serial = self.serials + 1;
        self.get_mut(round)?.serial = serial;
        self.serials = serial;
        Some(RoundRef { slot: round.slot, serial })
    }

    /// All, in the order of their slots.
    pub(super) fn all(&self) -> impl Iterator<Item = (RoundRef, &Round)> {
        self.slots.iter().enumerate().filter_map(|(slot, round)| {
            let round = round.as_ref()?;
            Some((RoundRef { slot: slot as u32, serial: round.serial }, round))
        })
    }
}

/// A session's state between its rounds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Session {
    pub worker: Option<u32>,
    /// The next round, from 0.
    pub next: u32,
    /// Tokens of its conversation so far.
    pub context: u32,
    /// The prefill worker that served it last, and the tokens whose KV it then had.
    pub holder: Option<(u32, u32)>,
    pub best_effort: bool,
    /// When its last round ended; counts as live for a while.
    pub ended_s: f64,
    /// Whether it is counted as live and idle by its worker.
    pub counted: bool,
}
