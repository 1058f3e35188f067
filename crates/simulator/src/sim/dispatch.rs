//! Rounds go where their prefills are to run.

use ampd_scheduler::PrefillLoad;

use super::Sim;
use super::events::RoundRef;
use super::prefill::Task;
use super::round::Round;
use super::rows::Local;
use super::sidecar::Sidecar;

impl Sim<'_> {
    /// Queues the round's prefill on its decode worker.
    pub(super) fn go_local(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get(name) else { return };
        let deadline_s =
            if round.best_effort { f64::INFINITY } else { round.arrival_s + self.setup.slo.ttft_s };
        let local = Local {
            round: name,
            history: round.history,
            increment: round.increment(),
            done: 0,
            arrival_s: round.arrival_s,
            deadline_s,
            postponed: 0,
        };
        let worker = round.worker;
        self.decodes[worker as usize].prefills.push(local);
        self.start_decode_step(worker);
    }

    pub(super) fn go_remote(&mut self, name: RoundRef, round: &Round, worker: u32) {
        let cached = self.prefills[worker as usize].kv.held(round.session).min(round.keep);
        let history = round.history.max(cached.min(round.prompt - 1));
        let increment = round.prompt - history;
        if self.setup.policies.signals.accounting {
            let decode = &self.decodes[round.worker as usize];
            let load = PrefillLoad { cached_history: self.believed(round, worker), ..PrefillLoad::default() };
            let known = load.known(round.history, round.increment());
            let budget = f64::from(self.setup.cluster.engine.prefill_budget);
            let busy_s = decode.model.share_s(f64::from(known), f64::from(round.prompt - known), budget);
            let Sidecar { signals, inflight, .. } = &mut self.sidecars[round.worker as usize];
            let busy_s = busy_s * self.prefill_speed * signals[worker as usize].ratio / decode.prefill_ratio;
            inflight.sent(name.serial, u64::from(worker), busy_s, self.now_s);
        }
        let deadline_s =
            if round.best_effort { f64::INFINITY } else { round.arrival_s + self.setup.slo.ttft_s };
        if !self.prefills[worker as usize].alive {
            // The signal was older than the loss.
            self.fall_back(name);
            return;
        }
        if let Some(round) = self.rounds.get_mut(name) {
            // It may have been prefilled before, and lost its KV before its first token.
            (round.returning, round.computed) = (0, false);
        }
        self.prefills[worker as usize].queue.push(Task {
            round: name,
            session: round.session,
            home: round.worker,
            home_history: round.history,
            keep: round.keep,
            history,
            increment,
            deadline_s,
            postponed: 0,
            done: 0,
            pulled: false,
        });
        self.start_prefill_step(worker);
    }
}
