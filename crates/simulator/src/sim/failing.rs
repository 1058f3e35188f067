//! Workers fail, slow down and come back.

use super::Sim;
use super::decode::Decode;
use super::events::{Event, RoundRef};
use super::kv::KvMemory;
use super::prefill::Prefill;
use crate::cluster::{Fault, FaultKind, Role};
use crate::report::Place;

impl Sim<'_> {
    /// A fault begins or ends.
    pub(super) fn fault(&mut self, index: u32, begins: bool) {
        let Some(&Fault { role, worker, kind, .. }) = self.setup.faults.get(index as usize) else { return };
        if begins && kind == FaultKind::Down {
            match role {
                Role::Prefill => self.prefill_lost(worker),
                Role::Decode => self.decode_lost(worker),
            }
        }
        // Faults of one worker may overlap: when one is over, the others go on.
        let (mut slow, mut alive) = (1.0, true);
        let under_way = |fault: &&Fault| fault.from_s <= self.now_s && self.now_s < fault.until_s;
        for fault in self.setup.faults.iter().filter(under_way) {
            match fault.kind {
                _ if (fault.role, fault.worker) != (role, worker) => {}
                FaultKind::Slow(factor) => slow *= factor,
                FaultKind::Down => alive = false,
            }
        }
        match role {
            Role::Prefill => {
                let prefill = &mut self.prefills[worker as usize];
                (prefill.slow, prefill.alive) = (slow, alive);
            }
            Role::Decode => {
                let decode = &mut self.decodes[worker as usize];
                (decode.slow, decode.alive) = (slow, alive);
            }
        }
    }

    fn memory(&self, kv_tokens: u64) -> KvMemory {
        KvMemory::new(kv_tokens, self.setup.cluster.block_tokens)
    }

    fn prefill_lost(&mut self, worker: u32) {
        let window_s = self.setup.policies.signals.window_s;
        let of = self.setup.prefill_type();
        let mut fresh = Prefill::new(self.memory(of.kv_tokens), window_s, of.model.clone());
        let lost = &mut self.prefills[worker as usize];
        (fresh.alive, fresh.epoch, fresh.slow) = (false, lost.epoch + 1, lost.slow);
        let lost = std::mem::replace(lost, fresh);
        for task in lost.taken.into_iter().chain(lost.queue) {
            self.fall_back(task.round);
        }
    }

    /// A remote prefill failed: it runs locally instead.
    pub(super) fn fall_back(&mut self, name: RoundRef) {
        let Some(worker) = self.rounds.get(name).map(|round| round.worker) else { return };
        self.sidecars[worker as usize].inflight.done(&name.serial);
        let Some(name) = self.rounds.renew(name) else { return };
        if let Some(round) = self.rounds.get_mut(name) {
            (round.returning, round.computed, round.place) = (0, false, Place::Local);
        }
        self.go_local(name);
    }

    fn decode_lost(&mut self, worker: u32) {
        let cluster = self.setup.cluster;
        let window_s = self.setup.policies.signals.window_s;
        let memory = self.memory(cluster.kv_tokens);
        let mut fresh = Decode::new(memory, cluster.block_tokens, window_s, self.setup.model.clone());
        let lost = &mut self.decodes[worker as usize];
        (fresh.alive, fresh.epoch, fresh.slow) = (false, lost.epoch + 1, lost.slow);
        let lost = std::mem::replace(lost, fresh);
        for (_, session) in &lost.ended {
            let session = &mut self.sessions[*session as usize];
            // One that has moved since is counted elsewhere.
            session.counted &= session.worker != Some(worker);
        }
        let names: Vec<RoundRef> =
            self.rounds.all().filter(|(_, round)| round.worker == worker).map(|(name, _)| name).collect();
        for name in names {
            let row = lost.rows.iter().find(|row| row.round == name);
            let left = row.map(|row| (row.end - lost.steps) as u32);
            self.start_over(name, left);
        }
    }

    /// A round's decode worker is gone: it is bound anew and computed again, with its output so far; `left` tokens of
    /// output are to come, or as many as before.
    fn start_over(&mut self, name: RoundRef, left: Option<u32>) {
        self.forget_remote(name);
        let Some(name) = self.rounds.renew(name) else { return };
        let Some(round) = self.rounds.get_mut(name) else { return };
        round.left = left.unwrap_or(round.left);
        round.prompt = round.end_context - round.left;
        (round.keep, round.returning, round.computed, round.worker) = (0, 0, false, u32::MAX);
        self.sessions[round.session as usize].worker = None;
        self.events.at(self.now_s, Event::Open(name));
    }

    /// Takes a round's prefill from the prefill worker that has it.
    fn forget_remote(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get(name) else { return };
        self.sidecars[round.worker as usize].inflight.done(&name.serial);
        for prefill in &mut self.prefills {
            prefill.queue.retain(|task| task.round != name);
            if let Some(place) = prefill.taken.iter().position(|task| task.round == name) {
                let task = prefill.taken.remove(place);
                prefill.kv.release(task.session, 0, prefill.kv.blocks_of(task.session), false);
            }
        }
    }
}
