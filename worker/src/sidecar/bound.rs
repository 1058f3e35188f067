//! Serving a round on the own worker: history, decision, run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_telemetry::TraceContext;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::live::LiveRound;
use super::peer::failure;
use super::pending::UnderWay;
use super::route::Routed;
use super::state::Shared;
use super::view::Arrival;
use super::wire::{Decided, Refusal, ServeEvent, ServeRound};
use crate::protocol::{
    ClientError, ControlClient, ErrorCode, EventStream, OpenRound, PrefillPlace, PrefillReport,
    PrefillTarget, RemotePrefill, RoundEvent, RoundOpened, RunRound,
};

/// Events between the worker's stream and whoever reads them; more wait in the connection.
const EVENTS: usize = 32;
/// The TTFT objective of a round without one, milliseconds: queues that go by slack have it last.
const NO_OBJECTIVE_MS: u64 = u32::MAX as u64;
/// How long a session's last round may take to end after its client went away.
const BUSY: Duration = Duration::from_secs(5);
/// First pause before a busy session is tried again; doubled each time.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const BUSY_LONGEST: Duration = Duration::from_millis(200);

impl Shared {
    /// Serves a round; dropping the receiver cancels it.
    pub(super) fn serve(
        self: &Arc<Self>,
        round: ServeRound,
        trace: TraceContext,
    ) -> mpsc::Receiver<ServeEvent> {
        let (out, events) = mpsc::channel(EVENTS);
        let shared = self.clone();
        let serving = async move {
            let driven = tokio::select! {
                () = out.closed() => return,
                driven = shared.drive(round, &trace, &out) => driven,
            };
            if let Err(refusal) = driven {
                tracing::debug!(error = %refusal, lost = refusal.lost, "a round is not served");
                // Fails only when nobody wants to know.
                let _ = out.send(ServeEvent::Refused(refusal)).await;
            }
        };
        // A round of an own client has its span already.
        let span = Some(Span::current()).filter(|span| !span.is_none()).unwrap_or_else(|| trace.span());
        self.served.spawn(serving.instrument(span));
        events
    }

    async fn drive(
        &self,
        round: ServeRound,
        trace: &TraceContext,
        out: &mpsc::Sender<ServeEvent>,
    ) -> Result<(), Refusal> {
        let ServeRound { open, aside, rounds, best_effort } = round;
        let arrived = Arrived::new(open.age_ms);
        self.serves(open.epoch)?;
        let session = open.session.clone();
        let (name, _turn) = self.rounds.turn(&session, aside).await?;
        let mut live = self.own.live.round(&session);
        // The wait may have outlasted the binding.
        self.serves(open.epoch)?;
        if let Some(rounds) = self.relocates(&name, &open).await {
            live.leaves();
            return Err(Refusal::moved(open.epoch, rounds));
        }
        let local_only = open.prompt_logprobs.is_some();
        let member = self.member(self.own.name()).ok_or_else(Refusal::lost)?;
        let client = self.decode_client(&member).traced(Some(&trace.to_string()));
        let opened = self.open(&client, OpenRound { session: name.clone(), ..open }, &arrived).await?;
        let mut waiting = OpenedRound { round: Some(opened.round), client: &client, tasks: &self.tasks };
        live.has((opened.history + opened.increment) as u64);
        let number = self.rounds.number(&session, rounds, self.clock.now_s());
        let arrival = Arrival { session: &name, opened: &opened, age_s: arrived.age().as_secs_f64() };
        let mut routed = self.route(arrival, local_only).await;
        // From now on: rounds that are routed meanwhile have to know.
        let stays = routed.worker.is_none() && opened.increment > 1;
        let sizes = (opened.history, opened.increment);
        let under_way = stays.then(|| self.pending.sent(opened.round, sizes, arrived.since()));
        let decided = Decided { best_effort, ..decided(number, &opened, &routed) };
        if out.send(ServeEvent::Decided(decided)).await.is_err() {
            return Ok(());
        }
        let run = RunRound {
            prefill: target(&routed),
            age_ms: arrived.age_ms(),
            ttft_slo_ms: if best_effort { NO_OBJECTIVE_MS } else { (self.config.slo.ttft_s * 1e3) as u64 },
        };
        let events =
            client.run_round(opened.round, &run).await.map_err(|error| self.worker_failed(&error))?;
        waiting.runs();
        let running =
            RunningRound { session: &name, opened: &opened, routed: &mut routed, under_way, live: &mut live };
        self.pass_on(events, running, out).await
    }

    /// Whether rounds of bindings with this epoch may run here.
    fn serves(&self, epoch: u64) -> Result<(), Refusal> {
        let fence = self.own.fence();
        match self.own.ready() {
            false => Err(Refusal::lost()),
            true if epoch <= fence => Err(Refusal::stale(fence)),
            true => Ok(()),
        }
    }

    /// Opens the round. A session whose last round has not quite ended is waited for.
    async fn open(
        &self,
        client: &ControlClient,
        open: OpenRound,
        arrived: &Arrived,
    ) -> Result<RoundOpened, Refusal> {
        let mut open = open;
        let (begun, mut pause) = (Instant::now(), BUSY_PAUSE);
        loop {
            open.age_ms = arrived.age_ms();
            let error = match client.open_round(&open).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            let busy = error.detail().is_some_and(|detail| detail.code == ErrorCode::SessionBusy);
            if !busy || begun.elapsed() > BUSY {
                return Err(self.worker_failed(&error));
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(BUSY_LONGEST);
        }
    }

    /// Hands the worker's events on, and learns from them.
    async fn pass_on(
        &self,
        mut events: EventStream<RoundEvent>,
        mut running: RunningRound<'_>,
        out: &mpsc::Sender<ServeEvent>,
    ) -> Result<(), Refusal> {
        loop {
            let event = match events.next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Err(Refusal::lost()),
                Err(error) => return Err(self.worker_failed(&error)),
            };
            let last = matches!(event, RoundEvent::Done(_));
            match &event {
                RoundEvent::Ping {} => continue,
                RoundEvent::Error(detail) => return Err(Refusal::from_detail(detail.clone())),
                RoundEvent::Prefill(report) => self.prefill_settled(report, &mut running),
                RoundEvent::Tokens(tokens) => {
                    running.under_way = None;
                    running.live.grows(tokens.len() as u64);
                }
                RoundEvent::PromptLogprobs(_) | RoundEvent::Done(_) => {}
            }
            if out.send(ServeEvent::Event(event)).await.is_err() || last {
                return Ok(());
            }
        }
    }

    fn prefill_settled(&self, report: &PrefillReport, running: &mut RunningRound<'_>) {
        running.routed.dispatch = None;
        if let Some(worker) = &running.routed.worker {
            self.signals.ended(&worker.name, report.fallback);
            if report.place == PrefillPlace::Remote {
                let prompt = running.opened.history + running.opened.increment;
                self.holders.prefilled(running.session, &worker.name, prompt, self.clock.now_s());
            }
        }
        if let Some(fallback) = report.fallback {
            self.metrics.remote_fallbacks.with([fallback.as_str()]).inc();
            tracing::warn!(
                worker = report.worker,
                reason = fallback.as_str(),
                seconds = report.seconds,
                "a remote prefill failed and runs locally"
            );
        }
    }

    /// Notes what a failed call to the own worker says of it.
    fn worker_failed(&self, error: &ClientError) -> Refusal {
        if let Some(failure) = failure(error) {
            self.own.failed(failure);
            tracing::warn!(error = error as &dyn std::error::Error, "the own worker failed a round");
        }
        Refusal::from_client(error)
    }
}

fn decided(round: u64, opened: &RoundOpened, routed: &Routed) -> Decided {
    let remote = routed.worker.is_some();
    Decided {
        round,
        place: if remote { PrefillPlace::Remote } else { PrefillPlace::Local },
        reason: routed.decision.reason.as_str().to_owned(),
        worker: routed.worker.as_ref().map(|worker| worker.name.clone()),
        history: opened.history as u64,
        increment: opened.increment as u64,
        local_s: routed.decision.local_s,
        remote_s: routed.decision.remote_s,
        best_effort: false,
    }
}

fn target(routed: &Routed) -> PrefillTarget {
    routed.worker.as_ref().map_or(PrefillTarget::Local, |worker| {
        PrefillTarget::Remote(RemotePrefill {
            worker: worker.name.clone(),
            url: worker.worker_url.clone(),
            deadline_ms: routed.deadline.map(|deadline| deadline.as_millis() as u64),
        })
    })
}

/// A round that runs, as far as its events matter here.
struct RunningRound<'a> {
    session: &'a str,
    opened: &'a RoundOpened,
    routed: &'a mut Routed,
    /// Its local prefill, until its first token.
    under_way: Option<UnderWay>,
    /// What its session has.
    live: &'a mut LiveRound,
}

/// When a round arrived at the service.
struct Arrived {
    age: Duration,
    seen: Instant,
}

impl Arrived {
    fn new(age_ms: u64) -> Self {
        Self { age: Duration::from_millis(age_ms), seen: Instant::now() }
    }

    fn age(&self) -> Duration {
        self.age.saturating_add(self.seen.elapsed())
    }

    /// The moment itself; when it was first seen here where the clock does not reach back.
    fn since(&self) -> Instant {
        self.seen.checked_sub(self.age).unwrap_or(self.seen)
    }

    fn age_ms(&self) -> u64 {
        self.age().as_millis() as u64
    }
}

/// A round that is opened and does not run: cancelled when dropped.
struct OpenedRound<'a> {
    round: Option<u64>,
    client: &'a ControlClient,
    tasks: &'a TaskTracker,
}

impl OpenedRound<'_> {
    /// The round runs: from now on its stream is what cancels it.
    fn runs(&mut self) {
        self.round = None;
    }
}

impl Drop for OpenedRound<'_> {
    fn drop(&mut self) {
        if let Some(round) = self.round {
            let client = self.client.clone();
            // The worker forgets opened rounds by itself soon; this only gives their KV back sooner.
            self.tasks.spawn(async move { drop(client.cancel_round(round).await) });
        }
    }
}
