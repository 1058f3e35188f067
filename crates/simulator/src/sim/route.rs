//! The decision where a round's prefill runs: the inputs of the scheduler's policy, as a sidecar has them.

use ampd_perfmodel::PerfModel;
use ampd_scheduler::{Costs, Decision, Decoding, LocalPrefill, Pace, PrefillLoad, RouteInput, Target};

use super::Sim;
use super::decode::Local;
use super::events::RoundRef;
use super::prefill::Task;
use super::round::Round;
use super::sidecar::Sidecar;
use crate::cluster::Pacing;
use crate::report::Place;

impl Sim<'_> {
    /// Decides and sends the round on its way.
    pub(super) fn route(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get(name).cloned() else { return };
        // A round that starts over goes on where it is: its tokens are wanted at once.
        let again = round.first_token_s.is_some();
        let target = if again { Target::Local } else { self.decide(name, &round).target };
        match target {
            Target::Local => self.go_local(name),
            Target::Remote(worker) => self.go_remote(name, &round, worker as u32),
        }
    }

    /// Asks the policy.
    fn decide(&mut self, name: RoundRef, round: &Round) -> Decision {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.decoding(round.worker, &mut scratch.decoding);
        self.locals(round.worker, &mut scratch.waiting);
        self.loads(round, &mut scratch.loads);
        if self.setup.policies.signals.probes > 0 && self.probe(round, &scratch) {
            self.loads(round, &mut scratch.loads);
        }
        let decision = self.setup.policies.routing.decide(&self.input(round, &scratch));
        self.scratch = scratch;
        let place = match decision.target {
            Target::Local => Place::Local,
            Target::Remote(worker) => Place::Remote(worker as u32),
        };
        if let Some(round) = self.rounds.get_mut(name) {
            round.decided(place, &decision);
        }
        decision
    }

    fn input<'a>(&'a self, round: &Round, scratch: &'a super::Scratch) -> RouteInput<'a> {
        let decode = &self.decodes[round.worker as usize];
        RouteInput {
            session: u64::from(round.session),
            history: round.history,
            increment: round.increment(),
            slo: self.setup.slo,
            age_s: self.now_s - round.arrival_s,
            decode: decode.load(self.now_s),
            decoding: &scratch.decoding,
            waiting: &scratch.waiting,
            token_budget: self.setup.cluster.engine.token_budget,
            prefills: &scratch.loads,
            model: &decode.model,
        }
    }

    /// Reads the load of the best few workers anew; whether there are any.
    fn probe(&mut self, round: &Round, scratch: &super::Scratch) -> bool {
        let input = self.input(round, scratch);
        let ready = (0..scratch.loads.len()).filter(|index| scratch.loads[*index].ready);
        let mut best: Vec<(f64, usize)> =
            ready.map(|index| (Costs::remote_s(&input, index), index)).collect();
        best.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        best.truncate(self.setup.policies.signals.probes);
        for (_, index) in &best {
            self.read_signal(round.worker, *index as u32);
        }
        !best.is_empty()
    }

    /// The rounds that decode on a worker.
    pub(super) fn decoding(&self, worker: u32, into: &mut Vec<Decoding>) {
        let decode = &self.decodes[worker as usize];
        into.clear();
        into.extend(decode.rows.iter().map(|row| {
            let tokens = row.tokens_at(decode.steps);
            let elapsed_s = row.first_s.map_or(0.0, |first_s| self.now_s - first_s);
            Decoding { tokens, elapsed_s, expected: decode.lengths.expected(tokens) }
        }));
    }

    /// The local prefills of a worker.
    pub(super) fn locals(&self, worker: u32, into: &mut Vec<LocalPrefill>) {
        into.clear();
        into.extend(self.decodes[worker as usize].prefills.iter().map(|local| LocalPrefill {
            history: local.history + local.done,
            remaining: local.remaining(),
            age_s: if local.deadline_s.is_finite() { self.now_s - local.arrival_s } else { 0.0 },
        }));
    }

    /// The prefill workers as the sidecar of the round's worker knows them.
    fn loads(&self, round: &Round, into: &mut Vec<PrefillLoad>) {
        let sidecar = &self.sidecars[round.worker as usize];
        let own_ratio = self.decodes[round.worker as usize].prefill_ratio;
        into.clear();
        into.extend(sidecar.signals.iter().enumerate().map(|(worker, signal)| PrefillLoad {
            windowed_ttft_s: signal.windowed_ttft_s,
            backlog_s: self.known_backlog_s(round.worker, worker as u32),
            cached_history: self.believed(round, worker as u32),
            prefill_ratio: signal.ratio / own_ratio,
            fresh: self.setup.policies.signals.ages.of(self.now_s - signal.at_s)
                != ampd_scheduler::Freshness::Stale,
            ready: signal.alive && self.prefills[worker].kv.fits(u64::from(round.prompt)),
        }));
    }

    /// Tokens of the round's history that a prefill worker is believed to cache: what it had when it last served the
    /// session. Whether it has given that up since, nobody but itself knows.
    fn believed(&self, round: &Round, worker: u32) -> Option<u32> {
        let holder = self.sessions[round.session as usize].holder;
        holder.filter(|(index, _)| *index == worker).map(|(_, tokens)| tokens.min(round.keep))
    }

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

    fn go_remote(&mut self, name: RoundRef, round: &Round, worker: u32) {
        let cached = self.prefills[worker as usize].kv.held(round.session).min(round.keep);
        let history = round.history.max(cached.min(round.prompt - 1));
        let increment = round.prompt - history;
        if self.setup.policies.signals.accounting {
            let decode = &self.decodes[round.worker as usize];
            let load = PrefillLoad { cached_history: self.believed(round, worker), ..PrefillLoad::default() };
            let known = load.known(round.history, round.increment());
            let budget = self.setup.cluster.engine.prefill_budget;
            let busy_s = busy_s(&decode.model, known, round.prompt - known, budget);
            let Sidecar { signals, inflight, .. } = &mut self.sidecars[round.worker as usize];
            let busy_s = busy_s * signals[worker as usize].ratio / decode.prefill_ratio;
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

    /// Most tokens of local prefills that the worker's next step takes in, of each and of all.
    pub(super) fn pace(&mut self, worker: u32) -> (u32, u32) {
        let (ttft, itl, price) = match self.setup.policies.pacing {
            Pacing::Fixed { chunk } => return (chunk, u32::MAX),
            Pacing::Adaptive { ttft, itl, price } => (ttft, itl, price),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        self.decoding(worker, &mut scratch.decoding);
        self.locals(worker, &mut scratch.waiting);
        let decode = &self.decodes[worker as usize];
        let pace = Pace {
            slo: self.setup.slo,
            load: decode.rows_load(self.now_s),
            decoding: &scratch.decoding,
            waiting: &scratch.waiting,
            token_budget: self.setup.cluster.engine.token_budget,
            model: &decode.model,
            ttft,
            itl,
            price,
        };
        let chunk = pace.best(None).map(|outcome| outcome.chunk);
        self.scratch = scratch;
        (u32::MAX, chunk.unwrap_or(u32::MAX))
    }
}

/// Predicted seconds that a prefill keeps a worker busy that batches it with others: the constant of a step in
/// proportion to the prefill's share of the budget.
fn busy_s(model: &PerfModel, history: u32, increment: u32, budget: u32) -> f64 {
    let share = (f64::from(increment) / f64::from(budget)).min(1.0);
    let whole = model.prefill_s(f64::from(history), f64::from(increment));
    (whole - model.prefill_constant_s() * (1.0 - share)).max(0.0)
}
