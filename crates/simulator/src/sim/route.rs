//! The decision where a round's prefill runs: the inputs of the scheduler's policy, as a sidecar has them.

use ampd_scheduler::{Costs, Decoding, LocalPrefill, PrefillLoad, RouteInput, Target};

use super::Sim;
use super::events::RoundRef;
use super::round::Round;
use crate::report::Place;

impl Sim<'_> {
    /// Decides and sends the round on its way.
    pub(super) fn route(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get(name).cloned() else { return };
        // A round that starts over goes on where it is: its tokens are wanted at once.
        let again = round.first_token_s.is_some();
        let place = if again { Place::Local } else { self.decide(name, &round) };
        if let Place::Remote(worker) = place {
            self.go_remote(name, &round, worker);
        } else {
            self.go_local(name);
        }
    }

    /// Asks the policy.
    fn decide(&mut self, name: RoundRef, round: &Round) -> Place {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.decoding(round.worker, &mut scratch.decoding);
        self.locals(round.worker, &mut scratch.waiting);
        let others = self.others(round.worker);
        self.loads(round, others, &mut scratch.loads);
        if self.setup.policies.signals.probes > 0 && self.probe(round, &scratch) {
            self.loads(round, others, &mut scratch.loads);
        }
        let decision = self.setup.policies.routing.decide(&self.input(round, &scratch));
        self.scratch = scratch;
        let place = match decision.target {
            Target::Local => Place::Local,
            Target::Remote(index) => Place::Remote(self.sidecars[round.worker as usize].followed[index]),
        };
        if let Some(round) = self.rounds.get_mut(name) {
            round.decided(place, &decision);
        }
        place
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
        let best = Costs::ranked(&self.input(round, scratch), self.setup.policies.signals.probes);
        for index in &best {
            let worker = self.sidecars[round.worker as usize].followed[*index];
            self.read_signal(round.worker, worker);
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

    /// The prefill workers that the sidecar of the round's worker follows, as it knows them.
    fn loads(&self, round: &Round, others: f64, into: &mut Vec<PrefillLoad>) {
        let sidecar = &self.sidecars[round.worker as usize];
        let own_ratio = self.decodes[round.worker as usize].prefill_ratio;
        into.clear();
        into.extend(sidecar.followed.iter().map(|&worker| {
            let signal = &sidecar.signals[worker as usize];
            PrefillLoad {
                windowed_ttft_s: signal.windowed_ttft_s,
                backlog_s: self.known_backlog_s(round.worker, worker, others),
                cached_history: self.believed(round, worker),
                prefill_ratio: self.prefill_speed * signal.ratio / own_ratio,
                fresh: self.setup.policies.signals.ages.of(self.now_s - signal.at_s)
                    != ampd_scheduler::Freshness::Stale,
                ready: signal.alive && self.prefills[worker as usize].kv.fits(u64::from(round.prompt)),
            }
        }));
    }

    /// Tokens of the round's history that a prefill worker is believed to cache: what it had when it last served the
    /// session. Whether it has given that up since, nobody but itself knows.
    pub(super) fn believed(&self, round: &Round, worker: u32) -> Option<u32> {
        let holder = self.sessions[round.session as usize].holder;
        holder.filter(|(index, _)| *index == worker).map(|(_, tokens)| tokens.min(round.keep))
    }
}
