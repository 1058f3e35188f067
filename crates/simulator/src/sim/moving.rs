//! Sessions move to another decode worker when their next round comes.

use ampd_scheduler::{MoveCandidate, Moving};

use super::Sim;
use super::events::{Event, RoundRef};
use super::links::Purpose;

/// Seconds of the messages of a move: to the session's home, which binds it anew, and to the worker that then pulls its
/// KV.
const MESSAGES_S: f64 = 0.003;

impl Sim<'_> {
    /// Has a round that is about to be opened on its session's worker `own` opened on another one, if that is better:
    /// once its KV is there. Whether it is.
    pub(super) fn moves(&mut self, name: RoundRef, own: u32) -> bool {
        let Some(round) = self.rounds.get_mut(name) else { return false };
        // A first round has just been bound, and one that starts over has lost its KV.
        let asked = std::mem::replace(&mut round.placed, true);
        if asked || round.number == 0 || !self.setup.policies.moving {
            return false;
        }
        let (session, prompt) = (round.session, round.prompt);
        let Some(to) = self.better_than(own, session, prompt) else { return false };
        if !self.decodes[to as usize].alive {
            return false;
        }
        self.sidecars[own as usize].members[to as usize].moves.sent += 1;
        match self.decodes[own as usize].kv.held(session) {
            0 => self.moved(name, to),
            held => {
                let ends = (self.decode_node(own), self.decode_node(to));
                self.transfer(ends, held, name, Purpose::Move { to });
            }
        }
        true
    }

    fn better_than(&self, own: u32, session: u32, prompt: u32) -> Option<u32> {
        let model = &self.decodes[own as usize].model;
        let told = self.sidecars[own as usize].members.iter().map(|member| {
            let rows = f64::from(member.candidate.running) + 1.0;
            let step_ratio = member.modelled_s / model.decode_s(rows, member.mean_context);
            MoveCandidate { step_ratio, age_s: self.now_s - member.at_s, ..member.moves }
        });
        let mut candidates: Vec<MoveCandidate> = told.collect();
        candidates[own as usize] = self.own_candidate(own, session);
        let (capacity, itl_s) = (self.setup.cluster.kv_tokens, self.setup.slo.itl_s);
        let place = Moving { model, itl_s, capacity }.choose(&candidates, own as usize, prompt)?;
        u32::try_from(place).ok()
    }

    /// The session's own worker, of which its sidecar knows everything, without the session.
    fn own_candidate(&self, own: u32, session: u32) -> MoveCandidate {
        let mut candidate = self.move_candidate(own as usize);
        let session = &self.sessions[session as usize];
        if session.counted {
            candidate.live_tokens -= u64::from(session.context);
        }
        candidate
    }

    /// What a decode worker tells those who may move sessions to it.
    pub(super) fn move_candidate(&self, worker: usize) -> MoveCandidate {
        let decode = &self.decodes[worker];
        let round_tokens = decode.kv.active() * u64::from(self.setup.cluster.block_tokens);
        let waiting = decode.waiting.iter().filter_map(|name| self.rounds.get(*name));
        let waiting: u64 = waiting.map(|round| u64::from(round.prompt)).sum();
        MoveCandidate {
            rounds: decode.busy_sessions,
            round_tokens,
            live_tokens: round_tokens + waiting + decode.idle_live_tokens,
            free_tokens: decode.kv.available_tokens(),
            step_ratio: 1.0,
            age_s: 0.0,
            sent: 0,
            ready: decode.alive,
        }
    }

    /// A session's KV has left its worker for another one, where its round is opened now.
    pub(super) fn moved(&mut self, name: RoundRef, to: u32) {
        let Some(round) = self.rounds.get(name) else { return };
        let number = round.session;
        let session = &mut self.sessions[number as usize];
        if let Some(from) = session.worker.replace(to) {
            let from = &mut self.decodes[from as usize];
            from.no_longer_idle(session);
            // Other rounds may have had its memory meanwhile.
            let held = from.kv.give_up(number);
            let there = &mut self.decodes[to as usize];
            // One that has died meanwhile keeps nothing.
            if held > 0 && there.alive {
                there.kv.take_in(number, held);
            }
        }
        self.events.at(self.now_s + MESSAGES_S, Event::Open(name));
    }
}
