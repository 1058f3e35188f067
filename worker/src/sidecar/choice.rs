//! One choice of a client's request as a round: found, served, and tried again elsewhere as long as nothing of it is out.

use std::sync::Arc;
use std::time::Instant;

use ampd_telemetry::TraceContext;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::args::OnRemoteFailure;
use super::attainment::Ended;
use super::naming::{SessionName, companion};
use super::record::Record;
use super::resolve::Failed;
use super::served::Served;
use super::state::Shared;
use super::wire::{Binding, Decided, Refusal, ServeEvent, ServeRound};
use crate::openai::{Prompt, Request};
use crate::protocol::{ErrorCode, Fallback, OpenRound, PrefillReport, RoundEvent, Salt};

/// Bindings tried for one round.
const ATTEMPTS: usize = 4;

/// Most output tokens that room is kept for: requests without a bound of their own rarely need more.
const LIKELY_OUTPUT: usize = 256;

/// What the choices of one request share.
pub(super) struct RoundContext {
    pub shared: Arc<Shared>,
    pub session: SessionName,
    pub request_id: String,
    /// When the request came.
    pub arrived: Instant,
    pub trace: TraceContext,
    /// What is asked.
    pub request: Request,
    pub prompts: Vec<Prompt>,
    pub salt: Salt,
    /// Choices that may run at once.
    pub places: Semaphore,
}

/// One choice.
pub(super) struct Choice {
    /// Its place in the answer.
    pub index: usize,
    /// Waits for this before it begins: the first choice of the same prompt then leaves its KV to the others.
    pub after: Option<watch::Receiver<bool>>,
    /// Set when the prompt's KV is there.
    pub begun: watch::Sender<bool>,
    /// Ends the round as complete.
    pub stop: CancellationToken,
}

/// What happens to a choice.
pub(super) enum ChoiceEvent {
    /// Where its prefill will run.
    Decided(Decided),
    /// An event of its round.
    Event(RoundEvent),
    /// It has failed; nothing follows.
    Failed(Refusal),
}

/// The choices' events, each with the place of its choice.
pub(super) type Events = mpsc::Sender<(usize, ChoiceEvent)>;

/// How an attempt failed.
struct Attempt {
    refusal: Refusal,
    /// Something of the round is out: it cannot be begun anew.
    out: bool,
}

impl RoundContext {
    /// Runs one choice to its end. When the receiver of `events` is gone, so is the round.
    pub(super) async fn run(self: Arc<Self>, mut choice: Choice, events: Events) {
        let mut record = Record::new(self.clone());
        let stop = choice.stop.clone();
        let ended = tokio::select! {
            biased;
            // The client may be gone right after what it wanted was complete.
            () = stop.cancelled() => Ok(()),
            () = events.closed() => return,
            ended = self.attempts(&mut choice, &mut record, &events) => ended,
        };
        match ended {
            Ok(()) => record.end("ok"),
            Err(refusal) => {
                let refused = !refusal.lost && refusal.error.code.status().as_u16() != 500;
                record.end(if refused { "refused" } else { "error" });
                if let Some(ended) = Ended::with(&refusal) {
                    self.shared.round_ended(ended, None);
                }
                // Fails only when the client is gone.
                let _ = events.send((choice.index, ChoiceEvent::Failed(refusal))).await;
            }
        }
    }

    async fn attempts(
        &self,
        choice: &mut Choice,
        record: &mut Record,
        events: &Events,
    ) -> Result<(), Refusal> {
        if let Some(after) = &mut choice.after {
            // A first choice that fails ends the whole request anyway.
            let _ = after.wait_for(|begun| *begun).await;
        }
        // Never closed.
        let _place = self.places.acquire().await.map_err(|_| Refusal::lost())?;
        let tokens = self.expected_tokens(choice.index);
        // Told to every attempt alike: they are one round.
        let mut rounds = self.shared.known.rounds(&self.session.internal, self.shared.clock.now_s());
        let mut failed: Option<Failed> = None;
        for attempt in 1..=ATTEMPTS {
            let (session, continues) = (&self.session.internal, self.request.continues());
            let binding = self.shared.resolve(session, tokens, continues, failed.as_ref()).await?;
            let Attempt { refusal, out } = match self.attempt(choice, rounds, &binding, record, events).await
            {
                Ok(()) => return Ok(()),
                Err(attempt) => attempt,
            };
            let stale = refusal.error.code == ErrorCode::StaleEpoch;
            if out || attempt == ATTEMPTS || !(stale || refusal.lost) {
                return Err(if stale { Refusal::lost() } else { refusal });
            }
            rounds = rounds.max(refusal.rounds.unwrap_or(0));
            let after = refusal.error.epoch.unwrap_or(0);
            tracing::info!(
                request_id = self.request_id,
                worker = binding.worker,
                epoch = binding.epoch,
                error = %refusal,
                "a binding was of no use; the session is bound anew"
            );
            failed = Some(Failed { binding, after, lost: refusal.lost });
        }
        Err(Refusal::lost())
    }

    /// Runs the round once, where the session is bound.
    async fn attempt(
        &self,
        choice: &Choice,
        rounds: u64,
        binding: &Binding,
        record: &mut Record,
        events: &Events,
    ) -> Result<(), Attempt> {
        let mut out = false;
        let failed = |refusal, out| Attempt { refusal, out };
        let mut served =
            self.begin(choice, rounds, binding).await.map_err(|refusal| failed(refusal, false))?;
        loop {
            let event = match served.next(&self.shared).await {
                Ok(ServeEvent::Waiting {}) => continue,
                Ok(ServeEvent::Decided(decided)) => {
                    record.decided(&decided);
                    if choice.index == 0 {
                        let now_s = self.shared.clock.now_s();
                        self.shared.known.had_round(&self.session.internal, decided.round, now_s);
                    }
                    ChoiceEvent::Decided(decided)
                }
                Ok(ServeEvent::Event(event)) => {
                    record.event(&event);
                    if let RoundEvent::Prefill(report) = &event {
                        self.allowed(report).map_err(|refusal| failed(refusal, true))?;
                    }
                    if matches!(event, RoundEvent::Tokens(_) | RoundEvent::PromptLogprobs(_)) {
                        out = true;
                        choice.begun.send_replace(true);
                    }
                    ChoiceEvent::Event(event)
                }
                Ok(ServeEvent::Refused(refusal)) | Err(refusal) => return Err(failed(refusal, out)),
            };
            let last = matches!(event, ChoiceEvent::Event(RoundEvent::Done(_)));
            if last {
                choice.begun.send_replace(true);
            }
            let gone = events.send((choice.index, event)).await.is_err();
            if last {
                return Ok(());
            }
            if gone {
                // The round has not ended well; whoever waits for this sees that nobody receives any more, and why.
                return std::future::pending().await;
            }
        }
    }

    async fn begin(&self, choice: &Choice, rounds: u64, binding: &Binding) -> Result<Served, Refusal> {
        let session = &self.session.internal;
        let open = OpenRound {
            session: companion(session, choice.index),
            epoch: binding.epoch,
            age_ms: self.arrived.elapsed().as_millis() as u64,
            ..self.request.open_round(&self.prompts, choice.index, &self.request_id, self.salt)
        };
        let round = ServeRound { open, aside: self.session.auto, rounds, best_effort: binding.best_effort };
        let trace = self.trace.new_child();
        if binding.worker == self.shared.own.name() {
            return Ok(Served::Here(self.shared.serve(round, trace)));
        }
        let member = self.shared.member(&binding.worker).ok_or_else(Refusal::lost)?;
        match self.shared.peer(&member).traced(&trace.to_string()).serve(&round).await {
            Ok(events) => Ok(Served::There { member: member.name, events }),
            Err(error) => {
                if let Some(failure) = super::peer::failure(&error) {
                    self.shared.members.failed(&member.name, failure);
                }
                tracing::warn!(
                    member = member.name,
                    error = &error as &dyn std::error::Error,
                    "another sidecar does not take a round"
                );
                Err(Refusal::from_client(&error))
            }
        }
    }

    /// Tokens of KV that a choice is likely to need.
    fn expected_tokens(&self, choice: usize) -> u64 {
        let prompt = self.prompts.get(choice / self.request.n.max(1));
        prompt.map_or(0, |prompt| (prompt.tokens.len() + prompt.max_tokens.min(LIKELY_OUTPUT)) as u64)
    }

    /// Whether the round may go on after its prefill went this way.
    fn allowed(&self, report: &PrefillReport) -> Result<(), Refusal> {
        match (self.shared.config.on_remote_failure, report.fallback) {
            // There was nothing to be had elsewhere, so nothing has failed.
            (OnRemoteFailure::Fail, Some(fallback)) if fallback != Fallback::NothingRemote => Err(Refusal {
                retry_after_ms: Some(1000),
                ..Refusal::new(
                    ErrorCode::TransferFailed,
                    format!(
                        "the remote prefill failed ({}), and local ones are switched off",
                        fallback.as_str()
                    ),
                )
            }),
            _ => Ok(()),
        }
    }
}
