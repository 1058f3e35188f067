//! The decision where a round's prefill runs.

use std::time::{Duration, Instant};

use ampd_scheduler::{Costs, Decision, Reason, Target};

use super::load::WorkerLoad;
use super::signals::Dispatch;
use super::state::Shared;
use super::view::{Arrival, View};
use crate::protocol::prefill_deadline;
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
    /// Decides where an opened round's prefill runs. With `local_only` it cannot run elsewhere.
    pub(super) async fn route(&self, arrival: Arrival<'_>, local_only: bool) -> Routed {
        let workers = if local_only { Vec::new() } else { self.followed() };
        let started = Instant::now();
        let mut view = self.view(arrival, &workers);
        let mut decision = self.policy.decide(&view.input());
        let mut deciding = started.elapsed();
        if self.worth_probing(arrival.opened) && !workers.is_empty() {
            self.probe_best(&workers, &view).await;
            let started = Instant::now();
            self.look(&mut view, &workers);
            decision = self.policy.decide(&view.input());
            deciding = started.elapsed();
        }
        self.metrics.decision_seconds.observe(deciding.as_secs_f64());
        if local_only && decision.reason == Reason::NoPrefillWorker {
            decision.reason = Reason::LocalOnly;
        }
        let chosen = match decision.target {
            Target::Local => None,
            Target::Remote(index) => workers.get(index).map(|worker| (index, worker)),
        };
        let target = if chosen.is_some() { "remote" } else { "local" };
        self.metrics.prefill_decisions.with([target, decision.reason.as_str()]).inc();
        let dispatch = chosen.map(|(index, worker)| {
            let busy_s = view.busy_s(index, self.signals.token_budget(&worker.name));
            self.signals.dispatch(&worker.name, busy_s)
        });
        let deadline = chosen.map(|(index, _)| prefill_deadline(view.remote_s(index)));
        Routed { decision, worker: chosen.map(|(_, worker)| worker.clone()), dispatch, deadline }
    }

    /// The prefill workers that this sidecar follows.
    pub(super) fn followed(&self) -> Vec<PrefillMember> {
        self.followed.load().as_ref().clone()
    }

    /// Asks the workers that are predicted to finish first for their load of this moment. Their signals are up to some
    /// hundred milliseconds old: by them alone, all sidecars would choose the same worker until the next reading.
    async fn probe_best(&self, workers: &[PrefillMember], view: &View<'_>) {
        let best = Costs::ranked(&view.input(), PROBED);
        let probes = best.into_iter().filter_map(|index| workers.get(index)).map(|worker| self.probe(worker));
        // Answers that come later still count for the next decision.
        let _ = tokio::time::timeout(PROBE_WAIT, futures::future::join_all(probes)).await;
    }

    /// Asks one worker, unless it is being asked; the answer is taken in even when nobody waits for it any more.
    async fn probe(&self, worker: &PrefillMember) {
        let Some(turn) = self.probes.enter(&worker.name) else { return };
        let (signals, clock) = (self.signals.clone(), self.clock);
        let client = self.prefill_client(worker);
        let name = worker.name.clone();
        let probe = self.tasks.spawn(async move {
            let _turn = turn;
            // What the worker answers was true no earlier than the question.
            let asked_s = clock.now_s();
            if let Ok(report) = client.probe(PROBE_DEADLINE).await {
                signals.read(&name, WorkerLoad::from(&report), asked_s);
            }
        });
        let _ = probe.await;
    }
}
