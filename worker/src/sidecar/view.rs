//! What is known at a decision: the own worker as it told when it opened the round, the prefill workers by their signals,
//! and what this sidecar itself has sent since.

use std::sync::Arc;

use ampd_perfmodel::PerfModel;
use ampd_scheduler::{
    Costs, DecodeLoad, Decoding, LocalPrefill, PolicyKind, PrefillLoad, RouteInput, Slo, rendezvous,
};

use super::load::WorkerLoad;
use super::state::Shared;
use crate::protocol::{LoadReport, MOST_TOLD, RoundOpened};
use crate::topology::PrefillMember;

/// A round that is to be routed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// Its session.
    pub session: &'a str,
    /// What the worker told of it.
    pub opened: &'a RoundOpened,
    /// Seconds since it arrived at the service.
    pub age_s: f64,
}

/// The inputs of a decision.
#[derive(Debug)]
pub(super) struct View<'a> {
    arrival: Arrival<'a>,
    session: u64,
    slo: Slo,
    decode: DecodeLoad,
    decoding: Vec<Decoding>,
    waiting: Vec<LocalPrefill>,
    token_budget: u32,
    prefills: Vec<PrefillLoad>,
    pub model: Arc<PerfModel>,
}

impl Shared {
    /// What is known for a round that may go to these workers.
    pub(super) fn view<'a>(&self, arrival: Arrival<'a>, workers: &[PrefillMember]) -> View<'a> {
        let report = &arrival.opened.load;
        let own = WorkerLoad::from(report);
        self.estimate.told(own.speed);
        let model = self.estimate.current();
        let mut waiting = told(report);
        let mut decode = own.decode();
        // A list that is cut short does not say who is not in it.
        if report.waiting.len() < MOST_TOLD {
            for prefill in self.pending.beyond(&report.waiting) {
                decode.queued_prefill_s +=
                    model.prefill_s(f64::from(prefill.history), f64::from(prefill.remaining));
                waiting.push(prefill);
            }
        }
        let mut view = View {
            arrival,
            session: rendezvous::number(arrival.session),
            slo: self.config.slo,
            decode,
            decoding: decoding(report),
            waiting,
            token_budget: if own.token_budget > 0 { own.token_budget } else { u32::MAX },
            prefills: Vec::new(),
            model,
        };
        self.look(&mut view, workers);
        view
    }

    /// Looks at the prefill workers again.
    pub(super) fn look(&self, view: &mut View<'_>, workers: &[PrefillMember]) {
        let Arrival { session, opened, .. } = view.arrival;
        let (prompt, history) = (opened.history + opened.increment, narrow(opened.history));
        let holder = self.holders.of(session, self.clock.now_s());
        let others = self.expected_of_others();
        let load = |worker: &PrefillMember| {
            let load = self.signals.load(&worker.name, prompt, &view.model, others);
            // What the decode worker has lost, or the prompt has left, cannot be told from here: no more than the
            // history is certain.
            let held = holder.as_ref().filter(|holder| holder.worker == worker.name);
            PrefillLoad { cached_history: held.map(|holder| holder.tokens.min(history)), ..load }
        };
        view.prefills = workers.iter().map(load).collect();
    }

    /// Whether asking prefill workers for their load of this moment could change the decision. Probes are direct reads,
    /// which a cluster whose signals come through Prometheus forbids.
    pub(super) fn worth_probing(&self, opened: &RoundOpened) -> bool {
        let policy = &self.config.policy;
        let least = match policy.policy {
            PolicyKind::AlwaysLocal | PolicyKind::SessionAffinity => return false,
            PolicyKind::Paper => policy.min_remote_tokens as usize,
            _ => 0,
        };
        matches!(self.config.signals, super::config::Signals::Direct) && opened.increment >= least.max(2)
    }
}

impl View<'_> {
    /// What the policy sees.
    pub(super) fn input(&self) -> RouteInput<'_> {
        RouteInput {
            session: self.session,
            history: narrow(self.arrival.opened.history),
            increment: narrow(self.arrival.opened.increment),
            slo: self.slo,
            age_s: self.arrival.age_s,
            decode: self.decode,
            decoding: &self.decoding,
            waiting: &self.waiting,
            token_budget: self.token_budget,
            prefills: &self.prefills,
            model: &self.model,
        }
    }

    /// Predicted seconds that the prefill keeps a prefill worker busy, which computes it together with others.
    pub(super) fn busy_s(&self, index: usize, budget: Option<u32>) -> f64 {
        let Some(load) = self.prefills.get(index) else { return 0.0 };
        let input = self.input();
        let known = load.known(input.history, input.increment);
        let left = f64::from(input.history.saturating_add(input.increment).saturating_sub(known));
        let seconds = match budget {
            Some(budget) => self.model.share_s(f64::from(known), left, f64::from(budget)),
            None => self.model.prefill_s(f64::from(known), left),
        };
        seconds * load.prefill_ratio
    }

    /// Predicted seconds of the prefill on that worker, what waits there included.
    pub(super) fn remote_s(&self, index: usize) -> f64 {
        Costs::remote_s(&self.input(), index)
    }
}

fn decoding(report: &LoadReport) -> Vec<Decoding> {
    let told = report.decoding.iter().take(MOST_TOLD).map(|round| Decoding {
        tokens: round.tokens,
        elapsed_s: round.elapsed_s,
        expected: round.expected,
    });
    told.collect()
}

fn told(report: &LoadReport) -> Vec<LocalPrefill> {
    let told = report.waiting.iter().take(MOST_TOLD).map(|prefill| LocalPrefill {
        history: prefill.history,
        remaining: prefill.increment,
        age_s: prefill.age_s,
    });
    told.collect()
}

fn narrow(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{PrefillSegment, Transfer};

    use super::*;
    use crate::protocol::{DecodingRound, KvBlocks, Role, WaitingPrefill};

    fn report() -> LoadReport {
        LoadReport {
            role: Role::Decode,
            running: 200,
            queued_prefills: 0,
            queued_prefill_tokens: 0,
            backlog_s: 0.0,
            mean_context: 0.0,
            windowed_ttft_s: None,
            windowed_itl_s: None,
            kv: KvBlocks::default(),
            sessions: 0,
            max_context: 0,
            token_budget: 0,
            reference_prefill_s: 0.0,
            reference_step_s: 0.0,
            step_left_s: 0.0,
            decoding: vec![DecodingRound { tokens: 1, elapsed_s: 2.0, expected: 3.0 }; 200],
            waiting: vec![WaitingPrefill { round: 1, history: 5, increment: 7, age_s: 0.5 }; 200],
        }
    }

    #[test]
    fn a_worker_that_tells_too_much_is_cut_short() {
        let report = report();
        assert_eq!(decoding(&report)[0], Decoding { tokens: 1, elapsed_s: 2.0, expected: 3.0 });
        assert_eq!(told(&report)[0], LocalPrefill { history: 5, remaining: 7, age_s: 0.5 });
        assert_eq!((decoding(&report).len(), told(&report).len()), (MOST_TOLD, MOST_TOLD));
    }

    #[test]
    fn a_prefill_keeps_a_worker_busy_with_what_it_lacks_at_its_own_speed() {
        // A second, and a millisecond for each token.
        let segment = PrefillSegment { max_increment: u64::MAX, k0: 1.0, k1: 1e-3, k2: 0.0 };
        let transfer = Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 };
        let model = PerfModel { prefill: vec![segment], decode: Vec::new(), transfer };
        let opened = RoundOpened { round: 1, history: 100, increment: 200, load: report() };
        let load = PrefillLoad { prefill_ratio: 2.0, cached_history: Some(200), ..PrefillLoad::default() };
        let view = View {
            arrival: Arrival { session: "s", opened: &opened, age_s: 0.0 },
            session: 1,
            slo: Slo { ttft_s: 1.0, itl_s: 0.1 },
            decode: DecodeLoad::default(),
            decoding: Vec::new(),
            waiting: Vec::new(),
            token_budget: u32::MAX,
            prefills: vec![load],
            model: Arc::new(model),
        };
        assert!((view.busy_s(0, None) - 2.0 * 1.1).abs() < 1e-9);
        assert!((view.busy_s(0, Some(400)) - 2.0 * (0.25 + 0.1)).abs() < 1e-9);
        assert_eq!(view.busy_s(1, None), 0.0);
    }
}
