//! Rounds arrive: sessions are let in and bound, rounds opened.

use ampd_scheduler::{Admission, BindCandidate, Forecast};

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
    fn home(&self, session: u32) -> u32 {
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
            preempted: 0,
        });
        self.sessions[session as usize].next += 1;
        self.events.at(self.now_s + self.setup.cluster.overhead_s, Event::Open(round));
    }

    /// Whether a new session is let in now. One that is not has been refused, or waits.
    fn let_in(&mut self, session: u32, arrival_s: f64) -> bool {
        let home = self.home(session);
        match self.setup.policies.overload.admit(&self.forecast(home), &self.setup.slo) {
            Admission::Admit => true,
            Admission::BestEffort => {
                self.sessions[session as usize].best_effort = true;
                true
            }
            Admission::Refuse { .. } => {
                self.refused(session, arrival_s);
                false
            }
            Admission::Wait => {
                self.held[home as usize].push((session, arrival_s));
                false
            }
        }
    }

    /// Asks again for the sessions that wait to be let in at this home, until one has to wait on.
    pub(super) fn let_in_held(&mut self, home: u32) {
        while let Some(&(session, arrival_s)) = self.held[home as usize].first() {
            if self.setup.policies.overload.admit(&self.forecast(home), &self.setup.slo) == Admission::Wait {
                return;
            }
            self.held[home as usize].remove(0);
            self.sessions[session as usize].best_effort = false;
            self.arrive(session, arrival_s);
        }
    }

    /// What a new session would meet, as far as its home knows.
    fn forecast(&self, home: u32) -> Forecast {
        let sidecar = &self.sidecars[home as usize];
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let ready = || sidecar.members.iter().filter(|member| member.candidate.ready);
        // Each session bound since adds about a row: the step grows as the model says.
        let model = &self.decodes[home as usize].model;
        let step_s = least(&mut ready().map(|member| {
            let rows = f64::from(member.candidate.running) + 1.0;
            let with = model.decode_s(rows + f64::from(member.bound), member.mean_context);
            member.step_s * with / model.decode_s(rows, member.mean_context)
        }));
        let alive = (0..sidecar.signals.len()).filter(|worker| sidecar.signals[*worker].alive);
        let mut waits = alive.map(|worker| self.known_backlog_s(home, worker as u32)).peekable();
        let prefill_wait_s = if waits.peek().is_some() {
            least(&mut waits)
        } else {
            least(&mut ready().map(|member| member.backlog_s))
        };
        Forecast { prefill_wait_s, step_s }
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
        let state = &mut self.sessions[session as usize];
        if state.counted {
            state.counted = false;
            decode.idle_live -= 1;
        }
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
