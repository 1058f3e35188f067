//! The decision where a round's prefill runs.

use std::time::{Duration, Instant};

use ampd_scheduler::{Costs, Decision, DecodeLoad, PolicyKind, PrefillLoad, Reason, RouteInput, Slo, Target};

use super::config::Signals;
use super::load::WorkerLoad;
use super::signals::Dispatch;
use super::state::Shared;
use crate::protocol::{RoundOpened, prefill_deadline};
use crate::topology::PrefillMember;

/// Candidates whose load is asked for at a decision.
const PROBED: usize = 2;
/// How long a decision waits for their answers.
const PROBE_WAIT: Duration = Duration::from_millis(2);
/// How long an answer may take to be of use for later decisions.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);

/// A decision with what carries it out.
#[derive(Debug)]
pub(super) struct Routed {
    /// The decision.
    pub decision: Decision,
    /// The prefill worker, for a remote prefill.
    pub worker: Option<PrefillMember>,
    /// Accounts for the remote prefill until it ends.
    pub dispatch: Option<Dispatch>,
    /// When it is given up.
    pub deadline: Option<Duration>,
}

impl Shared {
    /// Decides where an opened round's prefill runs, `age_s` seconds after the round arrived. With `local_only` it cannot
    /// run elsewhere.
    pub(super) async fn route(&self, opened: &RoundOpened, age_s: f64, local_only: bool) -> Routed {
        let workers = if local_only { Vec::new() } else { self.followed() };
        let decode = WorkerLoad::from(&opened.load).decode();
        let started = Instant::now();
        let mut decision = self.decide(&workers, opened, age_s, decode);
        let mut deciding = started.elapsed();
        if self.worth_probing(opened) && !workers.is_empty() {
            self.probe_best(&workers, opened, age_s, decode).await;
            let started = Instant::now();
            decision = self.decide(&workers, opened, age_s, decode);
            deciding = started.elapsed();
        }
        self.metrics.decision_seconds.observe(deciding.as_secs_f64());
        if local_only && decision.reason == Reason::NoPrefillWorker {
            decision.reason = Reason::LocalOnly;
        }
        let prefill_s = self.estimate.current().prefill_s(opened.history as f64, opened.increment as f64);
        let deadline = match decision.target {
            Target::Local => None,
            Target::Remote(index) => Some(self.deadline(&workers, index, opened, age_s, decode)),
        };
        let worker = match decision.target {
            Target::Local => None,
            Target::Remote(index) => workers.into_iter().nth(index),
        };
        let target = if worker.is_some() { "remote" } else { "local" };
        self.metrics.prefill_decisions.with([target, decision.reason.as_str()]).inc();
        let dispatch = worker.as_ref().map(|worker| self.signals.dispatch(&worker.name, prefill_s));
        Routed { decision, worker, dispatch, deadline }
    }

    fn deadline(
        &self,
        workers: &[PrefillMember],
        index: usize,
        opened: &RoundOpened,
        age_s: f64,
        decode: DecodeLoad,
    ) -> Duration {
        let (prefills, model) = (self.loads(workers, opened), self.estimate.current());
        let predicted_s = Costs::remote_s(&self.input(&prefills, opened, age_s, decode, &model), index);
        prefill_deadline(predicted_s)
    }

    /// The prefill workers that this sidecar follows.
    pub(super) fn followed(&self) -> Vec<PrefillMember> {
        self.followed.load().as_ref().clone()
    }

    /// Probes are direct reads, which a cluster whose signals come through Prometheus forbids.
    fn worth_probing(&self, opened: &RoundOpened) -> bool {
        matches!(self.config.signals, Signals::Direct)
            && self.config.policy.policy != PolicyKind::AlwaysLocal
            && opened.increment > 1
            && opened.increment >= self.config.policy.min_remote_tokens as usize
    }

    fn decide(
        &self,
        workers: &[PrefillMember],
        opened: &RoundOpened,
        age_s: f64,
        decode: DecodeLoad,
    ) -> Decision {
        let prefills = self.loads(workers, opened);
        self.policy.decide(&self.input(&prefills, opened, age_s, decode, &self.estimate.current()))
    }

    fn loads(&self, workers: &[PrefillMember], opened: &RoundOpened) -> Vec<PrefillLoad> {
        let prompt = opened.history + opened.increment;
        workers.iter().map(|worker| self.signals.load(&worker.name, prompt)).collect()
    }

    fn input<'a>(
        &self,
        prefills: &'a [PrefillLoad],
        opened: &RoundOpened,
        age_s: f64,
        decode: DecodeLoad,
        model: &'a ampd_perfmodel::PerfModel,
    ) -> RouteInput<'a> {
        let Slo { ttft_s, itl_s } = self.config.slo;
        RouteInput {
            // The policies that a sidecar may be given neither spread sessions nor look at single rounds, which the
            // worker's load does not tell.
            session: 0,
            history: opened.history as u32,
            increment: opened.increment as u32,
            slo: Slo { ttft_s, itl_s },
            age_s,
            decode,
            decoding: &[],
            waiting: &[],
            token_budget: u32::MAX,
            prefills,
            model,
        }
    }

    /// Asks the workers that are predicted to finish first for their load of this moment. Their signals are up to some
    /// hundred milliseconds old: by them alone, all sidecars would choose the same worker until the next reading.
    async fn probe_best(
        &self,
        workers: &[PrefillMember],
        opened: &RoundOpened,
        age_s: f64,
        decode: DecodeLoad,
    ) {
        let prefills = self.loads(workers, opened);
        let model = self.estimate.current();
        let input = self.input(&prefills, opened, age_s, decode, &model);
        let mut best: Vec<(f64, &PrefillMember)> = workers
            .iter()
            .enumerate()
            .filter(|(index, _)| prefills[*index].ready)
            .map(|(index, worker)| (Costs::remote_s(&input, index), worker))
            .collect();
        best.sort_by(|a, b| a.0.total_cmp(&b.0));
        let probes = best.into_iter().take(PROBED).map(|(_, worker)| self.probe(worker.clone()));
        // Answers that come later still count for the next decision.
        let _ = tokio::time::timeout(PROBE_WAIT, futures::future::join_all(probes)).await;
    }

    /// Asks one worker, unless it is being asked; the answer is taken in even when nobody waits for it any more.
    async fn probe(&self, worker: PrefillMember) {
        let Some(turn) = self.probes.enter(&worker.name) else { return };
        let (signals, clock) = (self.signals.clone(), self.clock);
        let client = self.prefill_client(&worker);
        let probe = self.tasks.spawn(async move {
            let _turn = turn;
            // What the worker answers was true no earlier than the question.
            let asked_s = clock.now_s();
            if let Ok(report) = client.probe(PROBE_DEADLINE).await {
                signals.read(&worker.name, WorkerLoad::from(&report), asked_s);
            }
        });
        let _ = probe.await;
    }
}
