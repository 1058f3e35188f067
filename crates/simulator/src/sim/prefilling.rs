//! Steps of prefill workers, and the transfers around them.

use super::Sim;
use super::events::{Event, RoundRef};
use super::links::Purpose;
use super::prefill::Step;

impl Sim<'_> {
    /// Has the worker take tasks from its queue and, if it is idle, start a step.
    pub(super) fn start_prefill_step(&mut self, worker: u32) {
        let (engine, order) = (self.setup.cluster.engine, self.setup.policies.order);
        if !self.prefills[worker as usize].alive {
            return;
        }
        loop {
            let prefill = &mut self.prefills[worker as usize];
            if prefill.step.is_none() {
                self.begin_prefill_step(worker);
            }
            let prefill = &mut self.prefills[worker as usize];
            let Some(task) = prefill.take_next(order, self.now_s, engine.prefill_budget) else { break };
            if !task.pulled {
                let missing = task.home_history - prefill.kv.held(task.session);
                let ends = (self.decode_node(task.home), self.prefill_node(worker));
                self.transfer(ends, missing, task.round, Purpose::Pull { worker });
            }
        }
    }

    fn begin_prefill_step(&mut self, worker: u32) {
        let (engine, crowding) = (self.setup.cluster.engine, self.crowding());
        let prefill = &mut self.prefills[worker as usize];
        let (parts, tokens, pairs) = prefill.plan(&engine);
        if parts.is_empty() {
            return;
        }
        let of = self.setup.prefill_type();
        let noise = of.truth.noise(&mut self.rng);
        let seconds = of.truth.prefill_s(tokens, pairs) * noise * prefill.slow * crowding;
        let history = (pairs / tokens - tokens / 2.0).max(0.0);
        prefill.step = Some(Step {
            started_s: self.now_s,
            seconds,
            predicted_s: prefill.model.prefill_s(history, tokens),
            profiled_s: of.model.prefill_s(history, tokens),
            parts: parts.clone(),
        });
        let epoch = prefill.epoch;
        self.run.prefill_steps += 1;
        self.run.remote_tokens += tokens as u64;
        self.events.at(self.now_s + seconds, Event::PrefillStep { worker, epoch });
        // The new KV goes back layer by layer, from the first layer on.
        for (name, tokens) in parts {
            let taken = &self.prefills[worker as usize].taken;
            let task = taken.iter().find(|task| task.round == name);
            let tokens = task.map_or(tokens, |task| task.returned_with(tokens));
            if let Some(round) = self.rounds.get_mut(name) {
                round.returning += 1;
                let ends = (self.prefill_node(worker), self.decode_node_of(name));
                self.transfer(ends, tokens, name, Purpose::Return);
            }
        }
    }

    fn decode_node_of(&self, name: RoundRef) -> u32 {
        self.rounds.get(name).map_or(0, |round| self.decode_node(round.worker))
    }

    /// A step has ended.
    pub(super) fn prefill_step_ended(&mut self, worker: u32, epoch: u32) {
        let cache = self.setup.policies.prefill_cache;
        let prefill = &mut self.prefills[worker as usize];
        if prefill.epoch != epoch {
            return;
        }
        let Some(step) = prefill.step.take() else { return };
        prefill.calibration.prefill(step.profiled_s, step.seconds);
        for (name, tokens) in step.parts {
            let prefill = &mut self.prefills[worker as usize];
            let Some(place) = prefill.taken.iter().position(|task| task.round == name) else { continue };
            let task = &mut prefill.taken[place];
            task.done += tokens;
            if task.done < task.increment {
                continue;
            }
            let task = prefill.taken.remove(place);
            let (session, held) = (task.session, task.history + task.increment);
            prefill.kv.release(session, held, prefill.kv.blocks_of(session), cache);
            self.sessions[session as usize].holder = cache.then_some((worker, held));
            let Some(round) = self.rounds.get_mut(name) else { continue };
            prefill.ttft.push(self.now_s, self.now_s - round.arrival_s);
            round.computed = true;
            if round.returning == 0 {
                // All but the last layer's is there already.
                let cluster = self.setup.cluster;
                let bytes = f64::from(tokens) * cluster.kv_bytes_per_token / f64::from(cluster.layers);
                let tail_s = cluster.links.latency_s + bytes / cluster.links.between_bytes_per_s;
                self.events.at(self.now_s + tail_s, Event::Delivered(name));
            }
        }
        self.start_prefill_step(worker);
    }

    /// Begins the transfer of the KV of so many tokens.
    pub(super) fn transfer(&mut self, ends: (u32, u32), tokens: u32, round: RoundRef, purpose: Purpose) {
        let bytes = f64::from(tokens) * self.setup.cluster.kv_bytes_per_token;
        let next_s = self.transfers.begin(self.now_s, ends, bytes, round, purpose);
        self.events.at(next_s, Event::Links { version: self.transfers.version });
    }

    /// Takes out the transfers that have ended; what they bring is there after the links' latency.
    pub(super) fn links_changed(&mut self, version: u64) {
        if version != self.transfers.version {
            return;
        }
        let there_s = self.now_s + self.setup.cluster.links.latency_s;
        while let Some((round, purpose)) = self.transfers.ended(self.now_s) {
            let event = match purpose {
                Purpose::Pull { worker } => Event::Pulled { worker, round },
                Purpose::Return => Event::Returned(round),
                Purpose::Move { to } => Event::Moved { round, to },
            };
            self.events.at(there_s, event);
        }
        let next_s = self.transfers.next_s();
        if next_s.is_finite() {
            self.events.at(next_s, Event::Links { version: self.transfers.version });
        }
    }

    /// A round's history is on its prefill worker.
    pub(super) fn pulled(&mut self, worker: u32, name: RoundRef) {
        let taken = &mut self.prefills[worker as usize].taken;
        if let Some(task) = taken.iter_mut().find(|task| task.round == name) {
            task.pulled = true;
            self.start_prefill_step(worker);
        }
    }

    /// A part of a round's new KV has come back.
    pub(super) fn returned(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get_mut(name) else { return };
        round.returning -= 1;
        if round.computed && round.returning == 0 {
            self.delivered(name);
        }
    }

    /// All of a round's new KV is on its decode worker.
    pub(super) fn delivered(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get(name) else { return };
        let worker = round.worker;
        self.sidecars[worker as usize].inflight.done(&name.serial);
        self.decodes[worker as usize].joining.push_back(name);
        self.start_decode_step(worker);
    }
}
