//! Rounds end, and the simulation.

use ampd_scheduler::Reason;

use super::Sim;
use super::decode::Decode;
use super::events::{Event, RoundRef};
use super::prefill::Prefill;
use super::round::Round;
use crate::report::{Place, RoundRecord, Run};

impl Sim<'_> {
    /// A round has had its last token; its session holds `tokens` of KV, in `grown` blocks more than it claimed.
    pub(super) fn finish(&mut self, worker: u32, name: RoundRef, tokens: u32, grown: u64) {
        let Some(round) = self.rounds.remove(name) else { return };
        let decode = &mut self.decodes[worker as usize];
        let blocks = decode.kv.blocks_of(round.session) + grown;
        decode.kv.release(round.session, tokens, blocks, true);
        decode.lengths.ended(round.output);
        decode.busy_sessions -= 1;
        decode.idle_live += 1;
        decode.idle_live_tokens += u64::from(round.end_context);
        decode.ended.push_back((self.now_s, round.session));
        let session = &mut self.sessions[round.session as usize];
        session.context = round.end_context;
        session.ended_s = self.now_s;
        session.counted = true;
        let next = session.next;
        if let Some(traced) = self.traced(round.session, next) {
            let at_s = self.now_s + traced.gap_s;
            self.events.at(at_s, Event::Arrive { session: round.session });
        }
        let record = self.record(&round, true);
        self.run.rounds.push(record);
    }

    /// All rounds of a refused session.
    pub(super) fn refused(&mut self, session: u32, arrival_s: f64) {
        let mut number = 0;
        while let Some(traced) = self.traced(session, number) {
            self.run.rounds.push(RoundRecord {
                session,
                round: number + 1,
                arrival_s,
                ttft_s: None,
                itl_mean_s: None,
                itl_p99_s: None,
                finished: false,
                place: Place::Refused,
                reason: None,
                history: 0,
                increment: traced.increment,
                output: traced.output,
                preempted: 0,
            });
            number += 1;
        }
    }

    fn record(&self, round: &Round, finished: bool) -> RoundRecord {
        let intervals = f64::from(round.output - 1);
        let mean = |first_s: f64| (self.now_s - first_s) / intervals;
        RoundRecord {
            session: round.session,
            round: round.number + 1,
            arrival_s: round.arrival_s,
            ttft_s: round.first_token_s.map(|first_s| first_s - round.arrival_s),
            itl_mean_s: round.first_token_s.filter(|_| finished && intervals > 0.0).map(mean),
            itl_p99_s: (finished && intervals > 0.0).then_some(round.itl_p99_s),
            finished,
            place: round.place,
            reason: round.reason.map(Reason::as_str),
            history: round.history,
            increment: round.prompt - round.history,
            output: round.output,
            preempted: round.preempted,
        }
    }

    /// What the run gives. Rounds under way are recorded as not ended.
    pub(super) fn end(mut self) -> Run {
        let unfinished: Vec<RoundRecord> =
            self.rounds.all().map(|(_, round)| self.record(round, false)).collect();
        self.run.rounds.extend(unfinished);
        for (session, arrival_s) in std::mem::take(&mut self.held).into_iter().flatten() {
            self.refused(session, arrival_s);
        }
        self.run.ended_s = self.now_s;
        self.run.evicted_tokens = self.decodes.iter().map(|decode| decode.kv.evicted_tokens).sum();
        let decodes = self.decodes.iter().all(Decode::intact);
        self.run.blocks_conserved = decodes && self.prefills.iter().all(Prefill::intact);
        self.run
    }
}
