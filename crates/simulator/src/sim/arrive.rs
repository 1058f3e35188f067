//! Rounds arrive: sessions are bound, rounds opened.

use ampd_scheduler::BindCandidate;

use super::Sim;
use super::events::{Event, RoundRef};
use super::round::Round;
use crate::report::Place;
use crate::trace::TraceRound;

impl Sim<'_> {
    /// The trace's round of a session.
    pub(super) fn traced(&self, session: u32, number: u32) -> Option<&TraceRound> {
        let place = *self.order.get(session as usize)?;
        self.setup.trace.sessions.get(place as usize)?.rounds.get(number as usize)
    }

    /// The sidecar that keeps a session's binding. In production it is chosen by a hash of the name, which spreads as
    /// evenly.
    pub(super) fn home(&self, session: u32) -> u32 {
        session % self.setup.cluster.decode_workers
    }

    /// A session's next round arrives; it came at `arrival_s`, before now if its session had to wait.
    pub(super) fn arrive(&mut self, session: u32, arrival_s: f64) {
        let state = self.sessions[session as usize];
        if state.next == 0 && !self.let_in(session, arrival_s) {
            return;
        }
        let Some(&traced) = self.traced(session, state.next) else { return };
        let keep = traced.keep.unwrap_or(u32::MAX).min(state.context);
        let round = self.rounds.add(Round {
            serial: 0,
            session,
            number: state.next,
            arrival_s,
            keep,
            prompt: keep + traced.increment,
            left: traced.output,
            output: traced.output,
            history: 0,
            worker: u32::MAX,
            place: Place::Undecided,
            reason: None,
            first_token_s: None,
            end_context: keep + traced.increment + traced.output,
            itl_p99_s: 0.0,
            returning: 0,
            computed: false,
            best_effort: self.sessions[session as usize].best_effort,
            placed: false,
            preempted: 0,
        });
        self.sessions[session as usize].next += 1;
        self.events.at(self.now_s + self.setup.cluster.overhead_s, Event::Open(round));
    }

    /// Binds a session; `None` while no decode worker takes any.
    fn bind(&mut self, session: u32, tokens: u32) -> Option<u32> {
        let home = self.home(session) as usize;
        let members = &self.sidecars[home].members;
        let candidates: Vec<BindCandidate> = members.iter().map(super::sidecar::Member::seen).collect();
        let worker = self.setup.policies.binding.choose(&candidates, self.setup.cluster.kv_tokens)?;
        let member = &mut self.sidecars[home].members[worker];
        member.bound += 1;
        member.bound_tokens += u64::from(tokens);
        self.sessions[session as usize].worker = Some(worker as u32);
        Some(worker as u32)
    }

    /// Opens a round on its session's decode worker, or has it wait there for memory.
    pub(super) fn open(&mut self, name: RoundRef) {
        let Some(round) = self.rounds.get(name) else { return };
        let (session, prompt) = (round.session, round.prompt);
        let bound =
            self.sessions[session as usize].worker.filter(|worker| self.decodes[*worker as usize].alive);
        if bound.is_some_and(|own| self.moves(name, own)) {
            return;
        }
        let Some(worker) = bound.or_else(|| self.bind(session, prompt)) else {
            // Everybody is away: ask again with the next reading.
            self.events.at(self.now_s + self.setup.policies.signals.poll_s, Event::Open(name));
            return;
        };
        if !self.decodes[worker as usize].alive {
            // Bound on old news.
            self.sessions[session as usize].worker = None;
            self.events.at(self.now_s + self.setup.policies.signals.poll_s, Event::Open(name));
            return;
        }
        if let Some(round) = self.rounds.get_mut(name) {
            round.worker = worker;
        }
        let decode = &mut self.decodes[worker as usize];
        decode.busy_sessions += 1;
        decode.no_longer_idle(&mut self.sessions[session as usize]);
        decode.waiting.push_back(name);
        self.start_waiting(worker);
    }

    /// Gives memory to the rounds that wait for it, in their order, and routes them.
    pub(super) fn start_waiting(&mut self, worker: u32) {
        while let Some(&name) = self.decodes[worker as usize].waiting.front() {
            let decode = &mut self.decodes[worker as usize];
            if let Some(round) = self.rounds.get_mut(name) {
                let Some(history) = decode.kv.claim(round.session, round.keep, round.prompt) else { return };
                // The last token is always computed, for its logits.
                round.history = history.min(round.prompt - 1);
            }
            decode.waiting.pop_front();
            self.route(name);
        }
    }
}
