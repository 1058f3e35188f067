//! What runs on the engine's thread: the engine with those who wait for its events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::{
    DecodingRound, Engine, EngineError, Event, LedgerError, MovedSession, Opened, PrefillOpened, RemoteRange,
    RoundId, RoundRequest, StepReport, WaitingPrefill,
};
use ampd_scheduler::{Decoding, LocalPrefill, OutputLengths};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::guard::RoundGuard;
use super::hook::{Pieces, PushHook};
use super::local_order::{Arrived, LocalOrder};
use super::pacing::Pacing;
use super::snapshot::{Snapshot, step_s};
use crate::server::stats::Stats;

/// Events of a round besides its tokens: prompt log-probabilities and the end.
const OTHER_EVENTS: usize = 2;

/// Events and new KV of a prefill that is computed.
pub(in crate::server) type Computing = (mpsc::Receiver<Event>, Pieces);

/// Who waits for a round's events.
struct Subscriber {
    events: mpsc::Sender<Event>,
    /// When the round arrived at the service.
    arrival: Instant,
    /// The round's TTFT objective.
    ttft_slo: Duration,
    /// When its first token came.
    first_token: Option<Instant>,
    /// When its last one came.
    last_token: Option<Instant>,
}

impl Subscriber {
    fn arrived(&self) -> Arrived {
        Arrived { at: self.arrival, ttft_slo: self.ttft_slo, begun: self.first_token.is_some() }
    }
}

/// The engine and its surroundings, owned by its thread.
pub(in crate::server) struct Core {
    engine: Engine,
    subscribers: HashMap<RoundId, Subscriber>,
    hook: PushHook,
    stats: Arc<Stats>,
    pacing: Option<Pacing>,
    /// Of local prefills, where they are paced.
    order: LocalOrder,
    cancels: mpsc::UnboundedSender<RoundId>,
    /// How long the outputs of the rounds were that have ended here.
    lengths: OutputLengths,
}

impl Core {
    pub(super) fn new(
        engine: Engine,
        stats: Arc<Stats>,
        pacing: Option<Pacing>,
        cancels: mpsc::UnboundedSender<RoundId>,
        runtime: Handle,
    ) -> Self {
        let hook = PushHook::new(runtime);
        Self {
            engine,
            subscribers: HashMap::new(),
            hook,
            stats,
            pacing,
            order: LocalOrder::default(),
            cancels,
            lengths: OutputLengths::default(),
        }
    }

    /// The engine itself.
    pub(in crate::server) fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Opens a session's round.
    pub(in crate::server) fn open(
        &mut self,
        request: RoundRequest,
    ) -> Result<(Opened, RoundGuard), EngineError> {
        let opened = self.engine.open(request, Instant::now())?;
        Ok((opened, RoundGuard::new(opened.id, self.cancels.clone())))
    }

    /// Opens a prefill for another worker.
    pub(in crate::server) fn open_prefill(
        &mut self,
        tokens: Vec<u32>,
        salt: [u8; 32],
    ) -> Result<(PrefillOpened, RoundGuard), EngineError> {
        let opened = self.engine.open_prefill(tokens, salt, Instant::now())?;
        Ok((opened, RoundGuard::new(opened.id, self.cancels.clone())))
    }

    /// Begins to take in a session from another worker.
    pub(in crate::server) fn take_session(
        &mut self,
        moved: MovedSession,
    ) -> Result<(RemoteRange, RoundGuard), EngineError> {
        let (id, range) = self.engine.take_session(moved, Instant::now())?;
        Ok((range, RoundGuard::new(id, self.cancels.clone())))
    }

    /// Pins a session's KV for another worker.
    pub(in crate::server) fn export_session(
        &mut self,
        session: &str,
        salt: &[u8; 32],
        tokens: Vec<u32>,
    ) -> Result<RoundGuard, EngineError> {
        let id = self.engine.export_session(session, salt, tokens, Instant::now())?;
        Ok(RoundGuard::new(id, self.cancels.clone()))
    }

    /// Starts an opened prefill: its new KV and its end are told to the two receivers.
    pub(in crate::server) fn start_prefill(
        &mut self,
        round: RoundId,
        from: usize,
    ) -> Result<Computing, EngineError> {
        self.engine.start_prefill(round, from, Instant::now())?;
        Ok((self.subscribe(round, 0, (Instant::now(), Duration::ZERO)), self.hook.add(round)))
    }

    /// The same if all that is before `from` is there and less than a step's worth of prompts waits in the engine.
    pub(in crate::server) fn try_start_prefill(
        &mut self,
        round: RoundId,
        from: usize,
    ) -> Result<Option<Computing>, EngineError> {
        if self.engine.load().waiting_prefill_tokens >= self.engine.options().token_budget {
            return Ok(None);
        }
        match self.start_prefill(round, from) {
            Err(EngineError::IncompleteTransfer { .. }) => Ok(None),
            started => started.map(Some),
        }
    }

    /// The events of a round with at most `max_tokens` output tokens, which arrived at the service at `arrival` with an
    /// objective for its first token. The channel can hold all of them, so that a slow reader never holds up the engine.
    pub(in crate::server) fn subscribe(
        &mut self,
        round: RoundId,
        max_tokens: usize,
        (arrival, ttft_slo): (Instant, Duration),
    ) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(max_tokens + OTHER_EVENTS);
        let (first_token, last_token) = (None, None);
        self.subscribers.insert(round, Subscriber { events, arrival, ttft_slo, first_token, last_token });
        receiver
    }

    /// The load now, between two steps.
    pub(in crate::server) fn snapshot(&mut self) -> Snapshot {
        let (engine, at) = (self.engine.load(), Instant::now());
        let decoding: Vec<Decoding> = engine.decoding.iter().map(|round| self.decoding(round, at)).collect();
        let waits = engine.prefills.iter().filter(|prefill| prefill.increment > 1);
        let (names, waiting): (Vec<RoundId>, Vec<LocalPrefill>) =
            waits.map(|prefill| (prefill.round, self.waiting(prefill, at))).unzip();
        let (perf, options) = (self.stats.perf(), self.engine.options());
        let paced = self.pacing.filter(|_| !waiting.is_empty());
        let paced = paced.and_then(|pacing| pacing.rows(&perf, options, &engine, (&decoding, &waiting)));
        let mut order = engine.prefills.clone();
        if self.pacing.is_some() {
            let subscribers = &self.subscribers;
            let arrived = |round| subscribers.get(&round).map(Subscriber::arrived);
            self.order.arrange(&mut order, &perf, arrived, at);
        }
        let step_s = step_s(&perf, options, &engine, (&order, paced));
        let order = order.iter().map(|prefill| prefill.round).collect();
        Snapshot { engine, decoding, waiting, names, order, at, paced, step_s }
    }

    fn decoding(&self, round: &DecodingRound, now: Instant) -> Decoding {
        let first = self.subscribers.get(&round.round).and_then(|subscriber| subscriber.first_token);
        let elapsed_s = first.map_or(0.0, |first| (now - first).as_secs_f64());
        let tokens = u32::try_from(round.tokens).unwrap_or(u32::MAX);
        // What the client allows is known, what the model has to say is not.
        Decoding { tokens, elapsed_s, expected: self.lengths.expected(tokens).min(round.left as f64) }
    }

    fn waiting(&self, prefill: &WaitingPrefill, now: Instant) -> LocalPrefill {
        let arrival = self.subscribers.get(&prefill.round).map_or(now, |subscriber| subscriber.arrival);
        let narrow = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        LocalPrefill {
            history: narrow(prefill.history),
            remaining: narrow(prefill.increment),
            age_s: now.saturating_duration_since(arrival).as_secs_f64(),
        }
    }

    pub(super) fn cancel(&mut self, round: RoundId) {
        self.engine.cancel(round, Instant::now());
        self.subscribers.remove(&round);
        self.hook.remove(round);
    }

    pub(super) fn expire(&mut self) {
        self.engine.expire(Instant::now());
    }

    pub(super) fn check(&self) -> Result<(), LedgerError> {
        self.engine.check_ledger()
    }

    /// Runs the step that `snapshot` was made for and tells its events; whether it did anything.
    pub(super) fn step(&mut self, snapshot: &Snapshot) -> Result<bool, EngineError> {
        self.engine.pace(snapshot.paced);
        if self.pacing.is_some() {
            self.engine.prefer(&snapshot.order);
        }
        let started = Instant::now();
        let report = self.engine.step(started, &mut self.hook)?;
        let now = Instant::now();
        if !report.is_idle() {
            self.stats.step(&report, now - started);
        }
        let did_something = !report.is_idle();
        self.deliver(report, now);
        Ok(did_something)
    }

    fn deliver(&mut self, report: StepReport, now: Instant) {
        for event in report.events {
            let (round, ends) = match &event {
                Event::Token { round, .. } | Event::PromptLogprobs { round, .. } => (*round, false),
                Event::PrefillDone { round }
                | Event::Finished { round, .. }
                | Event::Failed { round, .. } => (*round, true),
            };
            let Some(subscriber) = self.subscribers.get_mut(&round) else { continue };
            if let Event::Finished { output_tokens, .. } = &event {
                self.lengths.ended(u32::try_from(*output_tokens).unwrap_or(u32::MAX));
            }
            if matches!(event, Event::Token { .. } | Event::Finished { .. })
                && subscriber.first_token.is_none()
            {
                self.order.served(round);
            }
            if matches!(event, Event::Token { .. }) {
                subscriber.first_token.get_or_insert(now);
                match subscriber.last_token.replace(now) {
                    None => self.stats.first_token(now.saturating_duration_since(subscriber.arrival)),
                    Some(before) => self.stats.next_token(now - before),
                }
            }
            let told = subscriber.events.try_send(event).is_ok();
            if ends {
                self.subscribers.remove(&round);
                self.hook.remove(round);
            } else if !told {
                self.cancel(round);
            }
        }
    }
}
